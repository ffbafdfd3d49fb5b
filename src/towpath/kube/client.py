"""The client of a Kubernetes API: plain dicts in and out, our five errors, nothing cached.

One small class over lightkube, built from a kubeconfig. It does not know whether the API is the
embedded one. Reading and writing are separate protocols, so a signature shows who may write.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, cast

import httpx2
import yaml
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.resource import NamespacedResource
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import CascadeType, PatchType

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.spec.kube import Kind, Object

__all__ = ["Client", "Reader", "WatchEvent", "Writer"]

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_NOT_A_KUBECONFIG = (
    AssertionError,  # lightkube's own, where the user is missing
    AttributeError,
    ConfigError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)


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
        """What is there (as ``ADDED``), then every change; raises when the server is gone."""
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
        kubeconfig: Path of a kubeconfig; its current context is used.
        timeout: Seconds for one call; a watch has none.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: the file is not a kubeconfig.
    """

    def __init__(self, kubeconfig: Path, *, timeout: float = 10.0) -> None:
        if not kubeconfig.is_file():
            raise NotFoundError(
                f"there is no kubeconfig at {kubeconfig}",
                hint="Is the platform of that home running?",
            )
        try:
            config = KubeConfig.from_file(kubeconfig)
            self._client = AsyncClient(config, timeout=httpx2.Timeout(timeout), trust_env=False)
        except _NOT_A_KUBECONFIG as exc:
            problem = getattr(exc, "problem", None) or exc  # of YAML: without the text around it
            raise InvalidError(f"{kubeconfig} is not a kubeconfig: {problem}") from exc
        self.server = config.get().cluster.server if config.get() else ""  # type: ignore[union-attr]

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

    def _scope(self, kind: Kind, namespace: str) -> dict[str, Any]:
        return {"namespace": namespace} if kind.namespaced else {}

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFoundError."""
        with self._errors():
            found = await self._client.get(_type(kind), name, **self._scope(kind, namespace))
            return cast(Object, found)

    async def list(
        self, kind: Kind, namespace: str = "", labels: dict[str, str] | None = None
    ) -> list[Object]:
        """All objects of a kind; in every namespace when none is named."""
        scope: dict[str, Any] = {"namespace": namespace or "*"} if kind.namespaced else {}
        with self._errors():
            return [
                cast(Object, obj)
                async for obj in self._client.list(_type(kind), labels=cast(Any, labels), **scope)
            ]

    async def watch(self, kind: Kind, namespace: str = "") -> AsyncIterator[WatchEvent]:
        """What is there (as ``ADDED``), then every change; raises when the server is gone."""
        scope: dict[str, Any] = {"namespace": namespace or "*"} if kind.namespaced else {}
        watched = cast(
            AsyncGenerator[tuple[str, Any], None], self._client.watch(_type(kind), **scope)
        )
        with self._errors():
            async with contextlib.aclosing(watched):  # the connection ends with the iteration
                async for event, obj in watched:
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
                **self._scope(kind, namespace),
            )
            return cast(Object, patched)

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete in the background; what is not there is deleted already."""
        with contextlib.suppress(NotFoundError), self._errors():
            await self._client.delete(
                _type(kind),
                name,
                cascade=CascadeType.BACKGROUND,
                **self._scope(kind, namespace),
            )

    def _of(self, kind: Kind, obj: Object) -> NamespacedResource:
        full = {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
        return cast(NamespacedResource, _type(kind)(full))

    @contextlib.contextmanager
    def _errors(self) -> Any:
        try:
            yield
        except ApiError as exc:
            raise _translated(exc) from exc
        except httpx2.HTTPStatusError as exc:
            code = exc.response.status_code
            message = f"the Kubernetes API at {self.server} answered {code}"
            raise _error(code, message) from exc
        except (httpx2.TransportError, OSError) as exc:
            raise UnavailableError(
                f"the Kubernetes API at {self.server} does not answer",
                hint="Is that platform running?",
            ) from exc


def _translated(exc: ApiError) -> TowpathError:
    error = _error(exc.status.code or 500, exc.status.message or str(exc))
    if exc.status.reason == "AlreadyExists":
        error.reason = Reason.ALREADY_EXISTS
    return error


def _error(code: int, message: str) -> TowpathError:
    known: dict[int, tuple[type[TowpathError], Reason]] = {
        400: (InvalidError, Reason.BAD_REQUEST),
        401: (DeniedError, Reason.UNAUTHENTICATED),
        403: (DeniedError, Reason.FORBIDDEN),
        404: (NotFoundError, Reason.NOT_FOUND),
        405: (InvalidError, Reason.METHOD_NOT_ALLOWED),
        409: (ConflictError, Reason.CONFLICT),
        410: (ConflictError, Reason.EXPIRED),
        413: (InvalidError, Reason.TOO_LARGE),
        422: (InvalidError, Reason.INVALID),
        429: (UnavailableError, Reason.TOO_MANY),
    }
    kind, reason = known.get(code, (UnavailableError, Reason.UNAVAILABLE))
    return kind(message, reason=reason)
