"""A model registry that runs: the one way, for the platform's and for one that stands alone.

Database, API, guard, doors, metrics and socket come together here. It listens at once, and answers
503 while its database is not there yet, as the upstream server does.
"""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import web
from towpath.auth import ANONYMOUS, Authenticator, Guard, Tokens, listed, outside, tokens_in
from towpath.errors import InvalidError, UnavailableError
from towpath.registry import api
from towpath.registry.database import Database
from towpath.registry.doors import Doors, Role
from towpath.registry.metrics import Metrics
from towpath.registry.observed import Observed, metrics_app
from towpath.settings import Registry

if TYPE_CHECKING:
    from towpath.kube import Connection

__all__ = ["ModelRegistry", "Surface", "check_certificate", "serving", "surface"]

DRAIN_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 2.0
"""Time that the database has before callers are told that it is not there: usually it is, and a
worker that starts anew beside others must not send anybody away."""
_METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")
_HEADERS: Final = ("Authorization", "If-Match", "If-None-Match", "Last-Event-ID")
_EXPOSED: Final = ("ETag", "Retry-After", "WWW-Authenticate")
_ANY_ORIGIN: Final = r"https?://.+"
_OWN_ORIGIN: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


@dataclass(frozen=True)
class ModelRegistry:
    """A registry to run.

    Args:
        database: URL of its database.
        settings: Who may what, and limits.
        loopback: Whether only this machine can call.
        open: Whether callers without a token may read and write, although others can call.
        tokens: File of static tokens.
        reviewer: A Kubernetes API that is asked about tokens.
        certificate: Chain and key (PEM) for TLS.
        shared: Folder that several workers count their metrics into.
    """

    database: str = field(repr=False)
    settings: Registry = field(default_factory=Registry)
    loopback: bool = True
    open: bool = False
    tokens: Path | None = None
    reviewer: "Connection | None" = None
    certificate: tuple[Path, Path] | None = None
    shared: Path | None = None

    @property
    def asks(self) -> bool:
        """Whether it knows any tokens."""
        named = self.tokens or self.reviewer or self.settings.oidc_issuer
        return bool(named)

    def doors(self) -> Doors:
        """Who may what.

        Raises:
            InvalidError: everybody might do everything, and nobody said that this is meant.
        """
        anonymous = None
        if self.open:
            anonymous = Role.write
        elif not self.asks:
            if not self.loopback:
                raise InvalidError(
                    "without tokens the registry would be open to everybody who reaches it",
                    hint="Say who may call with --tokens, --kubeconfig or --oidc-issuer; or listen "
                    "on 127.0.0.1; or let everybody read and write with --open.",
                )
            anonymous = Role.admin
        return Doors.of(self.settings, anonymous=anonymous, loopback=self.loopback)


@dataclass(frozen=True)
class Surface:
    """An app that may be served, and what ends its endless answers."""

    app: ASGIApp
    stop: Callable[[], None]


def surface(
    database: Database,
    settings: Registry,
    doors: Doors,
    known: Sequence[Authenticator],
    metrics: Metrics | None = None,
) -> Surface:
    """The registry's API behind its doors.

    Args:
        database: Open.
        settings: Limits.
        doors: Who may what.
        known: Who knows the tokens, the quick ones first.
        metrics: Where it is counted; None for a place of its own.
    """
    metrics = metrics or Metrics()
    inner = api.app(database, settings)
    guarded = Guard(metrics_app(inner, metrics), known, doors.rule, web.kubeflow_error)
    # No cookies here: where a token must be brought, no page can borrow anybody's rights.
    shared = CORSMiddleware(
        guarded,
        allow_origins=listed(settings.cors_origins),
        allow_origin_regex=_OWN_ORIGIN if doors.role(ANONYMOUS) else _ANY_ORIGIN,
        allow_methods=_METHODS,
        allow_headers=_HEADERS,
        expose_headers=_EXPOSED,
    )

    # Who is no page is spared what only pages need.
    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        by_page = any(name == b"origin" for name, _ in scope.get("headers", ()))
        await (shared if by_page else guarded)(scope, receive, send)

    return Surface(Observed(front, metrics, database.connections), inner.state.feed.close)


@asynccontextmanager
async def serving(
    registry: ModelRegistry, listen: Callable[[], socket.socket]
) -> AsyncIterator[None]:
    """A registry that answers for as long as the context lasts; entered once its database does.

    Args:
        registry: What to run.
        listen: Gives the socket; called when there is an answer for whoever connects.

    Raises:
        InvalidError: the database, the tokens or the certificate cannot be used.
        UnavailableError: the database did not answer in time.
    """
    doors = registry.doors()
    certificate = registry.certificate
    if certificate is not None:
        check_certificate(*certificate)
    opening = _Opening()
    serve = partial(
        web.serve,
        opening,
        certificate=(str(certificate[0]), str(certificate[1])) if certificate else None,
        drain=DRAIN_SECONDS,
        stopping=opening.stop,
    )
    metrics = Metrics(registry.shared)
    async with contextlib.AsyncExitStack() as at_the_end:
        database = Database(registry.database)
        at_the_end.callback(database.close)
        known = await _known(registry, at_the_end)
        answers = anyio.Event()

        async def open_database() -> None:
            await _open(database, registry.settings.connect_seconds)
            opening.surface = surface(database, registry.settings, doors, known, metrics)
            answers.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_database)
            with anyio.move_on_after(PATIENCE_SECONDS):  # callers wait, rather than being sent away
                await answers.wait()
            await tasks.start(serve, listen())
            await answers.wait()
            yield
            tasks.cancel_scope.cancel()


def check_certificate(chain: Path, key: Path) -> None:
    """Refuse a certificate that nothing can be served with (blocking).

    Raises:
        InvalidError: the files are no certificate and its key.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key, password=lambda: "")  # never ask on the terminal
    except (OSError, ssl.SSLError, ValueError) as exc:
        raise InvalidError(
            f"{chain} and {key} are no certificate and its key: {exc}",
            hint="Name PEM files; the key must not be encrypted.",
        ) from exc


class _Opening:
    """The app until there is a database, and the way to the real one from then on."""

    def __init__(self) -> None:
        self.surface: Surface | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.surface is not None and scope["type"] != "lifespan":
            await self.surface.app(scope, receive, send)
        elif scope["type"] == "http":
            waits = PlainTextResponse(
                "the registry's database does not answer yet\n", 503, {"Retry-After": "1"}
            )
            await waits(scope, receive, send)
        elif scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})

    def stop(self) -> None:
        """End what does not end by itself."""
        if self.surface is not None:
            self.surface.stop()


async def _known(
    registry: ModelRegistry, at_the_end: contextlib.AsyncExitStack
) -> list[Authenticator]:
    """Who knows tokens; the quick ones first."""
    found: list[Authenticator] = []
    if registry.tokens is not None:
        found.append(Tokens(await anyio.to_thread.run_sync(tokens_in, registry.tokens)))
    found += outside(registry.settings)
    if registry.reviewer is not None:
        from towpath import kube  # tens of megabytes that the others do not need
        from towpath.app.reviews import Reviews

        client = await at_the_end.enter_async_context(kube.Client(registry.reviewer))
        found.append(Reviews(client, registry.settings.token_audience))
    return found


async def _open(database: Database, seconds: float) -> None:
    try:
        await database.open_patiently(seconds)
    except UnavailableError as exc:
        raise UnavailableError(
            f"{exc.message} (tried for {seconds:g} s)",
            reason=exc.reason,
            hint=exc.hint or "Start the database, or correct --db.",
        ) from exc
