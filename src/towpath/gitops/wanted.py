"""What git wants of an API: its objects with all that a sync adds, and whether one is there."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from towpath import kube
from towpath.gitops.source import tracking_id
from towpath.gitops.status import Resource
from towpath.kube.controller import Request
from towpath.spec.argocd import TRACKING_ID
from towpath.spec.kinds import KINDS
from towpath.spec.kube import Kind, Object

__all__ = ["Wanted", "order", "repeated"]

_FIRST: Final = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap")
_WRITE_ONLY: Final = ("stringData",)
"""Fields that an API stores under another name."""


@dataclass(frozen=True)
class Wanted:
    """One object as git has it, complete; one of an unknown kind cannot be addressed."""

    resource: Resource
    kind: Kind | None
    obj: Object

    @classmethod
    def of(cls, obj: Object, namespace: str, app: Request) -> "Wanted":
        """Complete a manifest: where it goes, and whose it is.

        Args:
            obj: As in git.
            namespace: Of objects that name none; empty for ``default``.
            app: The Application.
        """
        metadata = obj["metadata"]
        name, kind = metadata["name"], KINDS.get((obj["apiVersion"], obj["kind"]))
        place = metadata.get("namespace") or namespace or "default"
        if kind is not None and not kind.namespaced:
            place = ""
        group, _, version = obj["apiVersion"].rpartition("/")
        resource = Resource(group, version, obj["kind"], place, name)
        if kind is None:
            return cls(resource, None, obj)
        mark = {TRACKING_ID: tracking_id(app, kind, place, name)}
        complete: dict[str, Any] = {**metadata, "annotations": {**kube.annotations(obj), **mark}}
        complete.pop("namespace", None)
        if place:
            complete["namespace"] = place
        body = {key: value for key, value in obj.items() if key != "status"}
        return cls(resource, kind, cast(Object, {**body, "metadata": complete}))

    def holds(self, live: Object) -> bool:
        """Whether a live object has everything wanted; what an API adds to it is its own."""
        readable = {key: value for key, value in self.obj.items() if key not in _WRITE_ONLY}
        return _holds(live, readable)


def order(wanted: Wanted) -> tuple[int, tuple[str, ...]]:
    """Sorts what others need before those others."""
    kind = wanted.resource.kind
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST), wanted.resource.address)


def repeated(wanted: Iterable[Wanted]) -> str:
    """A sentence about the objects that git has more than once; empty where there are none."""
    times = Counter(w.resource.address for w in wanted)
    return "; ".join(
        f"{kind} {name} is in git {count} times, and only the last counts"
        for (_, kind, _, name), count in times.items()
        if count > 1
    )


def _holds(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        there = {} if live is None else live
        return isinstance(there, dict) and all(
            _holds(there.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        items = [] if live is None else live
        return (
            isinstance(items, list)
            and len(items) == len(wanted)
            and all(map(_holds, items, wanted))
        )
    return bool(live == wanted)
