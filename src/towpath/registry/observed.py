"""Every request seen from outside: counted, timed, and a line in the access log.

Neither a query nor a header nor a body is ever part of it: what people look for and who they say
they are with what secret is theirs.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from towpath.registry.doors import CALLER, METRICS
from towpath.registry.metrics import Metrics
from towpath.telemetry import fields

__all__ = ["LOG", "Observed", "metrics_app"]

LOG: Final = "towpath.access"
"""Name of the access log's logger."""

log = logging.getLogger(LOG)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE: Final = "none"


class Observed:
    """ASGI middleware, the outermost: what was asked of the app, and what came of it.

    Args:
        inner: The app.
        metrics: Where it is counted.
        connections: Tells how many database connections are in use, and how many there may be.
    """

    def __init__(
        self, inner: ASGIApp, metrics: Metrics, connections: Callable[[], tuple[int, int]]
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only ``http`` is observed."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent, streams, waited = 0, 0, False, 0.0

        async def tell(message: Message) -> None:
            nonlocal status, sent, streams, waited
            if message["type"] == "http.response.start":
                status = message["status"]
                waited = time.perf_counter() - began
                streams = any(
                    name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                    for name, value in message["headers"]
                )
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.begun()
        try:
            await self._inner(scope, receive, tell)
        finally:
            took = time.perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            # a status of 0: nobody was there any more to be answered
            self._metrics.ended(_route(scope), method, status, waited if streams else took)
            self._metrics.database(*self._connections())
            if log.isEnabledFor(logging.INFO):
                told = fields(
                    method=method,
                    route=_route(scope),
                    status=status,
                    ms=f"{took * 1000:.1f}",
                    bytes=sent,
                    user=scope.get("state", {}).get(CALLER) or "-",
                )
                log.info("answered request", extra=told)


def metrics_app(inner: ASGIApp, metrics: Metrics) -> ASGIApp:
    """An app that answers for its metrics, and leaves all else to another.

    Args:
        inner: The other one.
        metrics: What is told.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not reads or scope["path"] != METRICS:
            await inner(scope, receive, send)
            return
        scope["towpath.route"] = METRICS
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        text, media_type = await anyio.to_thread.run_sync(metrics.text, accept.decode("latin-1"))
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(text)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else text
        await send({"type": "http.response.body", "body": body})

    return app


def _route(scope: Scope) -> str:
    """The template of the path: never the path itself, of which there are too many to count by."""
    own: str | None = scope.get("towpath.route")
    if own is not None:
        return own
    return getattr(scope.get("route"), "path", _NO_ROUTE)
