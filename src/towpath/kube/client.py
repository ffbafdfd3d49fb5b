"""The client of a Kubernetes API: plain dicts in and out, our five errors, nothing cached.

One small class over lightkube, built from a kubeconfig. It does not know whether the API is the
embedded one. Reading and writing are separate protocols, so a signature shows who may write.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Protocol, Self, cast

import anyio
import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import NamespacedResource
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import CascadeType, PatchType

from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason
from towpath.kube.connection import Connection, from_kubeconfig
from towpath.kube.failures import translated
from towpath.spec.kube import Kind, Object

__all__ = ["Client", "EventType", "Reader", "WatchEvent", "Writer"]

_UNUSABLE = (ConfigError, ImportError, OSError, TypeError, ValueError, httpx2.InvalidURL)
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

PAGE: Final = 500
"""Objects asked for at a time, as kubectl does."""
WATCH_SECONDS: Final = 60
"""After which the API ends a watch that goes on by itself: a dead link is noticed by then."""
PATIENCE_SECONDS: Final = 15
"""Silence beyond that, after which the link counts as dead."""
RELIST_SECONDS: Final = 1.0
"""Before everything is read anew: an API that remembers no change at all is not overrun."""


class WatchEvent(NamedTuple):
    """One change, as a watch tells it."""

    type: EventType
    object: Object


class Reader(Protocol):
    """Who may only look."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFoundError."""
        ...

    async def list(
        self, kind: Kind, namespace: str = "", labels: dict[str, str] | None = None
    ) -> list[Object]:
        """All objects of a kind; in every namespace when none is named."""
        ...

    def watch(self, kind: Kind, namespace: str = "") -> AsyncIterator[WatchEvent]:
        """What is there (as ``ADDED``), then every change; raises when the server is gone.

        Changes that the server no longer remembers are made up from what is there then; an object
        that went meanwhile is told by what was known of its metadata.
        """
        ...


class Writer(Reader, Protocol):
    """Who may also write."""

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Create. Raises ConflictError (reason ``AlreadyExists``)."""
        ...

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """Replace the object whose resourceVersion was read. Raises ConflictError."""
        ...

    async def apply(self, kind: Kind, obj: Object, manager: str) -> Object:
        """Server-side apply, taking over fields from other managers."""
        ...

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch (RFC 7386)."""
        ...

    async def merge_status(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch of the status subresource."""
        ...

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete in the background; what is not there is deleted already."""
        ...


@cache
def _type(kind: Kind) -> Any:
    """lightkube's class of a kind; its registry of classes is one for the process."""
    make = create_namespaced_resource if kind.namespaced else create_global_resource
    return make(kind.group, kind.version, kind.kind, kind.plural)


class Client:
    """A :class:`Writer` over one cluster's API.

    Args:
        where: Path of a kubeconfig, whose current context is used; or a connection.
        timeout: Seconds for one call; a watch has none.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: the file is not a kubeconfig, or names a certificate that cannot be read.
    """

    def __init__(self, where: Path | Connection, *, timeout: float = 10.0) -> None:
        connection = from_kubeconfig(where) if isinstance(where, Path) else where
        self.server = connection.config.cluster.server
        try:
            self._client = AsyncClient(
                connection.config,
                timeout=httpx2.Timeout(timeout),
                trust_env=False,
                proxy=connection.proxy,
            )
        except _UNUSABLE as exc:
            raise InvalidError(f"{connection.name} cannot be used: {exc}") from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFoundError."""
        with self._errors():
            found = await self._client.get(_type(kind), name, **_in(kind, namespace))
            return cast(Object, found)

    async def list(
        self, kind: Kind, namespace: str = "", labels: dict[str, str] | None = None
    ) -> list[Object]:
        """All objects of a kind; in every namespace when none is named."""
        with self._errors():
            found = self._client.list(
                _type(kind), labels=cast(Any, labels), chunk_size=PAGE, **_scope(kind, namespace)
            )
            return [cast(Object, obj) async for obj in found]

    async def watch(self, kind: Kind, namespace: str = "") -> AsyncIterator[WatchEvent]:
        """What is there (as ``ADDED``), then every change; raises when the server is gone."""
        known: dict[_Place, Object] = {}
        while True:
            found: dict[_Place, Object] = {}
            with self._errors():
                listed = self._client.list(_type(kind), chunk_size=PAGE, **_scope(kind, namespace))
                async for one in listed:
                    obj = cast(Object, one)
                    before = known.pop(_place(obj), None)
                    found[_place(obj)] = _remembered(obj)
                    if before is None or _uid(before) != _uid(obj):
                        if before is not None:
                            yield WatchEvent("DELETED", before)
                        yield WatchEvent("ADDED", obj)
                    elif _version(before) != _version(obj):
                        yield WatchEvent("MODIFIED", obj)
                version = listed.resourceVersion
            for gone in known.values():
                yield WatchEvent("DELETED", gone)
            known = found
            try:
                async with contextlib.aclosing(self._changes(kind, namespace, version)) as changes:
                    async for event in changes:
                        if event.type == "DELETED":
                            known.pop(_place(event.object), None)
                        else:
                            known[_place(event.object)] = _remembered(event.object)
                        yield event
            except _ExpiredError:
                await anyio.sleep(RELIST_SECONDS)

    async def _changes(
        self, kind: Kind, namespace: str, version: str
    ) -> AsyncGenerator[WatchEvent, None]:
        """Every change after a version, until it is told that they are not known any more."""
        generic = self._client._client  # lightkube's public watch asks for no bookmarks
        request = generic.prepare_request(
            "list",
            res=_type(kind),
            watch=True,
            params={
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_SECONDS),
            },
            **_scope(kind, namespace),
        )
        watched = cast(AsyncGenerator[tuple[str, Any], None], generic.watch(request))
        async with contextlib.aclosing(watched):  # the connection ends with the iteration
            while True:
                try:
                    with self._errors(), anyio.fail_after(WATCH_SECONDS + PATIENCE_SECONDS):
                        event, obj = await anext(watched)
                except ConflictError as exc:
                    if exc.reason is Reason.EXPIRED:
                        raise _ExpiredError from exc
                    raise
                if event != "BOOKMARK":
                    yield WatchEvent(cast(EventType, event), cast(Object, obj))

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Create. Raises ConflictError (reason ``AlreadyExists``)."""
        with self._errors():
            return cast(Object, await self._client.create(self._of(kind, obj)))

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """Replace the object whose resourceVersion was read. Raises ConflictError."""
        with self._errors():
            return cast(Object, await self._client.replace(self._of(kind, obj)))

    async def apply(self, kind: Kind, obj: Object, manager: str) -> Object:
        """Server-side apply, taking over fields from other managers."""
        with self._errors():
            applied = await self._client.apply(
                self._of(kind, obj), field_manager=manager, force=True
            )
            return cast(Object, applied)

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch (RFC 7386)."""
        return await self._merge(_type(kind), kind, name, namespace, patch)

    async def merge_status(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """JSON merge patch of the status subresource."""
        return await self._merge(_type(kind).Status, kind, name, namespace, patch)

    async def _merge(
        self, resource: Any, kind: Kind, name: str, namespace: str, patch: Object
    ) -> Object:
        with self._errors():
            patched = await self._client.patch(
                resource,
                name,
                cast(Any, patch),
                patch_type=PatchType.MERGE,
                **_in(kind, namespace),
            )
            return cast(Object, patched)

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete in the background; what is not there is deleted already."""
        with contextlib.suppress(NotFoundError), self._errors():
            await self._client.delete(
                _type(kind),
                name,
                cascade=CascadeType.BACKGROUND,
                **_in(kind, namespace),
            )

    def _of(self, kind: Kind, obj: Object) -> NamespacedResource:
        full = {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
        return cast(NamespacedResource, _type(kind)(full))

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return translated(self.server)


class _ExpiredError(Exception):
    """The changes after a version are not known any more."""


_Place = tuple[str, str]


def _in(kind: Kind, namespace: str) -> dict[str, Any]:
    return {"namespace": namespace} if kind.namespaced else {}


def _scope(kind: Kind, namespace: str) -> dict[str, Any]:
    return {"namespace": namespace or "*"} if kind.namespaced else {}


def _place(obj: Object) -> _Place:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _uid(obj: Object) -> str:
    return obj["metadata"].get("uid", "")


def _version(obj: Object) -> str:
    return obj["metadata"].get("resourceVersion", "")


def _remembered(obj: Object) -> Object:
    """What is kept of an object, to tell of its end: a controller asks by name, label and owner."""
    kept = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    found = {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": kept}
    return cast(Object, found)
