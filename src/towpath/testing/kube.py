"""A Kubernetes API in memory: for tests of whatever reads and writes facts.

It keeps the promises that controllers lean on (resource versions, generations, conflicts,
finalizers, owner references, server-side apply by field manager, unchanged writes that change
nothing) and none of the others: no admission, no schemas, no ``managedFields``, and a list is one
value to server-side apply. The same contract suite runs against the real APIs.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final, cast

import anyio

from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.kube import WatchEvent
from towpath.spec.kube import NAMESPACE, Kind, Object

__all__ = ["MemoryCluster"]

_Key = tuple[Kind, str, str]
_SERVER_FIELDS: Final = ("uid", "creationTimestamp", "deletionTimestamp", "generation")


class MemoryCluster:
    """A :class:`towpath.kube.Writer` that forgets everything at the end.

    Args:
        namespaces: Those there from the beginning.
    """

    def __init__(self, namespaces: tuple[str, ...] = ("default",)) -> None:
        self._reachable = True
        self._objects: dict[_Key, Object] = {}
        self._applied: dict[_Key, dict[str, Object]] = {}
        self._version = 0
        self._log: list[tuple[Kind, WatchEvent]] = []
        self._changed = anyio.Event()
        for name in namespaces:
            self._put(
                (NAMESPACE, "", name), _new(NAMESPACE, cast(Object, {"metadata": {"name": name}}))
            )

    @property
    def version(self) -> str:
        """The newest resourceVersion: two equal ones mean that nothing was written in between."""
        return str(self._version)

    @property
    def reachable(self) -> bool:
        """Set to False: every call, and every open watch, raises UnavailableError."""
        return self._reachable

    @reachable.setter
    def reachable(self, value: bool) -> None:
        self._reachable = value
        self._wake()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFoundError."""
        return deepcopy(self._find(kind, name, namespace)[1])

    async def list(
        self, kind: Kind, namespace: str = "", labels: dict[str, str] | None = None
    ) -> list[Object]:
        """All objects of a kind; in every namespace when none is named."""
        self._check()
        found = sorted(
            (key, obj)
            for key, obj in ((key[1:], obj) for key, obj in self._of(kind, namespace))
            if (labels or {}).items() <= obj["metadata"].get("labels", {}).items()
        )
        return [deepcopy(obj) for _, obj in found]

    async def watch(self, kind: Kind, namespace: str = "") -> AsyncIterator[WatchEvent]:
        """What is there (as ``ADDED``), then every change; raises when it is made unreachable."""
        self._check()
        seen = len(self._log)
        for obj in await self.list(kind, namespace):
            yield WatchEvent("ADDED", obj)
        while True:
            while seen < len(self._log):
                of, event = self._log[seen]
                seen += 1
                if of == kind and namespace in ("", event.object["metadata"].get("namespace", "")):
                    yield deepcopy(event)
            self._check()
            await self._changed.wait()

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Create. Raises ConflictError (reason ``AlreadyExists``)."""
        self._check()
        if obj.get("metadata", {}).get("resourceVersion"):
            told = "resourceVersion should not be set on objects to be created"
            raise InvalidError(told, reason=Reason.BAD_REQUEST)
        made = _new(kind, obj)
        if kind.status_apart:
            made.pop("status", None)
        key = self._address(kind, made)
        if key in self._objects:
            raise ConflictError(
                f'{kind.plural} "{key[2]}" already exists', reason=Reason.ALREADY_EXISTS
            )
        return self._put(key, made)

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """Replace the object whose resourceVersion was read. Raises ConflictError."""
        metadata = obj.get("metadata", {})
        key, current = self._find(kind, metadata.get("name", ""), metadata.get("namespace", ""))
        read = metadata.get("resourceVersion")
        if read is None and _custom(kind):
            raise InvalidError("metadata.resourceVersion must be specified for an update")
        self._expect(current, read)
        return self._update(key, cast(Object, {**obj}), status=not kind.status_apart)

    async def apply(self, kind: Kind, obj: Object, manager: str) -> Object:
        """Server-side apply, taking over fields from other managers."""
        self._check()
        wanted = deepcopy(obj)
        key = self._address(kind, _new(kind, wanted))
        managers = self._applied.setdefault(key, {})
        before = managers.pop(manager, {})
        others = list(managers.values())
        managers[manager] = wanted
        current = self._objects.get(key)
        if current is None:
            return await self.create(kind, obj)
        result = _without(current, before, wanted, others)
        return self._update(key, _merged(result, wanted), status=not kind.status_apart)

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch (RFC 7386)."""
        key, current = self._find(kind, name, namespace)
        self._expect(current, patch.get("metadata", {}).get("resourceVersion"))
        patched = _patched(current, patch)
        return self._update(key, patched, status=not kind.status_apart)

    async def merge_status(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch of the status subresource."""
        key, current = self._find(kind, name, namespace)
        if not kind.status_apart:
            raise NotFoundError("the server could not find the requested resource")
        self._expect(current, patch.get("metadata", {}).get("resourceVersion"))
        status = _patched(current, patch).get("status", {})
        return self._update(key, cast(Object, {**current, "status": status}), status=True)

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete in the background; what is not there is deleted already."""
        self._check()
        key = (kind, namespace if kind.namespaced else "", name)
        if key not in self._objects:
            return
        current = self._objects[key]
        if current["metadata"].get("finalizers"):
            if "deletionTimestamp" not in current["metadata"]:
                marked = deepcopy(current)
                marked["metadata"]["deletionTimestamp"] = _now()
                marked["metadata"]["generation"] += 1
                self._put(key, marked)
            return
        self._remove(key)

    def _check(self) -> None:
        if not self.reachable:
            raise UnavailableError("the Kubernetes API does not answer")

    def _of(self, kind: Kind, namespace: str) -> Iterator[tuple[_Key, Object]]:
        for key, obj in self._objects.items():
            if key[0] == kind and namespace in ("", key[1]):
                yield key, obj

    def _find(self, kind: Kind, name: str, namespace: str) -> tuple[_Key, Object]:
        self._check()
        key = (kind, namespace if kind.namespaced else "", name)
        if key not in self._objects:
            raise NotFoundError(f'{kind.plural} "{name}" not found')
        return key, self._objects[key]

    def _address(self, kind: Kind, obj: Object) -> _Key:
        namespace = obj["metadata"].get("namespace", "") if kind.namespaced else ""
        if kind.namespaced and not namespace:
            raise InvalidError(f"metadata.namespace of a {kind.kind} is required")
        if kind.namespaced and (NAMESPACE, "", namespace) not in self._objects:
            raise NotFoundError(f'namespaces "{namespace}" not found')
        return (kind, namespace, obj["metadata"]["name"])

    def _expect(self, current: Object, version: str | None) -> None:
        if version is not None and version != current["metadata"]["resourceVersion"]:
            raise ConflictError(
                f"the object {current['metadata']['name']!r} has been modified",
                hint="Read it again.",
            )

    def _update(self, key: _Key, wanted: Object, *, status: bool) -> Object:
        current = self._objects[key]
        made = deepcopy(wanted)
        made["apiVersion"], made["kind"] = key[0].api_version, key[0].kind
        if not status:
            made.pop("status", None)
            if "status" in current:
                made["status"] = current["status"]
        metadata: dict[str, Any] = cast(dict[str, Any], made["metadata"])
        kept = cast(dict[str, Any], current["metadata"])
        metadata.update({field: kept[field] for field in _SERVER_FIELDS if field in kept})
        metadata["resourceVersion"] = kept["resourceVersion"]
        if made == current:
            return deepcopy(current)
        if "deletionTimestamp" in kept and not _held(metadata) <= _held(kept):
            raise InvalidError("no new finalizers can be added if the object is being deleted")
        apart = ("metadata", "status") if key[0].status_apart else ("metadata",)
        if any(made.get(f) != current.get(f) for f in {*made, *current}.difference(apart)):
            metadata["generation"] = kept["generation"] + 1
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(key)
            return deepcopy(made)
        return self._put(key, made)

    def _put(self, key: _Key, obj: Object) -> Object:
        known = key in self._objects
        obj["metadata"]["resourceVersion"] = self._next()
        self._objects[key] = obj
        event = WatchEvent("MODIFIED" if known else "ADDED", deepcopy(obj))
        self._log.append((key[0], event))
        self._wake()
        return deepcopy(obj)

    def _remove(self, key: _Key) -> None:
        gone = self._objects.pop(key)
        self._applied.pop(key, None)
        gone["metadata"]["resourceVersion"] = self._next()
        self._log.append((key[0], WatchEvent("DELETED", gone)))
        self._wake()
        uid = gone["metadata"]["uid"]
        for other, obj in list(self._objects.items()):
            owners = obj["metadata"].get("ownerReferences", ())
            inside = key[0] == NAMESPACE and other[1] == key[2]
            if other in self._objects and (inside or any(o.get("uid") == uid for o in owners)):
                self._remove(other)

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _held(metadata: dict[str, Any]) -> set[str]:
    return set(metadata.get("finalizers") or ())


def _custom(kind: Kind) -> bool:
    """Whether a definition serves the kind: of those, no update goes by without its version."""
    return "." in kind.group and not kind.group.endswith(".k8s.io")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _new(kind: Kind, obj: Object) -> Object:
    made = deepcopy(obj)
    made["apiVersion"], made["kind"] = kind.api_version, kind.kind
    metadata = made.setdefault("metadata", {})
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            raise InvalidError(f"metadata.name of a {kind.kind} is required")
        metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
    if not kind.namespaced:
        metadata.pop("namespace", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["generation"] = 1
    metadata["creationTimestamp"] = _now()
    metadata.pop("deletionTimestamp", None)
    return made


def _patched(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _patched(result.get(key), value)
    return result


def _merged(target: Any, wanted: Any) -> Any:
    if not (isinstance(target, dict) and isinstance(wanted, dict)):
        return deepcopy(wanted)
    return {**target, **{key: _merged(target.get(key), wanted[key]) for key in wanted}}


def _without(current: Any, before: Any, wanted: Any, others: list[Any]) -> Any:
    """What is left when a manager no longer names fields that it named before."""
    result = dict(current)
    for key, value in before.items():
        theirs = [other[key] for other in others if isinstance(other, dict) and key in other]
        now = wanted.get(key) if isinstance(wanted, dict) else None
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            left = _without(result[key], value, now if isinstance(now, dict) else {}, theirs)
            result[key] = left
            if not left and now is None and not theirs:
                del result[key]
        elif now is None and not theirs:
            result.pop(key, None)
    return result
