"""Conditions: the one way a controller says how things stand (Kubernetes API conventions)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from towpath.spec.kube import Condition

__all__ = ["find", "is_true", "merge"]


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((c for c in conditions if c.get("type") == kind), None)


def is_true(obj: Mapping[str, Any], kind: str = "Ready") -> bool:
    """Whether an object's ``status.conditions`` holds this type with status ``True``."""
    status = obj.get("status") or {}
    condition = find(status.get("conditions") or (), kind)
    return condition is not None and condition.get("status") == "True"


def merge(old: Sequence[Condition], new: Iterable[Condition], now: str) -> list[Condition]:
    """The old list with the new conditions in it.

    ``lastTransitionTime`` changes only with ``status``, so an unchanged state writes nothing.

    Args:
        old: As read from the object.
        new: What holds now; types not named stay as they are.
        now: RFC 3339 time.
    """
    merged = {c["type"]: c for c in old}
    for condition in new:
        before = merged.get(condition["type"])
        same = before is not None and before.get("status") == condition.get("status")
        since = before.get("lastTransitionTime", now) if same and before is not None else now
        merged[condition["type"]] = {**condition, "lastTransitionTime": since}
    return list(merged.values())
