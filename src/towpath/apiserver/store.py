"""The store: objects by address under one growing revision, and the changes that led there.

Writes that arrive while another is being made durable share the next transaction (group commit), so
the cost of a disk flush is split among all who wait. SQLite is touched only in worker threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from anyio import to_thread

from towpath.apiserver._database import READERS, Database
from towpath.apiserver.feed import Feed
from towpath.apiserver.record import Address, Change, Listing, Record, Write
from towpath.errors import ConflictError, Reason, TowpathError, UnavailableError

__all__ = ["Store"]

_CHUNK: Final = 1024 * 1024
"""Bytes of changes read from the database at a time, for a watcher that resumes."""


@dataclass(eq=False)
class _Entry:
    write: Write
    outcome: Change | TowpathError | None = None


class Store:
    """Objects in one SQLite file, or in memory. An async context manager; one process at a time.

    Args:
        path: The database file; its folder exists. None keeps everything in memory.
        history: Changes kept for watches that resume.
    """

    def __init__(self, path: Path | None = None, *, history: int = 10_000) -> None:
        self._path = path
        self._history = history
        self._limiter = anyio.CapacityLimiter(READERS)
        self._turn = anyio.Lock()
        self._waiting: list[_Entry] = []
        self._database: Database | None = None
        self._feed = Feed(1)

    async def __aenter__(self) -> Self:
        """Open.

        Raises:
            ConflictError: another process has the file open.
            InvalidError: it is not such a database, or a newer version wrote it.
            UnavailableError: it cannot be opened.
        """
        self._database = await to_thread.run_sync(Database, self._path, self._history)
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
        return await to_thread.run_sync(self._db.get, address, limiter=self._limiter)

    async def page(
        self,
        resource: str,
        namespace: str = "",
        *,
        after: tuple[str, str] = ("", ""),
        limit: int | None = None,
        size: int | None = None,
    ) -> Listing:
        """Records of a resource, in order of namespace and name.

        Args:
            resource: As in :class:`Address`.
            namespace: Only this one; ``""`` is any.
            after: The (namespace, name) that the page follows.
            limit: Most records; None is all.
            size: Bytes of records after which the page ends; None is no end.
        """
        read = partial(self._db.page, resource, namespace, after, limit, size)
        return await to_thread.run_sync(read, limiter=self._limiter)

    async def addresses(self, namespace: str) -> list[Address]:
        """Where anything lies in a namespace."""
        return await to_thread.run_sync(self._db.addresses, namespace, limiter=self._limiter)

    async def dependents(self, uid: str | None = None) -> list[Address]:
        """Objects that name this uid (or, for None, any) as an owner."""
        return await to_thread.run_sync(self._db.dependents, uid, limiter=self._limiter)

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
        entry = _Entry(write)
        self._waiting.append(entry)
        try:
            async with self._turn:
                if entry.outcome is None:
                    with anyio.CancelScope(shield=True):
                        await self._commit()
        finally:
            if entry in self._waiting:  # cancelled before its turn: it must not be made later
                self._waiting.remove(entry)
        if isinstance(entry.outcome, Change):
            return entry.outcome
        raise entry.outcome or UnavailableError("the write was not made")

    async def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        writes = [entry.write for entry in batch]
        outcomes: Sequence[Change | TowpathError]
        try:
            outcomes = await to_thread.run_sync(self._db.commit, writes)
        except TowpathError as error:
            outcomes = [error] * len(batch)
        for entry, outcome in zip(batch, outcomes, strict=True):
            entry.outcome = outcome
        self._feed.publish([made for made in outcomes if isinstance(made, Change)])

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
        read = partial(self._db.changes, resource, cursor, newest, _CHUNK)
        found = await to_thread.run_sync(read, limiter=self._limiter)
        self._check(cursor)  # what was read may have been cut short by a write meanwhile
        return found

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
