"""The server put together: store, catalogue, verbs, collector, and the routes over them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from towpath import __version__
from towpath.apiserver import definitions, discovery, openapi
from towpath.apiserver.api import Surface
from towpath.apiserver.builtin import BUILTIN, DEFINITION, NAMESPACES, PROTECTED
from towpath.apiserver.collector import Collector, Orders
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.record import Address
from towpath.apiserver.store import Store
from towpath.apiserver.verbs import Options, Verbs
from towpath.settings import Api
from towpath.spec._wire import JsonObject
from towpath.web import app, kubernetes_status

__all__ = ["ApiServer"]

_OWN: Final = Options("towpath", force=True)
_NAMESPACE: Final = {"apiVersion": "v1", "kind": "Namespace"}
_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What kubectl asks for has an ``@``, which its own parser of answers refuses."""
_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _utc() -> datetime:
    return datetime.now(UTC)


class ApiServer:
    """A Kubernetes API over a store.

    Args:
        store: An open store.
        settings: Limits.
        clock: The time that objects are stamped with.

    Attributes:
        asgi: The app; its lifespan prepares the store and runs the collector.
    """

    def __init__(
        self, store: Store, settings: Api, *, clock: Callable[[], datetime] = _utc
    ) -> None:
        self._store = store
        self._stopping = False
        self._catalogue = Catalogue(BUILTIN)
        self._orders = Orders()
        self._verbs = Verbs(
            store,
            self._catalogue,
            clock=clock,
            collect=self._orders.add,
            limit=settings.body_bytes,
        )
        surface = Surface(store, self._catalogue, self._verbs, settings, lambda: self._stopping)
        self.asgi: ASGIApp = app(
            _routes(surface, self._catalogue), kubernetes_status, lifespan=self._lifespan
        )

    def stop(self) -> None:
        """End all watches at once; for ``towpath.web.serve(stopping=…)``."""
        self._stopping = True
        self._store.wake()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self._prepare()
        collector = Collector(self._store, self._catalogue, self._verbs, self._orders)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collector.run)
            yield
            tasks.cancel_scope.cancel()

    async def _prepare(self) -> None:
        """What is always there, and what the stored definitions serve."""
        for name in PROTECTED:
            if await self._store.get(Address(NAMESPACES.key, "", name)) is None:
                namespace = {**_NAMESPACE, "metadata": {"name": name}}
                await self._verbs.create(NAMESPACES, "", namespace, _OWN)
        for record in (await self._store.page(DEFINITION.key)).records:
            self._catalogue.add(definitions.served(record.object()))
        for definition in definitions.own():
            address = Address(DEFINITION.key, "", definition["metadata"]["name"])
            stored = await self._store.get(address)
            if stored is None or _ours(stored.object()):
                await self._verbs.apply(DEFINITION, address, definition, _OWN)


def _routes(surface: Surface, catalogue: Catalogue) -> list[Route]:
    def told(path: str, answer: Callable[[Request], JsonObject]) -> Route:
        async def endpoint(request: Request) -> Response:
            return JSONResponse(answer(request))

        return Route(path, endpoint)

    def listed(request: Request) -> JsonObject:
        group = request.path_params.get("group", "")
        return discovery.resources(catalogue, group, request.path_params["version"])

    def explained(request: Request) -> JsonObject:
        group = request.path_params.get("group", "")
        return openapi.v3(catalogue, group, request.path_params["version"])

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def old_openapi(request: Request) -> Response:
        if "proto-openapi" in request.headers.get("accept", ""):
            return Response(openapi.v2_protobuf(__version__), media_type=_PROTOBUF)
        return JSONResponse(openapi.v2(__version__))

    return [
        *(Route(f"/{name}", healthy) for name in ("healthz", "livez", "readyz")),
        Route("/openapi/v2", old_openapi),
        told("/", lambda _: discovery.paths(catalogue)),
        told("/version", lambda _: discovery.version(__version__)),
        told("/api", lambda _: discovery.api_versions()),
        told("/apis", lambda _: discovery.groups(catalogue)),
        told("/apis/{group}", lambda r: discovery.group(catalogue, r.path_params["group"])),
        told("/api/{version}", listed),
        told("/apis/{group}/{version}", listed),
        told("/openapi/v3", lambda _: openapi.v3_index(catalogue)),
        told("/openapi/v3/api/{version}", explained),
        told("/openapi/v3/apis/{group}/{version}", explained),
        Route("/api/{path:path}", surface.__call__, methods=_METHODS),
        Route("/apis/{path:path}", surface.__call__, methods=_METHODS),
    ]


def _ours(definition: JsonObject) -> bool:
    """Whether nobody but this server has ever written a definition."""
    managers = {e.get("manager") for e in definition["metadata"].get("managedFields") or ()}
    return managers <= {_OWN.manager}
