"""What must hold of built-in kinds beyond the types of their fields.

Pure: objects in, problems out. These are the rules that people meet; a real API server has more.

Source: Kubernetes API reference; the messages are those that users know.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from towpath.apiserver import workloads
from towpath.apiserver.kinds import Resource
from towpath.apiserver.schema.problem import (
    Problem,
    duplicate,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from towpath.spec._wire import JsonObject

__all__ = ["problems"]

Rule = Callable[[JsonObject, JsonObject | None], Iterator[Problem]]

_RBAC: Final = "rbac.authorization.k8s.io"
_MOST: Final = 1024 * 1024
"""Most bytes of the entries of a ConfigMap or Secret."""
_KEY: Final = "[-._a-zA-Z0-9]+"
_KEY_RULE: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    f"(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '{_KEY}')"
)
_FROZEN: Final = "field is immutable when `immutable` is set"
_PORT_RULE: Final = "must be between 1 and 65535, inclusive"


def problems(resource: Resource, obj: JsonObject, old: JsonObject | None = None) -> list[Problem]:
    """What is wrong with an object of a built-in kind.

    Args:
        resource: Its kind.
        obj: Of the right types and with its defaults.
        old: What it replaces.
    """
    rule = _RULES.get(resource.key)
    return [] if rule is None else list(rule(obj, old))


def _entries(obj: JsonObject, plain: str, encoded: str) -> Iterator[Problem]:
    """What is wrong with the entries of a field of texts and of one in base64."""
    size = 0
    for field in (plain, encoded):
        for key, value in (obj.get(field) or {}).items():
            at = f"{field}[{key[:253]}]"
            if len(key) > 253:
                yield invalid(at, key[:253], "must be no more than 253 characters")
            elif not re.fullmatch(_KEY, key):
                yield invalid(at, key, _KEY_RULE)
            elif key in (".", "..") or key.startswith(".."):
                yield invalid(
                    at, key, f"must not {'start with' if key != '.' else 'be'} '{key[:2]}'"
                )
            size += len(value) if field == plain else len(value) * 3 // 4
    if size > _MOST:
        yield too_long(encoded if not plain else "", _MOST)


def _frozen(obj: JsonObject, old: JsonObject | None, *fields: str) -> Iterator[Problem]:
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            yield forbidden("immutable", _FROZEN)
        for field in fields:
            if (obj.get(field) or {}) != (old.get(field) or {}):
                yield forbidden(field, _FROZEN)


def _config_map(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    yield from _entries(obj, "data", "binaryData")
    for key in obj.get("data") or {}:
        if key in (obj.get("binaryData") or {}):
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    yield from _frozen(obj, old, "data", "binaryData")


_SECRET_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""Entries that a Secret of a type must have."""
_ACCOUNT: Final = "kubernetes.io/service-account.name"


def _secret(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    yield from _entries(obj, "", "data")
    kind, data = obj.get("type", "Opaque"), obj.get("data") or {}
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        if not annotations.get(_ACCOUNT):
            yield required(f"metadata.annotations[{_ACCOUNT}]")
    if old is not None and kind != old.get("type", "Opaque"):
        yield invalid("type", kind, "field is immutable")
    yield from _frozen(obj, old, "data")


def _service(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or []
    before = (old or {}).get("spec") or {}
    had, has = before.get("clusterIP"), spec.get("clusterIP")
    if had and had != has and "ExternalName" not in (kind, before.get("type")):
        yield invalid("spec.clusterIPs[0]", [has] if has else [], "may not change once set")
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
    elif not ports and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    names: set[str] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            yield required(f"{at}.name")
        elif name in names:
            yield duplicate(f"{at}.name", name)
        elif name and not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            yield invalid(f"{at}.name", name, "must be a lowercase RFC 1123 label")
        names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            yield invalid(f"{at}.port", number, _PORT_RULE)
        target = port.get("targetPort")
        if isinstance(target, int) and number and not 1 <= target <= 65535:
            yield invalid(f"{at}.targetPort", target, _PORT_RULE)


def _claim(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    spec = obj.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield required("spec.resources[storage]")
    if old is not None:
        free = ("resources", "volumeAttributesClassName", "volumeName")
        before = {k: v for k, v in (old.get("spec") or {}).items() if k not in free}
        if before != {k: v for k, v in spec.items() if k not in free}:
            yield forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and "
                "volumeAttributesClassName for bound claims",
            )


def _rules(obj: JsonObject, *, namespaced: bool) -> Iterator[Problem]:
    for index, rule in enumerate(obj.get("rules") or ()):
        at, urls = f"rules[{index}]", rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        if urls:
            why = "namespaced rules cannot apply to non-resource URLs"
            if namespaced:
                yield invalid(f"{at}.nonResourceURLs", urls, why)
            if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{at}.nonResourceURLs", urls, why)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{at}.resources", "resource rules must supply at least one resource")


def _role(obj: JsonObject, _: JsonObject | None) -> Iterator[Problem]:
    return _rules(obj, namespaced=True)


def _cluster_role(obj: JsonObject, _: JsonObject | None) -> Iterator[Problem]:
    return _rules(obj, namespaced=False)


def _binding(kinds: tuple[str, ...]) -> Rule:
    def rule(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
        role = obj.get("roleRef") or {}
        if role.get("apiGroup", _RBAC) != _RBAC:
            yield unsupported("roleRef.apiGroup", role["apiGroup"], [_RBAC])
        if "kind" in role and role["kind"] not in kinds:
            yield unsupported("roleRef.kind", role["kind"], kinds)
        if role.get("name") == "":
            yield required("roleRef.name")
        if old is not None and role != old.get("roleRef"):
            yield Problem("roleRef", "FieldValueInvalid", _role_changed(role))
        for index, subject in enumerate(obj.get("subjects") or ()):
            yield from _subject(f"subjects[{index}]", subject, namespaced="Role" in kinds)

    return rule


def _role_changed(role: JsonObject) -> str:
    fields = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
    told = ", ".join(f'{name}:"{role.get(field, "")}"' for name, field in fields)
    return f"Invalid value: rbac.RoleRef{{{told}}}: cannot change roleRef"


def _subject(at: str, subject: JsonObject, *, namespaced: bool) -> Iterator[Problem]:
    kind, group = subject.get("kind", ""), subject.get("apiGroup", "")
    if not subject.get("name"):
        yield required(f"{at}.name")
    if kind == "ServiceAccount":
        if not namespaced and not subject.get("namespace"):
            yield required(f"{at}.namespace")
        if group:
            yield unsupported(f"{at}.apiGroup", group, [""])
    elif kind in ("Group", "User"):
        if group != _RBAC:
            yield unsupported(f"{at}.apiGroup", group, [_RBAC])
    elif kind:
        yield unsupported(f"{at}.kind", kind, ["ServiceAccount", "User", "Group"])


def _lease(obj: JsonObject, _: JsonObject | None) -> Iterator[Problem]:
    seconds = (obj.get("spec") or {}).get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")


def _event(obj: JsonObject, _: JsonObject | None) -> Iterator[Problem]:
    there = (obj.get("involvedObject") or {}).get("namespace", "")
    here = obj["metadata"].get("namespace", "")
    if (there and there != here) or (not there and here not in ("", "default")):
        yield invalid("involvedObject.namespace", there, "does not match event.namespace")


_RULES: Final[Mapping[str, Rule]] = {
    "configmaps": _config_map,
    "deployments.apps": workloads.deployment,
    "events": _event,
    "jobs.batch": workloads.job,
    "leases.coordination.k8s.io": _lease,
    "persistentvolumeclaims": _claim,
    "pods": workloads.pod,
    "secrets": _secret,
    "services": _service,
    f"clusterrolebindings.{_RBAC}": _binding(("ClusterRole",)),
    f"clusterroles.{_RBAC}": _cluster_role,
    f"rolebindings.{_RBAC}": _binding(("Role", "ClusterRole")),
    f"roles.{_RBAC}": _role,
}
