"""Nobody gives away rights that they do not have themselves.

Source: Kubernetes documentation, "Using RBAC Authorization", "Privilege escalation prevention and
bootstrapping".
"""

from collections.abc import Iterable
from typing import Final

from towpath.apiserver import failures
from towpath.apiserver.access.attributes import Attributes, quoted
from towpath.apiserver.access.rbac import (
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    GROUP,
    ROLES,
    Policy,
)
from towpath.apiserver.access.rules import EVERYTHING, Rule, compact, lacking, listed, read
from towpath.apiserver.kinds import Resource
from towpath.auth import Identity
from towpath.errors import NotFoundError
from towpath.spec._wire import JsonObject

__all__ = ["check"]

_PARTS: Final = 2_000
"""Most single rights that are compared one by one."""
_TOLD: Final = 50
"""Most of what is missing that a refusal names."""
_UNHEEDED: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""What may change of a role without giving anything away."""


def check(
    policy: Policy,
    identity: Identity,
    resource: Resource,
    old: JsonObject | None,
    new: JsonObject,
) -> None:
    """Refuse a role or binding that gives more than the caller has.

    Raises:
        DeniedError: it does, and the caller has neither ``escalate`` on the role nor ``bind``.
        InvalidError: it grants too many rights to compare (reason ``BadRequest``).
        NotFoundError: there is no such role to bind.
    """
    if old is not None and _heeded(old) == _heeded(new):
        return
    metadata = new["metadata"]
    name, namespace = metadata.get("name", ""), metadata.get("namespace", "")
    if resource.key in (ROLES, CLUSTER_ROLES):
        plural = resource.kind.plural
        known = name if old is not None else ""  # a right by name is one to change what is there
        asked = Attributes("escalate", GROUP, "v1", plural, "", namespace, known)
        if policy.decide(identity, asked).allowed:
            return
        _confirm(policy, identity, resource, new, read(new.get("rules")))
        if "aggregationRule" in new or "aggregationRule" in (old or {}):
            held, _ = policy.rules(identity, "")
            if lacking(held, EVERYTHING):
                why = "must have cluster-admin privileges to use the aggregationRule"
                raise failures.forbidden(resource, name, why)
    elif resource.key in (BINDINGS, CLUSTER_BINDINGS):
        ref = new.get("roleRef") or {}
        kind, role = ref.get("kind"), str(ref.get("name", ""))
        plural = {"Role": "roles", "ClusterRole": "clusterroles"}.get(str(kind), "")
        asked = Attributes("bind", ref.get("apiGroup", ""), "v1", plural, "", namespace, role)
        if plural and policy.decide(identity, asked).allowed:
            return
        rules = policy.role(namespace if kind == "Role" else "", role) if plural else ()
        if rules is None:
            raise NotFoundError(f"{plural}.{GROUP} {quoted(role)} not found")
        _confirm(policy, identity, resource, new, rules)


def _heeded(obj: JsonObject) -> JsonObject:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _UNHEEDED}
    return {**obj, "metadata": metadata}


def _confirm(
    policy: Policy,
    identity: Identity,
    resource: Resource,
    new: JsonObject,
    rules: Iterable[Rule],
) -> None:
    rules = list(rules)
    metadata = new["metadata"]
    name = metadata.get("name", "")
    if sum(rule.size for rule in rules) > _PARTS:
        raise failures.bad_request(f"the rules of {quoted(name)} name more than {_PARTS} rights")
    held, missing = policy.rules(identity, metadata.get("namespace", ""))
    short = lacking(held, rules)
    if not short:
        return
    lines = sorted({str(rule) for rule in compact(short)})
    if len(lines) > _TOLD:
        lines = [*lines[:_TOLD], f"and {len(lines) - _TOLD} more"]
    why = (
        f"user {quoted(identity.user)} (groups={listed(sorted(identity.groups))}) is attempting "
        "to grant RBAC permissions not currently held:\n" + "\n".join(lines)
    )
    raise failures.forbidden(
        resource, name, why + (f"; resolution errors: {missing}" * bool(missing))
    )
