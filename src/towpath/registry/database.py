"""The database behind the registry: opened once, then one transaction per call.

SQLAlchemy is used synchronously in worker threads, a bounded number of them. SQLite has one writer
at a time, so its writers queue here, in order, instead of waiting on the file's lock; a commit is
on the disk when it is answered (write-ahead log, ``synchronous=FULL``).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio.to_thread
import orjson
from anyio import CapacityLimiter
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy import exc as sql
from sqlalchemy.pool import StaticPool

from towpath.errors import InvalidError, Reason, UnavailableError
from towpath.registry.tables import METADATA, SCHEMA, SCHEMA_VERSION
from towpath.telemetry import fields

__all__ = ["Database", "open_database"]

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS: Final = 8
"""Calls under way at once: more only wait for each other on the few cores of one server."""
LOCK_SECONDS: Final = 10
"""How long SQLite waits for another process that writes to the file."""

_WRITES = "towpath_writes"
_DRIVERS: Final = {"postgresql": "psycopg[binary]", "mysql": "pymysql", "mariadb": "pymysql"}


class Database:
    """An open registry database. From :func:`open_database`."""

    def __init__(self, engine: Engine, where: str) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})
        self._where = where
        lone = engine.dialect.name == "sqlite"
        in_memory = isinstance(engine.pool, StaticPool)
        self._writers = CapacityLimiter(1 if lone else THREADS)
        self._readers = self._writers if in_memory or not lone else CapacityLimiter(THREADS)

    async def read(self, work: Callable[[Connection], T], *, abandon: bool = False) -> T:
        """Do work that changes nothing, in one transaction, in a worker thread.

        Args:
            work: Gets the transaction.
            abandon: On cancellation leave the thread to end by itself instead of waiting for it.

        Raises:
            UnavailableError: the database does not answer.
        """
        return await anyio.to_thread.run_sync(
            self._transact,
            self._engine,
            work,
            abandon_on_cancel=abandon,
            limiter=self._readers,
        )

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do work in one transaction, in a worker thread; when this returns, it is on the disk.

        Raises:
            UnavailableError: the database does not answer, or its disk is full.
        """
        return await anyio.to_thread.run_sync(
            self._transact, self._writer, work, limiter=self._writers
        )

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with _errors(self._where), engine.begin() as tx:
            return work(tx)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open a registry's database, making its tables where there are none. Blocks.

    Args:
        url: A SQLAlchemy database URL, as ``sqlite:////path/registry.db``.

    Raises:
        InvalidError: the URL is none, its driver is not installed, the database was written by a
            newer version, or the file is no database.
        UnavailableError: the database does not answer.
    """
    parsed = _parsed(url)
    where = _where(parsed)
    try:
        engine = _engine(parsed)
    except (sql.NoSuchModuleError, ModuleNotFoundError) as exc:
        package = _DRIVERS.get(parsed.get_backend_name())
        raise InvalidError(
            f"the driver of database {where} is not installed",
            reason=Reason.MISSING_EXTRA,
            hint=f"pip install '{package}'" if package else "Use sqlite, postgresql or mysql.",
        ) from exc
    try:
        with _errors(where), engine.execution_options(**{_WRITES: True}).begin() as tx:
            _prepare(tx, where)
    except BaseException:
        engine.dispose()
        raise
    log.info("opened registry database", extra=fields(database=where, schema=SCHEMA_VERSION))
    return Database(engine, where)


def schema_version(tx: Connection) -> int | None:
    """The version of the tables that are there; nothing when there are none."""
    if not inspect(tx).has_table(SCHEMA.name):
        return None
    found: int | None = tx.execute(select(SCHEMA.c.version)).scalar_one_or_none()
    return found


def _prepare(tx: Connection, where: str) -> None:
    found = schema_version(tx)
    if found is None:
        METADATA.create_all(tx)
        tx.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
    elif found > SCHEMA_VERSION:
        raise InvalidError(
            f"the registry database {where} has version {found}, and this program knows versions "
            f"up to {SCHEMA_VERSION}",
            hint="Use the newer Towpath that wrote it.",
        )


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (sql.ArgumentError, ValueError) as exc:
        raise InvalidError(
            "the registry's database URL cannot be read",
            hint="It looks like sqlite:////path/registry.db or postgresql+psycopg://host/name.",
        ) from exc


def _where(url: URL) -> str:
    """A name for messages: no user, no password, no options."""
    return f"{url.get_backend_name()}:{url.host or ''}/{url.database or ''}"


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=THREADS, max_overflow=0, pool_pre_ping=True, **options)
    options["connect_args"] = {"timeout": LOCK_SECONDS, "check_same_thread": False}
    if url.database in (None, "", ":memory:"):
        options["poolclass"] = StaticPool
    else:
        options["pool_size"] = THREADS + 1
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _errors(where: str) -> Iterator[None]:
    try:
        yield
    except sql.DBAPIError as exc:
        text = str(exc.orig).splitlines()[0] if exc.orig and str(exc.orig) else "no reason given"
        if "file is not a database" in text:
            raise InvalidError(f"{where} is not a registry database") from exc
        full = "disk is full" in text or "No space left" in text
        raise UnavailableError(
            f"the registry database {where} does not answer: {text}",
            reason=Reason.NO_SPACE if full else Reason.UNAVAILABLE,
            hint="Make room on its disk." if full else "",
        ) from exc
    except sql.TimeoutError as exc:
        raise UnavailableError(
            f"the registry database {where} has no free connection", retry_after=1
        ) from exc
