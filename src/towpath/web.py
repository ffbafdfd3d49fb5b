"""What every HTTP surface shares: error codes and shapes, bounded bodies, health, serving.

One table maps a reason to a status; one small function per surface gives the error its wire form:
Kubernetes ``Status``, Kubeflow ``{code, message}``, OCI ``errors[]``, Open Inference Protocol
``{error}``. A surface builds its app with :func:`app`, so no route can answer in another shape.
"""

import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import anyio
import uvicorn
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.telemetry import fields

__all__ = [
    "Shape",
    "app",
    "body",
    "inference_error",
    "kubeflow_error",
    "kubernetes_status",
    "listen",
    "oci_errors",
    "serve",
    "status_of",
]

log = logging.getLogger(__name__)

STATUS: Final[Mapping[Reason, int]] = {
    Reason.NOT_FOUND: 404,
    Reason.ALREADY_EXISTS: 409,
    Reason.CONFLICT: 409,
    Reason.EXPIRED: 410,
    Reason.PRECONDITION_FAILED: 412,
    Reason.BAD_REQUEST: 400,
    Reason.INVALID: 400,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.NOT_ACCEPTABLE: 406,
    Reason.UNSUPPORTED_MEDIA_TYPE: 415,
    Reason.RANGE_NOT_SATISFIABLE: 416,
    Reason.TOO_LARGE: 413,
    Reason.TOO_MANY: 429,
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.DIGEST_MISMATCH: 400,
    Reason.MISSING_EXTRA: 501,
    Reason.NO_SPACE: 507,
    Reason.TIMEOUT: 504,
    Reason.UNAVAILABLE: 503,
}

Shape = Callable[[TowpathError, int], Mapping[str, Any]]
"""Gives an error, with its status, the JSON body of one surface."""


def status_of(error: TowpathError) -> int:
    """The HTTP status of an error: by its reason, unless its class sets a ``status`` of its own."""
    own: int | None = getattr(error, "status", None)
    return own or STATUS[error.reason]


def _sentence(error: TowpathError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message


def kubernetes_status(error: TowpathError, status: int) -> Mapping[str, Any]:
    """Kubernetes API ``Status`` (meta/v1)."""
    details = getattr(error, "details", None)
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": getattr(error, "metadata", {}),
        "status": "Failure",
        "message": _sentence(error),
        "reason": "InternalError" if status == 500 else _kubernetes_reason(error),
        **({"details": details} if details else {}),
        "code": 422 if error.reason is Reason.INVALID else status,
    }


def _kubernetes_reason(error: TowpathError) -> str:
    return _KUBERNETES_REASONS.get(error.reason, "InternalError")


_KUBERNETES_REASONS: Final[Mapping[Reason, str]] = {
    Reason.NOT_FOUND: "NotFound",
    Reason.ALREADY_EXISTS: "AlreadyExists",
    Reason.CONFLICT: "Conflict",
    Reason.EXPIRED: "Expired",
    Reason.BAD_REQUEST: "BadRequest",
    Reason.INVALID: "Invalid",
    Reason.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    Reason.NOT_ACCEPTABLE: "NotAcceptable",
    Reason.UNSUPPORTED_MEDIA_TYPE: "UnsupportedMediaType",
    Reason.TOO_LARGE: "RequestEntityTooLarge",
    Reason.TOO_MANY: "TooManyRequests",
    Reason.UNAUTHENTICATED: "Unauthorized",
    Reason.FORBIDDEN: "Forbidden",
    Reason.TIMEOUT: "Timeout",
    Reason.UNAVAILABLE: "ServiceUnavailable",
}


def kubeflow_error(error: TowpathError, status: int) -> Mapping[str, Any]:
    """Kubeflow Model Registry ``Error``: the reason phrase and a message."""
    phrase = HTTPStatus(400 if status == 422 else status).phrase
    return {"code": phrase, "message": _sentence(error)}


def oci_errors(error: TowpathError, _status: int) -> Mapping[str, Any]:
    """OCI distribution specification 1.1, "Error Codes". A code may be set on the error itself."""
    code = getattr(error, "oci_code", None) or _OCI_CODES.get(error.reason, "UNKNOWN")
    return {"errors": [{"code": code, "message": _sentence(error), "detail": None}]}


_OCI_CODES: Final[Mapping[Reason, str]] = {
    Reason.NOT_FOUND: "NAME_UNKNOWN",
    Reason.DIGEST_MISMATCH: "DIGEST_INVALID",
    Reason.UNAUTHENTICATED: "UNAUTHORIZED",
    Reason.FORBIDDEN: "DENIED",
    Reason.TOO_MANY: "TOOMANYREQUESTS",
    Reason.METHOD_NOT_ALLOWED: "UNSUPPORTED",
    Reason.INVALID: "MANIFEST_INVALID",
    Reason.TOO_LARGE: "SIZE_INVALID",
}


def inference_error(error: TowpathError, _status: int) -> Mapping[str, Any]:
    """Open Inference Protocol v2, "Inference Response JSON Error Object"."""
    return {"error": _sentence(error)}


class _InternalError(TowpathError):
    default = Reason.UNAVAILABLE


def _from_http(exc: HTTPException) -> TowpathError:
    known: dict[int, tuple[type[TowpathError], Reason]] = {
        404: (NotFoundError, Reason.NOT_FOUND),
        405: (InvalidError, Reason.METHOD_NOT_ALLOWED),
        401: (DeniedError, Reason.UNAUTHENTICATED),
        403: (DeniedError, Reason.FORBIDDEN),
        409: (ConflictError, Reason.CONFLICT),
        503: (UnavailableError, Reason.UNAVAILABLE),
    }
    kind, reason = known.get(exc.status_code, (InvalidError, Reason.BAD_REQUEST))
    return kind(exc.detail, reason=reason)


def app(
    routes: Sequence[BaseRoute],
    shape: Shape,
    *,
    middleware: Sequence[Middleware] = (),
    lifespan: Callable[[Starlette], Any] | None = None,
) -> Starlette:
    """An ASGI app in which every error, known or not, answers in one shape.

    Args:
        routes: Starlette routes.
        shape: Body of an error on this surface.
        middleware: Outermost first.
        lifespan: As in Starlette.
    """

    def answer(
        error: TowpathError, status: int, headers: Mapping[str, str] | None = None
    ) -> Response:
        content = shape(error, status)
        if shape is kubernetes_status:
            status = int(content["code"])
        extra = dict(headers or {})
        if isinstance(error, UnavailableError) and error.retry_after is not None:
            extra["Retry-After"] = str(max(1, round(error.retry_after)))
        return JSONResponse(content, status_code=status, headers=extra)

    async def known(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, TowpathError)  # noqa: S101 - registered for this class
        return answer(exc, status_of(exc), getattr(exc, "headers", None))

    async def http(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101 - registered for this class
        return answer(_from_http(exc), exc.status_code, exc.headers)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody is there to read it

    async def unknown(request: Request, exc: Exception) -> Response:
        log.error(
            "failed to answer request",
            exc_info=exc,
            extra=fields(method=request.method, path=request.url.path),
        )
        error = _InternalError("internal error", hint="The server's log has the details.")
        return answer(error, 500)

    return Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={
            TowpathError: known,
            HTTPException: http,
            ClientDisconnect: gone,
            Exception: unknown,
        },
    )


async def body(request: Request, limit: int) -> bytes:
    """The whole request body, read with a bound.

    Args:
        request: The request.
        limit: Most bytes accepted.

    Raises:
        InvalidError: the body is larger (reason ``TooLarge``).
    """
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


def _too_large(limit: int) -> InvalidError:
    return InvalidError(
        f"the request body is larger than the limit of {limit} bytes", reason=Reason.TOO_LARGE
    )


def listen(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """A listening TCP socket; port 0 asks for any free one.

    Args:
        host: Address of this machine.
        port: Of it.
        flag: What changes the port, for the message.
        shared: Whether other processes of this user may listen there too; Linux deals the
            connections out among them.

    Raises:
        ConflictError: the port is taken; the message names it and the flag that changes it.
        InvalidError: the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off only where it is.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except PermissionError as exc:
        sock.close()
        raise DeniedError(
            f"port {port} on {host} may not be opened by this user",
            hint=f"Choose another with {flag}.",
        ) from exc
    except OSError as exc:
        sock.close()
        if exc.errno is not None and exc.strerror and "in use" in exc.strerror:
            raise ConflictError(
                f"port {port} on {host} is taken by another process",
                hint=f"Stop that process, or choose another port with {flag}.",
            ) from exc
        raise InvalidError(f"cannot listen on {host} port {port}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: cancellation is the way to stop here."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the command line owns the signals."""
        yield


async def serve(
    application: ASGIApp,
    sock: socket.socket,
    *,
    certificate: tuple[str, str] | None = None,
    drain: float = 5.0,
    stopping: Callable[[], None] | None = None,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Serve an app on a listening socket until cancelled, then drain.

    Args:
        application: Any ASGI app.
        sock: From :func:`listen`; closed at the end.
        certificate: Paths of the certificate chain and its key (PEM) for TLS.
        drain: Seconds that open requests get after cancellation; what still runs is cut then.
        stopping: Called at the beginning of the drain, for an app whose answers do not end by
            themselves (a watch).
        task_status: For ``await task_group.start(serve, …)``: told when it accepts.

    Raises:
        UnavailableError: the app's own start failed; its reason is in the log.
    """
    config = uvicorn.Config(
        application,
        http="httptools",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(drain)),
        timeout_keep_alive=75,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
        ws="none",
    )
    server = _Server(config)
    ended = anyio.Event()

    async def run() -> None:
        # uvicorn leaves by SystemExit when the app's own start failed
        with anyio.CancelScope(shield=True), suppress(SystemExit):
            await server.serve(sockets=[sock])
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            # uvicorn has no event for its start
            while not server.started and not ended.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.005)
            if not ended.is_set():
                task_status.started()
                await ended.wait()
        finally:
            if stopping is not None:
                stopping()
            server.should_exit = True
    if not server.started:
        raise UnavailableError("a server could not start", hint="Its log names the reason.")
