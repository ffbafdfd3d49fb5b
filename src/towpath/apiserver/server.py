"""The server put together: store, catalogue, verbs, collector, and the routes over them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import __version__
from towpath.apiserver import definitions, discovery
from towpath.apiserver.access import Access, Upkeep, issuer_routes, status
from towpath.apiserver.api import Surface
from towpath.apiserver.builtin import BUILTIN, DEFINITION, NAMESPACES, PROTECTED
from towpath.apiserver.collector import Collector, Orders
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.openapi import Documents
from towpath.apiserver.reading import Reading
from towpath.apiserver.record import Address
from towpath.apiserver.store import Store
from towpath.apiserver.target import parse
from towpath.apiserver.terms import Options
from towpath.apiserver.verbs import Verbs
from towpath.apiserver.writing import Writing
from towpath.auth import Authenticator, Guard
from towpath.settings import Api
from towpath.spec._wire import JsonObject
from towpath.web import app, kubernetes_status

__all__ = ["ApiServer"]

_OWN: Final = Options(definitions.PROVIDER, force=True)
_NAMESPACE: Final = {"apiVersion": "v1", "kind": "Namespace"}
_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _utc() -> datetime:
    return datetime.now(UTC)


class ApiServer:
    """A Kubernetes API over a store.

    Args:
        store: An open store.
        settings: Limits.
        known: Who knows tokens, besides those of ServiceAccounts and of the issuer in the settings.
        signing_key: File of the key that ServiceAccount tokens are signed with; made when missing.
            None: one that is forgotten with the server.
        clock: The time that objects are stamped with.

    Attributes:
        asgi: The app; its lifespan prepares the store and runs the collector.
        access: Who may do what.
        guarded: The app behind the guard: what is served to clients.
    """

    def __init__(
        self,
        store: Store,
        settings: Api,
        *,
        known: Sequence[Authenticator] = (),
        signing_key: Path | None = None,
        clock: Callable[[], datetime] = _utc,
    ) -> None:
        self._store = store
        self._signing_key = signing_key
        self._clock = clock
        self.access = Access(store, settings, known)
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
        surface = Surface(
            Reading(store, lambda: self._stopping),
            Writing(store, self._verbs),
            self._catalogue,
            self.access.answers,
            settings.body_bytes,
        )
        self.asgi: ASGIApp = app(
            [*_routes(surface, self._catalogue), *issuer_routes(self.access)],
            kubernetes_status,
            lifespan=self._lifespan,
        )
        self.guarded: ASGIApp = Guard(self.asgi, self.access, self.access.rule, status)

    def stop(self) -> None:
        """End all watches at once; for ``towpath.web.serve(stopping=…)``."""
        self._stopping = True
        self._store.wake()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self._prepare()
        collector = Collector(
            self._store, self._catalogue, self._verbs, self._orders, clock=self._clock
        )
        upkeep = Upkeep(self._store, self._catalogue, self._verbs)
        await upkeep.prepare()
        await self.access.start(self._signing_key)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collector.run)
            tasks.start_soon(upkeep.run)
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
            if stored is None or definitions.provided(stored.object()):
                await self._verbs.apply(DEFINITION, address, definition, _OWN)


class _Resources(BaseRoute):
    """Every path that names a resource, before all other routes: what is asked most is found
    first. Trying them one by one would take a tenth of the time of a get.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As in Starlette; the target goes into the scope."""
        target = parse(scope["path"]) if scope["type"] == "http" else None
        return (Match.NONE, {}) if target is None else (Match.FULL, {"target": target})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As in Starlette."""
        response = await self._surface(Request(scope, receive, send))
        await response(scope, receive, send)


def _routes(surface: Surface, catalogue: Catalogue) -> list[BaseRoute]:
    def told(path: str, answer: Callable[[Request], JsonObject]) -> list[Route]:
        async def endpoint(request: Request) -> Response:
            return JSONResponse(answer(request))

        # Generated clients end these paths with a slash.
        return [Route(each, endpoint) for each in dict.fromkeys((path, path.rstrip("/") + "/"))]

    def listed(request: Request) -> JsonObject:
        group = request.path_params.get("group", "")
        return discovery.resources(catalogue, group, request.path_params["version"])

    async def healthy(request: Request) -> Response:
        if "verbose" not in request.query_params:
            return PlainTextResponse("ok")
        return PlainTextResponse(f"[+]ping ok\n{request.url.path[1:]} check passed\n")

    documents = Documents(catalogue, __version__)
    return [
        _Resources(surface),
        *(Route(f"/{name}", healthy) for name in ("healthz", "livez", "readyz")),
        Route("/openapi/v2", documents.answer_v2),
        *told("/", lambda _: discovery.paths(catalogue)),
        *told("/version", lambda _: discovery.version(__version__)),
        *told("/api", lambda _: discovery.api_versions()),
        *told("/apis", lambda _: discovery.groups(catalogue)),
        *told("/apis/{group}", lambda r: discovery.group(catalogue, r.path_params["group"])),
        *told("/api/{version}", listed),
        *told("/apis/{group}/{version}", listed),
        Route("/openapi/v3", documents.answer_index),
        Route("/openapi/v3/api/{version}", documents.answer_v3),
        Route("/openapi/v3/apis/{group}/{version}", documents.answer_v3),
        Route("/api/{path:path}", surface.__call__, methods=_METHODS),
        Route("/apis/{path:path}", surface.__call__, methods=_METHODS),
    ]
