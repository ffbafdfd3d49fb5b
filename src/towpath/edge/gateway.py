"""The gateway process's two apps: the public one that clients call, and the one that sets routes.

Bodies stream through, both ways. A request belongs to the process that its route named when it
came: a swap of the table moves only later ones, and the count of open requests tells a controller
when the old process has nothing left to answer.
"""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
import httpx2
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import __version__, web
from towpath.auth import Guard, Identity, Tokens
from towpath.edge.exchange import Exchange, header
from towpath.edge.routes import Route, Table
from towpath.errors import Reason, UnavailableError
from towpath.spec.inference import ServerMetadata

__all__ = ["Gateway"]

TABLE_BYTES: Final = 16 * 1024 * 1024
_LIMITS: Final = httpx2.Limits(
    max_connections=None, max_keepalive_connections=64, keepalive_expiry=30
)
"""Connections expire well before the 75 s after which our runtimes close idle ones."""
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used, as runtimes speak plain HTTP; given so that no certificates are loaded for each."""

SERVER: Final[ServerMetadata] = {
    "name": "towpath-gateway",
    "version": __version__,
    "extensions": [],
}


class Gateway:
    """Routes inference requests of one cluster.

    Args:
        table: The routes to begin with.
    """

    def __init__(self, table: Table | None = None) -> None:
        self._table = table or Table()
        self._upstreams: dict[str, httpx2.AsyncHTTPTransport] = {}
        self._open: Counter[str] = Counter()

    def public(self) -> Starlette:
        """The ASGI app that clients call: the Open Inference Protocol, v2 and v1."""

        async def server(_: Request) -> Response:
            return JSONResponse(SERVER)

        async def live(_: Request) -> Response:
            return JSONResponse({"live": True})

        async def ready(_: Request) -> Response:
            return JSONResponse({"ready": True})

        async def models(_: Request) -> Response:
            return JSONResponse({"models": self._table.models})

        routes = [
            HttpRoute("/v2", server),
            HttpRoute("/v2/health/live", live),
            HttpRoute("/v2/health/ready", ready),
            HttpRoute("/v2/models", models),
            HttpRoute("/v1/models", models),
        ]
        for version in ("v1", "v2"):
            routes += [
                HttpRoute(f"/{version}/models/{{model}}", self),
                HttpRoute(f"/{version}/models/{{model}}/{{rest:path}}", self),
            ]
        return web.app(routes, web.inference_error, lifespan=self._lifespan)

    def admin(self, token: str) -> ASGIApp:
        """The ASGI app that shows and sets the routes; on a socket of its own.

        ``GET /routes`` answers ``{"routes": […], "inFlight": {upstream: requests}}``, with every
        process that has open requests, routed or not. ``PUT /routes`` puts a whole table in place
        and answers the same; every request that comes after its answer uses the new table.

        Args:
            token: The bearer token that callers must have.
        """
        known = Tokens([(token, Identity("towpath:edge"))])

        async def show(_: Request) -> Response:
            return self._state()

        async def replace(request: Request) -> Response:
            await self.swap(Table.parse(await web.body(request, TABLE_BYTES)))
            return self._state()

        routes = [
            HttpRoute("/routes", show, methods=["GET"]),
            HttpRoute("/routes", replace, methods=["PUT"]),
        ]
        return Guard(
            web.app(routes, web.inference_error),
            known,
            lambda identity, _: not identity.anonymous,
            web.inference_error,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, below a path with ``{model}``: one request, to the process its route names now.

        When that process goes away before it answered and the route has moved on meanwhile, the
        request follows it once.
        """
        host = (header(scope["headers"], b"host") or b"").decode("latin-1")
        model = scope["path_params"]["model"].partition(":")[0]
        route = self._table.resolve(host, model)
        exchange = Exchange(scope, receive, send)
        try:
            await self._run(exchange, route)
        except UnavailableError as error:
            now = self._table.resolve(host, model)
            moved = now.upstream != route.upstream
            if not moved or not exchange.repeatable or error.reason is Reason.TIMEOUT:
                raise
            await self._run(exchange, now)

    async def swap(self, table: Table) -> None:
        """Put a table in place of the one there is; open requests stay where they are."""
        self._table = table
        for upstream in list(self._upstreams):
            await self._retire(upstream)

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Open requests of every process that is routed or has some."""
        counts = dict.fromkeys(sorted(self._table.upstreams), 0)
        return counts | {upstream: count for upstream, count in self._open.items() if count}

    def _state(self) -> Response:
        content = {"routes": self._table.routes, "inFlight": self.in_flight}
        return Response(orjson.dumps(content), media_type="application/json")

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                for upstream in list(self._upstreams):
                    await self._upstreams.pop(upstream).aclose()

    async def _retire(self, upstream: str) -> None:
        """Close the connections to a process that has neither a route nor an open request."""
        if upstream in self._table.upstreams or self._open[upstream]:
            return
        del self._open[upstream]
        if transport := self._upstreams.pop(upstream, None):
            with anyio.CancelScope(shield=True):
                await transport.aclose()

    async def _run(self, exchange: Exchange, route: Route) -> None:
        """Run a request, counted as open at its process from here to its end."""
        upstream = route.upstream
        if upstream is None:
            raise UnavailableError(f"service {route.key} is not running now", retry_after=1)
        transport = self._upstreams.get(upstream)
        if transport is None:
            transport = httpx2.AsyncHTTPTransport(verify=_NO_TLS, trust_env=False, limits=_LIMITS)
            self._upstreams[upstream] = transport
        self._open[upstream] += 1
        try:
            await exchange.run(transport, route)
        finally:
            self._open[upstream] -= 1
            await self._retire(upstream)
