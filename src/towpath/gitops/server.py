"""Git over HTTP: the repositories of a folder, open to read, a token to push.

Git's smart protocol in its stateless form (gitprotocol-http, "Smart Clients"). A request's body is
kept in a file with a bound before git sees it, so a slow client holds no lock and no thread.
"""

import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, ClassVar, Final

import anyio
import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import web
from towpath.errors import DeniedError, InvalidError, NotFoundError, Reason, TowpathError
from towpath.gitops import bare
from towpath.spec.names import LABEL, Revision
from towpath.telemetry import fields

__all__ = ["MayPush", "OnPush", "app", "create"]

log = logging.getLogger(__name__)

BODY_BYTES: Final = 64 * 1024 * 1024
"""Largest request, unpacked: a repository of manifests is small."""

_IN_MEMORY: Final = 1024 * 1024
_CHUNK: Final = 64 * 1024
_SERVICES: Final = (bare.UPLOAD, bare.RECEIVE)

MayPush = Callable[[str | None], bool]
"""From the Authorization header to whether its sender may push."""

OnPush = Callable[[str, str, Revision], Awaitable[None]]
"""Told the repository's name, the branch and the commit it was moved to, after the push."""


class _NeedsTokenError(DeniedError):
    """What makes the git command line ask for, or look up, credentials."""

    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Basic realm="towpath git"'}

    def __init__(self) -> None:
        super().__init__(
            "a push needs a token",
            reason=Reason.UNAUTHENTICATED,
            hint="Give it as the password; the user name does not matter.",
        )


async def create(root: Path, name: str) -> Revision:
    """Make a bare repository with an initial commit on ``main``; one that is there is kept.

    Args:
        root: Folder of repositories.
        name: It will be served as ``/<name>.git``.

    Returns:
        Where ``main`` stands.

    Raises:
        InvalidError: the name is not legal.
    """
    return await anyio.to_thread.run_sync(bare.create, root, name)


def app(root: Path, may_push: MayPush, on_push: OnPush) -> ASGIApp:
    """Serve the repositories of a folder as ``/<name>.git``.

    Args:
        root: Folder of bare repositories ``<name>.git``.
        may_push: Decides on the Authorization header; False and DeniedError are answered 401.
        on_push: Called after a push was answered; its failure is logged, the push stands.
    """

    writing: dict[Path, anyio.Lock] = {}

    async def advertise(request: Request) -> Response:
        service = request.query_params.get("service", "")
        if service not in _SERVICES:
            raise DeniedError(
                "only git's smart protocol is spoken here", hint="Use git 1.6.6 or later."
            )
        path = _path(root, request, service, may_push)
        answer, _ = await _exchange(path, service, None)
        return _Answer(answer, f"application/x-{service}-advertisement")

    async def exchange(request: Request) -> Response:
        service = request.path_params["service"]
        path = _path(root, request, service, may_push)
        if request.headers.get("content-type") != f"application/x-{service}-request":
            raise InvalidError(
                f"the content type is not that of {service}",
                reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            )
        with _spool() as received:
            await _receive(request, received)
            if service == bare.RECEIVE:
                async with writing.setdefault(path, anyio.Lock()):
                    answer, landed = await _exchange(path, service, received)
            else:
                answer, landed = await _exchange(path, service, received)
        for branch, revision in landed:
            log.info("push landed", extra=fields(path=path.name, branch=branch, commit=revision))
        response = _Answer(answer, f"application/x-{service}-result")
        response.background = BackgroundTask(_announce, on_push, path.stem, landed)
        return response

    return web.app(
        [
            Route("/{name}.git/info/refs", advertise, methods=["GET"]),
            Route("/{name}.git/{service}", exchange, methods=["POST"]),
        ],
        _shape,
    )


def _shape(error: TowpathError, status: int) -> Mapping[str, Any]:
    return {"code": status, "message": error.message, "hint": error.hint}


def _path(root: Path, request: Request, service: str, may_push: MayPush) -> Path:
    name = request.path_params["name"]
    if service == bare.RECEIVE and not _allowed(may_push, request):
        raise _NeedsTokenError
    if service not in _SERVICES or not LABEL.fullmatch(name):
        raise NotFoundError(f"there is no {request.url.path}")
    return root / f"{name}.git"


def _allowed(may_push: MayPush, request: Request) -> bool:
    try:
        return may_push(request.headers.get("authorization"))
    except DeniedError:
        return False


async def _announce(on_push: OnPush, name: str, landed: list[bare.Pushed]) -> None:
    for branch, revision in landed:
        try:
            await on_push(name, branch, revision)
        except TowpathError as exc:
            log.warning("failed to announce a push", extra=fields(repository=name, error=exc))


def _spool() -> IO[bytes]:
    return SpooledTemporaryFile(max_size=_IN_MEMORY)


class _Answer(StreamingResponse):
    """A file as a response; it is closed however the response ends."""

    def __init__(self, answer: IO[bytes], content_type: str) -> None:
        answer.seek(0)
        super().__init__(
            iter(partial(answer.read, _CHUNK), b""),
            media_type=content_type,
            headers={"Cache-Control": "no-cache"},
        )
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._answer:
            await super().__call__(scope, receive, send)


async def _exchange(
    path: Path, service: str, request: IO[bytes] | None
) -> tuple[IO[bytes], list[bare.Pushed]]:
    answer = _spool()
    try:
        landed = await anyio.to_thread.run_sync(bare.exchange, path, service, request, answer)
    except BaseException:
        answer.close()
        raise
    return answer, landed


async def _receive(request: Request, into: IO[bytes]) -> None:
    """Write a request's body into a file, unpacked where it came with gzip, and rewind that."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise InvalidError(
            f"content encoding {encoding[:40]!r} is not known",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    unpack = zlib.decompressobj(31) if encoding != "identity" else None
    size = 0
    async for chunk in request.stream():
        data = chunk
        if unpack is not None:
            left = BODY_BYTES + 1 - size
            try:  # a small chunk may stand for very much
                data = await anyio.to_thread.run_sync(unpack.decompress, chunk, left)
            except zlib.error as exc:
                raise InvalidError("the request is not gzip", reason=Reason.BAD_REQUEST) from exc
        size += len(data)
        if size > BODY_BYTES:
            raise InvalidError(
                f"the request is larger than the limit of {BODY_BYTES} bytes",
                reason=Reason.TOO_LARGE,
            )
        if len(data) > _CHUNK:
            await anyio.to_thread.run_sync(into.write, data)
        else:
            into.write(data)
    into.seek(0)
