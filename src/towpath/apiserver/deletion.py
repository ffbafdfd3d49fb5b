"""What a deletion makes of an object: it goes, or it is marked and held until others have gone.

Pure. What holds an object are its finalizers; the server's own stand for what its collector has
still to do. A namespace is held by ``spec.finalizers`` besides.

Source: Kubernetes documentation, "Garbage Collection" (cascading deletion), "Finalizers",
"Namespaces".
"""

from typing import Final, Literal

from towpath.apiserver.builtin import DEFINITION, NAMESPACES
from towpath.apiserver.kinds import Resource
from towpath.spec._wire import JsonObject

__all__ = [
    "CLEANUP",
    "FOREGROUND",
    "KUBERNETES",
    "ORPHAN",
    "Policy",
    "answered_with_object",
    "ended",
    "held",
    "released",
]

Policy = Literal["", "Background", "Foreground", "Orphan"]

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until its objects have gone."""
KUBERNETES: Final = "kubernetes"
"""Holds a namespace, in its ``spec``, until its contents have gone."""

_OWNERLESS: Final = frozenset({"events", "events.events.k8s.io"})
"""Kinds that own nothing; a policy means nothing to them."""
_ORPHANING: Final = frozenset({"jobs.batch", "replicationcontrollers"})
"""Kinds that leave what they own where a deletion has no policy."""
_ANSWERED: Final = frozenset(
    {
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    }
)


def answered_with_object(resource: Resource) -> bool:
    """Whether the deletion of such an object answers with it, and not with a Status."""
    return resource.key in _ANSWERED


def ended(resource: Resource, obj: JsonObject, policy: Policy, now: str) -> JsonObject:
    """An object that somebody wants deleted, marked so.

    Args:
        resource: Its kind.
        obj: As it is.
        policy: What becomes of what it owns; empty: as the object, or its kind, has it.
        now: RFC 3339 time.
    """
    metadata = dict(obj["metadata"])
    finalizers = _finalizers(resource, metadata.get("finalizers") or [], policy)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    marked = {**obj, "metadata": metadata}
    if "deletionTimestamp" in metadata:
        return marked
    metadata["deletionTimestamp"] = now
    metadata["deletionGracePeriodSeconds"] = 0
    if "generation" in metadata:
        metadata["generation"] += 1
    status = marked.get("status") or {}
    if resource.key == NAMESPACES.key:
        marked["status"] = {**status, "phase": "Terminating"}
    elif resource.key == DEFINITION.key:
        terminating = {
            "type": "Terminating",
            "status": "True",
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion "
            "will begin soon",
            "lastTransitionTime": now,
        }
        others = [c for c in status.get("conditions") or () if c.get("type") != "Terminating"]
        marked["status"] = {**status, "conditions": [*others, terminating]}
    return marked


def _finalizers(resource: Resource, present: list[str], policy: Policy) -> list[str]:
    if resource.key in _OWNERLESS:
        return present
    if not policy:
        if ORPHAN in present or FOREGROUND in present:
            return present
        if resource.key in _ORPHANING:
            policy = "Orphan"
    left = [name for name in present if name not in (ORPHAN, FOREGROUND)]
    if resource.key == DEFINITION.key and CLEANUP not in left:
        left.append(CLEANUP)
    if policy == "Orphan":
        left.append(ORPHAN)
    elif policy == "Foreground":
        left.append(FOREGROUND)
    return left


def held(resource: Resource, obj: JsonObject) -> bool:
    """Whether anything keeps an object that is marked from going."""
    if obj["metadata"].get("finalizers"):
        return True
    spec = obj.get("spec") if resource.key == NAMESPACES.key else None
    return bool((spec or {}).get("finalizers"))


def released(resource: Resource, obj: JsonObject) -> JsonObject:
    """A namespace or definition that has been emptied, without the server's own hold on it."""
    if resource.key == NAMESPACES.key:
        spec = obj.get("spec") or {}
        left = [name for name in spec.get("finalizers") or () if name != KUBERNETES]
        spec = {k: v for k, v in spec.items() if k != "finalizers"}
        return {**obj, "spec": {**spec, "finalizers": left} if left else spec}
    metadata = obj["metadata"]
    left = [name for name in metadata.get("finalizers") or () if name != CLEANUP]
    return {**obj, "metadata": {**metadata, "finalizers": left}}
