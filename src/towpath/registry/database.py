"""The database behind the registry: opened once, then one transaction per call.

SQLAlchemy is used synchronously in worker threads, a bounded number of them. Writes that
wait for their turn share a transaction (:mod:`turns`). SQLite has one writer at a time, so its
writers queue here, in order, instead of waiting on the file's lock; a commit is on the disk when it
is answered (write-ahead log, ``synchronous=FULL``).

What was answered is seen by whoever asks next, through any replica: there is one database, and
each statement sees all that was committed before it.
"""

import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Connection, Engine, QueuePool
from sqlalchemy import exc as sql

from towpath.errors import TowpathError, UnavailableError
from towpath.registry import migrations
from towpath.registry.engines import (
    WRITES,
    connect,
    in_memory,
    name_of,
    parse,
    passing,
    reach,
    trouble,
)
from towpath.registry.tables import HEAD
from towpath.registry.turns import Turns
from towpath.telemetry import fields

__all__ = ["Database", "open_database"]

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS: Final = 8
"""Calls under way at once, and connections kept: more only wait for each other on the few cores of
one server. PostgreSQL admits 100 connections as it comes, which are those of a dozen servers."""
GROUPS: Final = 2
"""Groups of writes under way at once: one is at work here while the other waits for the database.
SQLite has one writer."""
TRIES: Final = 6
"""How often a transaction is run when others get in its way."""
OPEN_SECONDS: Final = 300
"""How long a database that is not up yet is waited for; the upstream server's time."""


class Database:
    """A registry's database. It is reached when it is opened; until then, calls end at once.

    Args:
        url: A SQLAlchemy database URL, as ``sqlite:////path/registry.db``.

    Raises:
        InvalidError: the URL is none, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = parse(url)
        self._name = name_of(self._url)
        self._engine = connect(self._url, THREADS)
        self._writer = self._engine.execution_options(**{WRITES: True})
        self._reader = self._snapshot = self._engine
        backend = self._url.get_backend_name()
        if backend == "postgresql":  # saves BEGIN and COMMIT, two of three round trips
            self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        if backend != "sqlite":
            self._snapshot = self._engine.execution_options(isolation_level="REPEATABLE READ")
        self._brief: Engine | None = None
        if backend == "sqlite" and not in_memory(self._url):
            impatient = self._url.update_query_dict({"timeout": "0"})
            self._brief = connect(impatient, 1)
        self._told: list[Callable[[], None]] = []
        self._open = False
        lone = backend == "sqlite"
        writers = CapacityLimiter(1 if lone else GROUPS)
        self._turns = Turns(self._commit, writers)
        self._longer = None if lone else CapacityLimiter(1)
        readers = CapacityLimiter(THREADS - (1 if lone else GROUPS + 1))
        self._readers = writers if in_memory(self._url) else readers

    def open(self) -> None:
        """Reach the database, and bring its tables up to date. Blocks.

        Raises:
            InvalidError: the database was written by a newer version, or is none of a registry.
            UnavailableError: it does not answer.
        """
        kept = in_memory(self._url)
        engine = self._engine if kept else connect(self._url, 0)
        try:
            reach(engine if kept else connect(self._url, 0, hasty=True), self._name)
            migrations.migrate(engine, self._name)
        except sql.DBAPIError as exc:
            raise trouble(exc, self._name) from exc
        finally:
            if engine is not self._engine:
                engine.dispose()
        self._open = True
        log.info("opened registry database", extra=fields(database=self._name, schema=HEAD))

    async def open_patiently(self, seconds: float = OPEN_SECONDS) -> None:
        """Reach the database, which may not be up yet. Calls meanwhile end at once.

        Args:
            seconds: How long it is waited for.

        Raises:
            InvalidError: as :meth:`open`.
            UnavailableError: it did not answer in time; the last reason.
        """
        deadline = anyio.current_time() + seconds
        pause = 0.25
        while True:
            try:
                return await anyio.to_thread.run_sync(self.open, abandon_on_cancel=True)
            except UnavailableError as exc:
                if anyio.current_time() + pause > deadline:
                    raise
                log.warning(
                    "failed to open registry database",
                    extra=fields(reason=exc.message, again_in_s=pause),
                )
            await anyio.sleep(pause)
            pause = min(2 * pause, 10)

    async def read(
        self,
        work: Callable[[Connection], T],
        *,
        abandon: bool = False,
        snapshot: bool = False,
        brief: bool = False,
    ) -> T:
        """Do work that changes nothing, in a worker thread. It may be run again.

        Args:
            work: Gets a connection. Each of its statements sees what was committed before it.
            abandon: On cancellation leave the thread to end by itself instead of waiting for it.
            snapshot: Let all statements see the same state, that of the first.
            brief: It looks up one entity. SQLite does that in less time than a thread takes to
                come and go, so it is done right here, unless something is in its way.

        Raises:
            UnavailableError: the database does not answer, or is not open yet.
        """
        if brief and self._brief is not None:
            with contextlib.suppress(UnavailableError):
                return self._transact(self._brief, work)
        return await anyio.to_thread.run_sync(
            self._transact,
            self._snapshot if snapshot else self._reader,
            work,
            abandon_on_cancel=abandon,
            limiter=self._readers,
        )

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        locks: tuple[str, int] = ("", 0),
        long: bool = False,
    ) -> T:
        """Do work in one transaction, in a worker thread; when this returns, it is on the disk.

        Args:
            work: Gets the transaction, which others may share. It is run again, from the
                beginning, when others got in its way; so it changes nothing but the database.
            locks: The place and the id of the entity that it locks first.
            long: Let nobody wait for it, where the database has room for several writers.

        Raises:
            UnavailableError: the database does not answer, or is not open yet, or its disk is full.
        """
        if long and self._longer is not None:
            done = await anyio.to_thread.run_sync(self._commit, work, limiter=self._longer)
        else:
            done = await self._turns.take(work, locks)
        for told in self._told:
            told()
        return done

    def on_write(self, told: Callable[[], None]) -> None:
        """Call somebody after every write, in the event loop."""
        self._told.append(told)

    def connections(self) -> tuple[int, int]:
        """How many connections are in use, and how many there may be."""
        pool = self._engine.pool
        return (pool.checkedout(), pool.size()) if isinstance(pool, QueuePool) else (0, 1)

    def _commit(self, work: Callable[[Connection], T]) -> T:
        return self._transact(self._writer, work)

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        if not self._open:
            raise UnavailableError(
                f"the registry database {self._name} is not open yet", retry_after=1
            )
        tries = 0
        while True:
            committing = False
            try:
                with engine.connect() as tx:
                    whole = tx.begin()
                    try:
                        done = work(tx)
                    except BaseException:
                        with contextlib.suppress(sql.DBAPIError):  # it would hide the first one
                            whole.rollback()
                        raise
                    committing = True
                    whole.commit()
                    return done
            except sql.DBAPIError as exc:
                tries += 1
                if tries == TRIES or not passing(exc, committing=committing):
                    raise self._told_as(exc, committing=committing) from exc
            except sql.TimeoutError as exc:
                raise trouble(exc, self._name) from exc
            time.sleep(random.uniform(0, 0.005 * 2**tries))  # noqa: S311 - so that they part

    def _told_as(self, exc: sql.DBAPIError, *, committing: bool) -> TowpathError:
        if committing and exc.connection_invalidated:
            return UnavailableError(
                f"the registry database {self._name} was lost while it stored a change",
                hint="Look whether the change is there before you try again.",
            )
        return trouble(exc, self._name)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()
        if self._brief is not None:
            self._brief.dispose()


def open_database(url: str) -> Database:
    """Open a registry's database, making its tables where there are none. Blocks.

    Args:
        url: A SQLAlchemy database URL, as ``sqlite:////path/registry.db``.

    Raises:
        InvalidError: the URL is none, its driver is not installed, the database was written by a
            newer version, or the file is no database.
        UnavailableError: the database does not answer.
    """
    database = Database(url)
    try:
        database.open()
    except BaseException:
        database.close()
        raise
    return database
