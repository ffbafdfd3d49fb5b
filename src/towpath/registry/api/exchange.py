"""Export and import over HTTP: streams of any length, of which little is in memory at a time."""

import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import IO, Final

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from towpath.errors import InvalidError, Reason, TowpathError, UnavailableError
from towpath.registry import exchange, restoring
from towpath.registry.api.surface import Handler, Surface, answer, stamp
from towpath.registry.database import Database

__all__ = ["export", "receive"]

PIECE: Final = 256 * 1024
"""Bytes of an export sent at a time."""
SEND_SECONDS: Final = 60.0
"""Time that a client has to take one piece; an export holds a connection of the database."""

_MEDIA_TYPES: Final = (exchange.MEDIA_TYPE, "application/x-ndjson", "application/ndjson")


def export(surface: Surface) -> Handler:
    """The handler of ``GET …/export``."""

    async def handler(_: Request) -> Response:
        return _Export(surface.database)

    return handler


class _Export(Response):
    """The lines, made in a worker thread that waits for the client."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._begun = False
        self._failed: TowpathError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. A client that leaves ends the thread's transaction."""
        made, taken = anyio.create_memory_object_stream[bytes](2)

        def work(tx: Connection) -> None:
            if self._begun:
                raise UnavailableError("the database was lost in the middle of the export")
            self._begun = True
            for piece in _pieces(exchange.lines(tx, time.time_ns() // 1_000_000)):
                anyio.from_thread.run(hand_on, piece)

        async def hand_on(piece: bytes) -> None:
            with anyio.fail_after(SEND_SECONDS):
                await made.send(piece)

        async def produce() -> None:
            async with made:
                try:
                    await self._database.read(work, snapshot=True)
                except TowpathError as exc:
                    self._failed = exc
                except (anyio.BrokenResourceError, TimeoutError):
                    pass  # the client left, or stopped reading

        async with anyio.create_task_group() as tasks, taken:
            tasks.start_soon(produce)
            first = await self._first(taken)
            if first is not None:
                stream = StreamingResponse(
                    _joined(first, taken),
                    media_type=exchange.MEDIA_TYPE,
                    headers={"Content-Disposition": 'attachment; filename="registry.jsonl"'},
                )
                await stream(scope, receive, send)
        if first is None and self._failed is not None:
            raise self._failed

    async def _first(self, taken: MemoryObjectReceiveStream[bytes]) -> bytes | None:
        """The first piece; nothing when the database failed before."""
        try:
            return await taken.receive()
        except anyio.EndOfStream:
            return None


async def _joined(first: bytes, rest: MemoryObjectReceiveStream[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines put together until a piece is worth sending."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def receive(surface: Surface) -> Handler:
    """The handler of ``POST …/import``."""

    async def handler(request: Request) -> Response:
        told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if told not in _MEDIA_TYPES:
            raise InvalidError(
                f"content type {told[:60]!r} is not served",
                reason=Reason.UNSUPPORTED_MEDIA_TYPE,
                hint=f"Send an export with the header 'Content-Type: {exchange.MEDIA_TYPE}'.",
            )
        by = stamp(request)
        with tempfile.TemporaryFile() as file:
            await _spool(request, file, surface.knobs.import_bytes)
            counts = await surface.database.write(
                lambda tx: restoring.restore(tx, file, by), long=True
            )
        return answer({"counts": counts}, 201)

    return handler


async def _spool(request: Request, file: IO[bytes], limit: int) -> None:
    """The body, in a file: the transaction does not wait for a slow client."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise InvalidError(
                f"the import is larger than the limit of {limit} bytes",
                reason=Reason.TOO_LARGE,
                hint="The setting registry.import_bytes raises it.",
            )
        await anyio.to_thread.run_sync(file.write, chunk)
    file.seek(0)
