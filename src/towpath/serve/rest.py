"""The Open Inference Protocol v2 over HTTP, and as much of v1 as clients still call."""

import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from towpath import __version__, web
from towpath.errors import InvalidError, Reason, UnavailableError
from towpath.serve import v1
from towpath.serve.messages import dump, load
from towpath.serve.repository import Repository
from towpath.settings import Serve
from towpath.spec.inference import BINARY_EXTENSION, HEADER_LENGTH, ServerMetadata

__all__ = ["app"]

SERVER: Final[ServerMetadata] = {
    "name": "towpath",
    "version": __version__,
    "extensions": [BINARY_EXTENSION],
}


def app(repository: Repository, settings: Serve) -> Starlette:
    """The ASGI app of one inference server.

    Args:
        repository: Its models.
        settings: Its limits.
    """

    def answer(read: Callable[[Request], object]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return _json(read(request))

        return endpoint

    def server_ready(_: Request) -> object:
        if not repository.ready:
            raise UnavailableError("a model is not loaded", retry_after=1)
        return {"ready": True}

    def model(request: Request) -> object:
        return repository.metadata(*_named(request))

    def model_ready(request: Request) -> object:
        return {"name": repository.get(*_named(request)).name, "ready": True}

    async def infer(request: Request) -> Response:
        served = repository.get(*_named(request))
        header_length = request.headers.get(HEADER_LENGTH)
        body = await _body(request, settings.body_bytes)
        if served.quick(len(body)):
            content, length = served.infer(body, header_length)
        else:
            content, length = await anyio.to_thread.run_sync(served.infer, body, header_length)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(
            content,
            media_type="application/octet-stream",
            headers={HEADER_LENGTH: str(length)},
        )

    async def predict(request: Request) -> Response:
        served = repository.get(*_named(request))
        body = await _body(request, settings.body_bytes)
        call = partial(v1.predict, served, body)
        content = call() if served.quick(len(body)) else await anyio.to_thread.run_sync(call)
        return Response(content, media_type="application/json")

    async def index(request: Request) -> Response:
        body = await _body(request, settings.body_bytes)
        ready_only = bool(body.strip()) and load(body).get("ready") is True
        entries = repository.index()
        return _json([one for one in entries if one["state"] == "READY" or not ready_only])

    routes = [
        Route("/v2", answer(lambda _: SERVER)),
        Route("/v2/health/live", answer(lambda _: {"live": True})),
        Route("/v2/health/ready", answer(server_ready)),
        Route("/v2/models", answer(lambda _: {"models": repository.names()})),
        Route("/v2/repository/index", index, methods=["POST"]),
        Route("/v1/models", answer(lambda _: {"models": repository.names()})),
        Route("/v1/models/{model}:predict", predict, methods=["POST"]),
        Route("/v1/models/{model}", answer(model_ready)),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(f"{base}/infer", infer, methods=["POST"]),
            Route(base, answer(model)),
            Route(f"{base}/ready", answer(model_ready)),
        ]
    return web.app(routes, web.inference_error)


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _json(content: object) -> Response:
    return Response(dump(content), media_type="application/json")


async def _body(request: Request, limit: int) -> bytes:
    body = await web.body(request, limit)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidError(
            f"content encoding {encoding[:40]!r} is not known here",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            hint="Known are gzip and deflate.",
        )
    return await anyio.to_thread.run_sync(_unpack, body, limit)


def _unpack(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as exc:
        raise InvalidError("the compressed request body is damaged") from exc
    if len(plain) > limit:
        raise InvalidError(
            f"the unpacked request body is larger than the limit of {limit} bytes",
            reason=Reason.TOO_LARGE,
        )
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidError("the compressed request body is not complete, or data follows it")
    return plain
