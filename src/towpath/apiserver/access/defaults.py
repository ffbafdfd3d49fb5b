"""The roles and bindings that every cluster has from its start, as Kubernetes' own bootstrap policy
has them, cut to what is served here; and what is missing of them in what is stored.

Source: Kubernetes documentation, "Using RBAC Authorization", "Default roles and role bindings".
"""

from collections.abc import Iterator, Mapping
from typing import Final

from towpath.apiserver.access.rbac import GROUP
from towpath.apiserver.access.rules import EVERYTHING, Rule, lacking, read
from towpath.spec._wire import JsonObject

__all__ = ["AUTOUPDATE", "bindings", "completed", "roles"]

AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
_LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_API: Final = f"{GROUP}/v1"

_READ: Final = ("get", "list", "watch")
_WRITE: Final = ("create", "delete", "deletecollection", "patch", "update")
_ALL: Final = (*_WRITE, *_READ)

_CONTENT: Final = {
    "": (
        "configmaps",
        "events",
        "persistentvolumeclaims",
        "pods",
        "serviceaccounts",
        "services",
    ),
    "apps": (
        "daemonsets",
        "deployments",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ),
    "batch": ("cronjobs", "jobs"),
}
"""What people put into a namespace: viewers read it, editors write it."""
_STATUS: Final = {
    "": (
        "namespaces/status",
        "persistentvolumeclaims/status",
        "pods/log",
        "pods/status",
        "services/status",
    ),
    "apps": (
        "daemonsets/status",
        "deployments/status",
        "replicasets/status",
        "statefulsets/status",
    ),
    "batch": ("cronjobs/status", "jobs/status"),
}
_MODELS: Final = {
    "argoproj.io": ("applications",),
    "serving.kserve.io": ("inferenceservices", "servingruntimes"),
}
"""What Towpath itself serves."""

_VIEW: Final = (
    *(Rule(_READ, (group,), names) for group, names in _CONTENT.items()),
    *(Rule(_READ, (group,), names) for group, names in _STATUS.items()),
    Rule(_READ, ("",), ("namespaces",)),
)
_EDIT: Final = (
    *(Rule(_WRITE, (group,), names) for group, names in _CONTENT.items()),
    Rule(_ALL, ("",), ("secrets",)),
    Rule(_ALL, ("coordination.k8s.io",), ("leases",)),
    Rule(("impersonate",), ("",), ("serviceaccounts",)),
    Rule(("create",), ("",), ("serviceaccounts/token",)),
)
_ADMIN: Final = (
    Rule(("create",), ("authorization.k8s.io",), ("localsubjectaccessreviews",)),
    Rule(_ALL, (GROUP,), ("rolebindings", "roles")),
)
_DISCOVERY: Final = (
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
)
_PUBLIC: Final = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_ISSUER: Final = (
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
)
_SELF: Final = (
    Rule(
        ("create",),
        ("authorization.k8s.io",),
        ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    ),
    Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
)
_DELEGATOR: Final = (
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
)

_PLAIN: Final[Mapping[str, tuple[Rule, ...]]] = {
    "cluster-admin": EVERYTHING,
    "system:auth-delegator": _DELEGATOR,
    "system:basic-user": _SELF,
    "system:discovery": (Rule(("get",), paths=_DISCOVERY),),
    "system:public-info-viewer": (Rule(("get",), paths=_PUBLIC),),
    "system:service-account-issuer-discovery": (Rule(("get",), paths=_ISSUER),),
}
_PARTS: Final[Mapping[str, tuple[str, tuple[Rule, ...]]]] = {
    "system:aggregate-to-admin": ("admin", _ADMIN),
    "system:aggregate-to-edit": ("edit", _EDIT),
    "system:aggregate-to-view": ("view", _VIEW),
    "towpath:aggregate-to-edit": (
        "edit",
        tuple(
            Rule(_WRITE, (group,), tuple(n for name in names for n in (name, f"{name}/status")))
            for group, names in _MODELS.items()
        ),
    ),
    "towpath:aggregate-to-view": (
        "view",
        (
            *(
                Rule(_READ, (group,), tuple(n for name in names for n in (name, f"{name}/status")))
                for group, names in _MODELS.items()
            ),
            Rule(_READ, ("serving.kserve.io",), ("clusterservingruntimes",)),
        ),
    ),
}
"""Role -> the role that gathers it, and its rules."""
_GATHERING: Final = {"admin": "", "edit": "admin", "view": "edit"}
"""Role that gathers others -> the role that gathers it."""
_BOUND: Final[Mapping[str, tuple[str, ...]]] = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:service-account-issuer-discovery": ("system:serviceaccounts",),
}
"""Role -> the groups bound to it."""


def roles() -> Iterator[JsonObject]:
    """The ClusterRoles."""
    for name, rules in _PLAIN.items():
        yield _role(name, rules)
    for name, (into, rules) in _PARTS.items():
        yield _role(name, rules, into)
    for name, into in _GATHERING.items():
        selectors = [{"matchLabels": {_gathers(name): "true"}}]
        yield {**_role(name, (), into), "aggregationRule": {"clusterRoleSelectors": selectors}}


def bindings() -> Iterator[JsonObject]:
    """The ClusterRoleBindings."""
    for name, groups in _BOUND.items():
        yield {
            "apiVersion": _API,
            "kind": "ClusterRoleBinding",
            "metadata": _metadata(name),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
        }


def completed(stored: JsonObject, wanted: JsonObject) -> JsonObject | None:
    """What is stored, with what is missing of a default; None when nothing is, or nothing may be.

    More than the default has is left alone, and so is whatever says that it keeps itself.
    """
    metadata = stored["metadata"]
    if (metadata.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    new = {**stored, "metadata": {**metadata}}
    for field in ("labels", "annotations"):
        new["metadata"][field] = {**(metadata.get(field) or {}), **wanted["metadata"][field]}
    missing = lacking(read(stored.get("rules")), read(wanted.get("rules")))
    if missing and "aggregationRule" not in wanted:
        short = [
            rule for rule in read(wanted["rules"]) if lacking(read(stored.get("rules")), [rule])
        ]
        new["rules"] = [*(stored.get("rules") or ()), *(rule.to_object() for rule in short)]
    if "aggregationRule" in wanted:
        held = (stored.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        more = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in held]
        if more:
            new["aggregationRule"] = {"clusterRoleSelectors": [*held, *more]}
    if "subjects" in wanted:
        if stored.get("roleRef") != wanted["roleRef"]:
            return None
        subjects = stored.get("subjects") or []
        more = [s for s in wanted["subjects"] if s not in subjects]
        if more:
            new["subjects"] = [*subjects, *more]
    return None if new == stored else new


def _gathers(name: str) -> str:
    return f"{GROUP}/aggregate-to-{name}"


def _metadata(name: str, into: str = "") -> JsonObject:
    labels = {**_LABELS, **({_gathers(into): "true"} if into else {})}
    return {"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}}


def _role(name: str, rules: tuple[Rule, ...], into: str = "") -> JsonObject:
    return {
        "apiVersion": _API,
        "kind": "ClusterRole",
        "metadata": _metadata(name, into),
        "rules": [rule.to_object() for rule in rules],
    }
