"""The store: objects by address under one growing revision, and the changes that led there.

Writes that arrive while another is being made durable share the next transaction (group commit), so
the cost of a disk flush is split among all who wait. Only that flush is done in a thread; what else
SQLite does is shorter than the way to a thread and back (docs/adr/0012).
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
from anyio import lowlevel, to_thread

from towpath.apiserver._database import Database
from towpath.apiserver.feed import Feed
from towpath.apiserver.record import Address, Change, Listing, Range, Record, Write
from towpath.errors import ConflictError, Reason, TowpathError, UnavailableError

__all__ = ["Store"]

T = TypeVar("T")

_CHUNK: Final = 1024 * 1024
"""Bytes of changes read from the database at a time, for a watcher that resumes."""
_BATCH: Final = 256
"""Most writes in one transaction: they keep the event loop for some milliseconds."""
_BATCH_BYTES: Final = 2 * 1024 * 1024
"""Bytes of objects after which a transaction takes no further write."""


@dataclass(eq=False)
class _Entry:
    """A write that waits.

    Attributes:
        called: Its turn has come: it is made, or it is to make the next transaction.
    """

    write: Write
    outcome: Change | TowpathError | None = None
    called: anyio.Event = field(default_factory=anyio.Event)


class Store:
    """Objects in one SQLite file, or in memory. An async context manager; one process at a time.

    Args:
        path: The database file; its folder exists. None keeps everything in memory.
        history: Changes kept for watches that resume and for lists of an earlier state.
        key: 32 bytes that Secrets are encrypted with. None keeps a key in a file beside the
            database, and in memory encrypts nothing.
    """

    def __init__(
        self, path: Path | None = None, *, history: int = 10_000, key: bytes | None = None
    ) -> None:
        self._path = path
        self._history = history
        self._key = key
        self._turn = anyio.Lock()
        self._led = False
        self._waiting: list[_Entry] = []
        self._database: Database | None = None
        self._feed = Feed(1)

    async def __aenter__(self) -> Self:
        """Open.

        Raises:
            ConflictError: another process has the file open.
            DeniedError: others may read the key file.
            InvalidError: it is not such a database, a newer version wrote it, or its key is missing
                or another.
            UnavailableError: it cannot be opened.
        """
        self._database = await to_thread.run_sync(Database, self._path, self._history, self._key)
        self._feed = Feed(self._database.revision)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; what was acknowledged is on disk already."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                database, self._database = self._database, None
                if database is not None:
                    await to_thread.run_sync(database.close)

    @property
    def _db(self) -> Database:
        if self._database is None:
            raise UnavailableError("the API's database is closed")
        return self._database

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._feed.revision

    @property
    def floor(self) -> int:
        """The oldest revision from which changes can still be told."""
        return self._db.floor

    async def get(self, address: Address) -> Record | None:
        """The record at an address, or None."""
        return self._db.get(address)

    async def page(
        self,
        resource: str,
        namespace: str = "",
        *,
        after: tuple[str, str] = ("", ""),
        limit: int | None = None,
        size: int | None = None,
        at: int = 0,
    ) -> Listing:
        """Records of a resource, in order of namespace and name; all of one state.

        Args:
            resource: As in :class:`Address`.
            namespace: Only this one; ``""`` is any.
            after: The (namespace, name) that the page follows.
            limit: Most records; None is all.
            size: Bytes of records after which the page ends; None is no end.
            at: The revision whose state is wanted; 0 is the newest.

        Raises:
            ConflictError: that state is no longer kept (reason ``Expired``).
        """
        return await self._read(self._db.page(Range(resource, namespace, after, limit, size, at)))

    async def count(self, wanted: Range) -> int:
        """How many records there are in a range now; its limit, size and revision aside."""
        return self._db.count(wanted)

    async def addresses(self, namespace: str) -> list[Address]:
        """Where anything lies in a namespace."""
        return await self._read(self._db.addresses(namespace))

    async def dependents(self, uid: str | None = None) -> list[Address]:
        """Objects that name this uid (or, for None, any) as an owner."""
        return await self._read(self._db.dependents(uid))

    async def _read(self, steps: Generator[None, None, T]) -> T:
        """What a read in pieces returns; others have their turn in between."""
        with closing(steps):
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    found: T = end.value
                    return found
                if self._path is not None:
                    await lowlevel.checkpoint()

    async def write(self, write: Write) -> Change:
        """Make one change; when this returns, it is durable and watchers can see it.

        Raises:
            ConflictError: something is there (reason ``AlreadyExists``), is of another revision,
                or the namespace to be emptied is not empty.
            DeniedError: its namespace or definition is being deleted.
            NotFoundError: the object, its namespace or its definition is not there.
            InvalidError: the object is not JSON.
            UnavailableError: the disk is full, or the database does not answer.
        """
        await lowlevel.checkpoint_if_cancelled()
        entry = _Entry(write)
        self._waiting.append(entry)
        if self._led:
            try:
                await entry.called.wait()
            except BaseException:  # cancelled before its turn: it must not be made later
                if entry in self._waiting:
                    self._waiting.remove(entry)
                    if entry.called.is_set():
                        self._call()
                raise
        if entry.outcome is None:
            self._led = True
            try:
                with anyio.CancelScope(shield=True):
                    async with self._turn:
                        await self._commit()
            finally:
                self._call()
        if isinstance(entry.outcome, Change):
            return entry.outcome
        raise entry.outcome or _not_made()

    def _call(self) -> None:
        """Let the next who waits make a transaction."""
        self._led = bool(self._waiting)
        if self._led:
            self._waiting[0].called.set()

    async def _commit(self) -> None:
        together, total = 0, 0
        while together < min(len(self._waiting), _BATCH) and total < _BATCH_BYTES:
            total += self._waiting[together].write.size
            together += 1
        batch, self._waiting = self._waiting[:together], self._waiting[together:]
        outcomes: Sequence[Change | TowpathError] = [_not_made()] * len(batch)
        try:
            database = self._db
            staged = database.stage([entry.write for entry in batch])
            if self._path is not None and any(isinstance(made, Change) for made in staged):
                await to_thread.run_sync(database.flush)
            else:
                database.flush()
            outcomes = staged
        except TowpathError as error:
            outcomes = [error] * len(batch)
        finally:
            self._feed.publish([made for made in outcomes if isinstance(made, Change)])
            for entry, outcome in zip(batch, outcomes, strict=True):
                entry.outcome = outcome
                entry.called.set()

    async def changes(self, resource: str, cursor: int) -> tuple[list[Change], int]:
        """Changes of a resource after a revision, and the revision up to which they are complete.

        Raises:
            ConflictError: some of them are no longer kept (reason ``Expired``).
        """
        if cursor > self._feed.revision:
            async with self._turn:  # read from a commit that is being published
                pass
            self._check(cursor)
        newest = self._feed.revision
        recent = self._feed.since(resource, cursor)
        if recent is not None:
            return recent, newest
        self._check(cursor)
        return await self._read(self._db.changes(resource, cursor, newest, _CHUNK))

    def _check(self, cursor: int) -> None:
        if not self._db.floor <= cursor <= self._feed.revision:
            raise ConflictError(
                f"too old resource version: {cursor} ({self._db.floor})", reason=Reason.EXPIRED
            )

    async def wait(self, resource: str, cursor: int) -> None:
        """Return once there may be a change of a resource after a revision, or :meth:`wake`."""
        await self._feed.wait(resource, cursor)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._feed.wake()


def _not_made() -> UnavailableError:
    return UnavailableError("the write was not made")
