"""The change feed as it happens: one tail of the events for all who follow them in this process.

Followers keep no queue. Each has a number it has come to; what comes after it is in the tail's
short memory, or, for one who is slow or was away, in the database. So a follower costs the same
however slow it is, and misses nothing. There is no task of its own either: of those who wait, one
looks on behalf of all, and when it leaves, the next does. A write of this process wakes it at
once; those of other processes it finds by looking again.
"""

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

import anyio
import orjson

from towpath.errors import Reason, UnavailableError
from towpath.registry import events
from towpath.registry.database import Database
from towpath.registry.events import Event, Span, Wanted

__all__ = ["Feed"]

POLL_SECONDS: Final = 0.5
"""Time between two looks for what other processes have written: two small queries."""
HEARTBEAT_SECONDS: Final = 15.0
"""Silence after which a sign of life is sent: below the timeouts of usual proxies."""
FOLLOWERS: Final = 1000
MEMORY_EVENTS: Final = 1000
MEMORY_BYTES: Final = 8 * 1024 * 1024
STEP: Final = 100
"""Events handed on, or read from the database, at once."""


class Feed:
    """The events of one database, for followers.

    Args:
        database: Where the events are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memory: deque[tuple[Event, bytes]] = deque()
        self._bytes = 0
        self._floor = 0  # the memory holds everything after this number …
        self._last = 0  # … up to this one
        self._cold = True  # nobody has looked for a while
        self._followers = 0
        self._closed = False
        self._looking = anyio.Lock()
        self._woken = anyio.Event()
        database.on_write(self._wake)

    def close(self) -> None:
        """Let every follower end: for ``towpath.web.serve(stopping=…)``."""
        self._closed = True
        self._woken.set()

    def admit(self) -> None:
        """Check that there is room for one more follower.

        Raises:
            UnavailableError: there is none.
        """
        if self._followers >= FOLLOWERS:
            raise UnavailableError(
                "too many clients follow the events", reason=Reason.TOO_MANY, retry_after=10
            )

    async def follow(self, since: int | None, wanted: Wanted) -> AsyncGenerator[bytes]:
        """Server-sent events (WHATWG HTML, section 9.2), without end until :meth:`close`.

        Args:
            since: Number after which to begin; None begins with what happens from now on.
            wanted: Which events.
        """
        self._followers += 1
        try:
            cursor = await self._now() if since is None else since
            yield b"retry: 1000\n" + _sign(cursor)
            while not self._closed:
                cursor, frames = await self._next(cursor, wanted)
                if frames:
                    yield frames
                    continue
                fresh = False
                with anyio.move_on_after(HEARTBEAT_SECONDS):
                    fresh = await self._advance(cursor)
                if not fresh and not self._closed:
                    yield _sign(cursor)
        finally:
            self._followers -= 1
            self._cold = not self._followers

    def _wake(self) -> None:
        self._woken.set()

    async def _now(self) -> int:
        """The number that the feed has come to."""
        await events.settle(self._database)
        return await self._database.read(events.last_number)

    async def _next(self, cursor: int, wanted: Wanted) -> tuple[int, bytes]:
        """What comes after a number, and the number it leads to."""
        if cursor < self._floor:
            span = Span(since=cursor, size=STEP)
            page = await self._database.read(lambda tx: events.look(tx, wanted, span))
            return page.next, b"".join(_frame(event) for event in page.events)
        frames = []
        for event, frame in self._memory:
            if event.seq > cursor:
                cursor = event.seq
                if wanted.fits(event):
                    frames.append(frame)
                    if len(frames) == STEP:
                        break
        return cursor, b"".join(frames)

    async def _advance(self, cursor: int) -> bool:
        """Wait until there is something after a number; whether there is."""
        async with self._looking:
            if self._cold:
                self._memory.clear()
                self._bytes = 0
                self._floor = self._last = await self._now()
                self._cold = False
            while self._last <= cursor and not self._closed:
                self._woken = anyio.Event()  # before the look, so that no write is slept over
                await self._look()
                if self._last <= cursor:
                    with anyio.move_on_after(POLL_SECONDS):
                        await self._woken.wait()
        return self._last > cursor

    async def _look(self) -> None:
        await events.settle(self._database)
        span = Span(since=self._last, size=STEP)
        page = await self._database.read(lambda tx: events.look(tx, Wanted(), span))
        for event in page.events:
            frame = _frame(event)
            self._memory.append((replace(event, before=None, after=None), frame))
            self._bytes += len(frame)
        self._last = page.next
        while len(self._memory) > MEMORY_EVENTS or self._bytes > MEMORY_BYTES:
            event, frame = self._memory.popleft()
            self._bytes -= len(frame)
            self._floor = event.seq


def _frame(event: Event) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (event.seq, orjson.dumps(event.to_json()))


def _sign(cursor: int) -> bytes:
    """A sign of life, which also tells where to resume; clients dispatch no event for it."""
    return b"id: %d\n: alive\n\n" % cursor
