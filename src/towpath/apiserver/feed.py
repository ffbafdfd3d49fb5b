"""The newest changes, kept once for all watchers.

A watcher is a cursor, not a queue: it holds the last revision it has sent and asks for what came
after, so one that never reads costs nothing, and one that is late is served from the database.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import anyio

from towpath.apiserver.record import Change

__all__ = ["Feed"]

COUNT: Final = 1000
"""Changes kept per resource; what is older is read from the database."""
BYTES: Final = 16 * 1024 * 1024
"""Bytes kept of all resources, about: definitions weigh up to a megabyte each."""
DECODED: Final = 32
"""Changes per resource that stay decoded, for watchers who select: as objects they weigh more."""

_revision = attrgetter("record.revision")


class _Lane:
    """Changes of one resource, oldest first, complete after ``floor``."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.changes: list[Change] = []
        self.bytes = 0
        self.moved = anyio.Event()

    def append(self, change: Change) -> None:
        self.changes.append(change)
        self.bytes += change.size
        if len(self.changes) > DECODED:
            self.changes[-1 - DECODED].forget()

    def halve(self) -> int:
        """Let the older half go; the bytes that this frees."""
        gone = self.changes[: (len(self.changes) + 1) // 2]
        self.changes = self.changes[len(gone) :]
        self.floor = gone[-1].record.revision
        freed = sum(old.size for old in gone)
        self.bytes -= freed
        return freed


class Feed:
    """Newest changes by resource.

    Args:
        revision: The store's revision at the start; older changes are not here.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._start = revision
        self._bytes = 0
        self._lanes: dict[str, _Lane] = {}

    def _lane(self, resource: str) -> _Lane:
        return self._lanes.setdefault(resource, _Lane(self._start))

    def publish(self, changes: Sequence[Change]) -> None:
        """Add changes, which come in the order of their revisions, and wake who waits for them."""
        moved = set()
        for change in changes:
            lane = self._lane(change.record.address.resource)
            lane.append(change)
            self._bytes += change.size
            moved.add(lane)
            if len(lane.changes) > COUNT:
                self._bytes -= lane.halve()
            while self._bytes > BYTES:
                self._bytes -= max(self._lanes.values(), key=attrgetter("bytes")).halve()
            self.revision = change.record.revision
        for lane in moved:
            self._wake(lane)

    def since(self, resource: str, cursor: int) -> list[Change] | None:
        """Changes of a resource after a revision; None when some of them are no longer here."""
        lane = self._lane(resource)
        if cursor < lane.floor:
            return None
        return lane.changes[bisect_right(lane.changes, cursor, key=_revision) :]

    async def wait(self, resource: str, cursor: int) -> None:
        """Return once there may be a change of a resource after a revision."""
        lane = self._lane(resource)
        newest = lane.changes[-1].record.revision if lane.changes else lane.floor
        if newest <= cursor:
            await lane.moved.wait()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for lane in self._lanes.values():
            self._wake(lane)

    @staticmethod
    def _wake(lane: _Lane) -> None:
        lane.moved.set()
        lane.moved = anyio.Event()
