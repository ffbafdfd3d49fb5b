"""Connections to SQLite, PostgreSQL, MySQL and MariaDB: how each is asked to behave, and what its
errors mean.

Every database is asked for the same: a commit is on the disk when it is told, a statement sees
what was committed before it began (read committed, the default of PostgreSQL; SQLite is stricter
by nature), a lock is waited for, but not for ever, and a text that does not fit is refused.
"""

import sqlite3
import time
from typing import Any, Final

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy import exc as sql
from sqlalchemy.pool import NullPool, StaticPool

from towpath.errors import InvalidError, Reason, TowpathError, UnavailableError

__all__ = [
    "WRITES",
    "BusyError",
    "connect",
    "in_memory",
    "name_of",
    "parse",
    "passing",
    "reach",
    "taken",
    "trouble",
]

CONNECT_SECONDS: Final = 5
LOCK_SECONDS: Final = 10
"""How long a statement waits for a lock; SQLite's only one is that of the whole file."""
STATEMENT_SECONDS: Final = 60
"""No statement of ours takes as long; one that does would hold its locks and a thread."""

WRITES: Final = "towpath_writes"
"""Execution option of a transaction that writes: SQLite takes its lock at the beginning."""

_DRIVERS: Final = {
    "postgresql": "towpath[postgresql]",
    "mysql": "towpath[mysql]",
    "mariadb": "towpath[mysql]",
}
_SQL_MODE: Final = (
    "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)

_TIMEOUTS: Final = ("read_timeout", "write_timeout")
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "case_sensitive_like=ON",  # as the other databases do
)

_FULL: Final = {"53100", 1021, 1114}
"""The disk is full."""
_REFUSED: Final = {1044, 1045, 1049}
"""MySQL's: no access with this user and password, or no such database."""
_LARGE: Final = {"54000", 1118, 1153}
"""The row, or the statement that writes it, is larger than the server allows."""
_AGAIN: Final = {"40001", "40P01", "23503", 1020, 1213, 1451, 1452}
"""Transactions that got into each other's way: a deadlock, a row that changed, one that something
refers to and that went away, or one that began to be referred to while it was deleted."""
_WAITED: Final = {"55P03", 1205}
"""Transactions that waited for a lock for too long."""


class BusyError(UnavailableError):
    """Others were in the way of a transaction, which has changed nothing."""


def parse(url: str) -> URL:
    """A database URL.

    Raises:
        InvalidError: it is none.
    """
    try:
        return make_url(url)
    except (sql.ArgumentError, ValueError) as exc:
        raise InvalidError(
            "the registry's database URL cannot be read",
            hint="It looks like sqlite:////path/registry.db or postgresql+psycopg://host/name.",
        ) from exc


def name_of(url: URL) -> str:
    """A name for messages: no user, no password, no options."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return f"sqlite:{url.database or ':memory:'}"
    port = f":{url.port}" if url.port else ""
    return f"{backend}:{url.host or ''}{port}/{url.database or ''}"


def in_memory(url: URL) -> bool:
    """Whether it is a SQLite database that ends with its only connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def connect(url: URL, connections: int, *, hasty: bool = False) -> Engine:
    """An engine for a database. It connects when it is used.

    Args:
        url: Of the database.
        connections: Most connections at once; 0 keeps none, and lets a statement take any time.
        hasty: It is only asked whether the database is there; one that is silent is not.

    Raises:
        InvalidError: the driver is not installed.
    """
    backend = url.get_backend_name()
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        "connect_args": {
            name: value
            for name, value in _arguments(backend, patient=not connections, hasty=hasty).items()
            if name not in url.query  # whoever wrote the URL knows better
        },
    }
    if backend in ("postgresql", "mysql", "mariadb"):
        options["isolation_level"] = "READ COMMITTED"
    if in_memory(url):
        options["poolclass"] = StaticPool
    elif not connections:
        options["poolclass"] = NullPool
    else:
        options |= {"pool_size": connections, "max_overflow": 0, "pool_timeout": LOCK_SECONDS}
    try:
        engine = create_engine(url, **options)
    except (sql.NoSuchModuleError, ModuleNotFoundError) as exc:
        package = _DRIVERS.get(backend)
        if package is None:
            raise InvalidError(
                f"there is no driver for databases called {backend!r}",
                hint="Use sqlite, postgresql or mysql.",
            ) from exc
        raise InvalidError(
            f"the driver {url.drivername} of database {name_of(url)} is not installed",
            reason=Reason.MISSING_EXTRA,
            hint=f"pip install '{package}', and let the URL begin with {backend}://",
        ) from exc
    if backend == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif backend == "postgresql" and connections:
        event.listen(engine, "connect", _configure_postgresql)
    return engine


def reach(engine: Engine, name: str) -> None:
    """Connect once, to learn whether the driver takes the options of the URL.

    Raises:
        InvalidError: it does not.
        DBAPIError: the database does not answer.
    """
    try:
        engine.connect().close()
    except (TypeError, ValueError, AttributeError, OSError) as exc:  # what the drivers raise
        raise InvalidError(
            f"the driver of the registry database {name} refuses an option of its URL",
            hint=f"It said: {type(exc).__name__}: {exc}",
        ) from exc


def _arguments(backend: str, *, patient: bool, hasty: bool) -> dict[str, Any]:
    """What the driver is told with every connection."""
    match backend:
        case "sqlite":
            return {
                "timeout": STATEMENT_SECONDS if patient else LOCK_SECONDS,
                "check_same_thread": False,
            }
        case "postgresql":
            gone = {} if patient else {"tcp_user_timeout": STATEMENT_SECONDS * 1000}
            return {"connect_timeout": CONNECT_SECONDS, **gone}
        case "mysql" | "mariadb":
            wait = f"innodb_lock_wait_timeout={LOCK_SECONDS}"
            seconds = CONNECT_SECONDS if hasty else STATEMENT_SECONDS
            limits = {} if patient and not hasty else dict.fromkeys(_TIMEOUTS, seconds)
            return {
                "charset": "utf8mb4",
                "connect_timeout": CONNECT_SECONDS,
                "init_command": f"SET SESSION sql_mode='{_SQL_MODE}', {wait}",
                **limits,
            }
    return {}


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    deadline = time.monotonic() + LOCK_SECONDS
    for pragma in _PRAGMAS:
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as exc:
                # Two that open a new file at once: the change of its mode does not wait itself.
                if "locked" not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    cursor.close()
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(text: Any) -> Any:
    """``lower`` for all alphabets; SQLite's own one knows the letters of ASCII only."""
    return text.lower() if isinstance(text, str) else text


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _configure_postgresql(connection: Any, _: object) -> None:
    connection.autocommit = True
    connection.execute(
        f"SET lock_timeout = '{LOCK_SECONDS}s'; SET statement_timeout = '{STATEMENT_SECONDS}s'; "
        f"SET idle_in_transaction_session_timeout = '{STATEMENT_SECONDS}s'"
    )
    connection.autocommit = False


def passing(exc: sql.DBAPIError, *, committing: bool) -> bool:
    """Whether the same transaction may go through when it is run again.

    A connection that was lost in the middle of a transaction has changed nothing; one that was
    lost while it was committed may have, so that is not tried again.

    Args:
        exc: What it ended with.
        committing: All its work was done.
    """
    if exc.connection_invalidated:
        return not committing
    return _code(exc) in _AGAIN


def taken(exc: sql.IntegrityError) -> str | None:
    """The columns, or the name, of the rule of uniqueness that a write broke; None for others."""
    text = _text(exc)
    match _code(exc):
        case "23505":
            return str(getattr(getattr(exc.orig, "diag", None), "constraint_name", ""))
        case 1062:
            return text.rpartition(" for key ")[2]
        case None if text.startswith("UNIQUE constraint failed: "):
            return text.partition(": ")[2]
    return None


def trouble(exc: sql.DBAPIError | sql.TimeoutError, name: str) -> TowpathError:
    """What an error of the database means to whoever called.

    Args:
        exc: The error.
        name: Of the database, for the message.
    """
    if isinstance(exc, sql.TimeoutError):
        return UnavailableError(
            f"the registry database {name} has no free connection", retry_after=1
        )
    text, code = _text(exc), _code(exc)
    if "file is not a database" in text:
        return InvalidError(f"{name} is not a registry database")
    if "connection option" in text:  # PostgreSQL's; it names the option and not its value
        return InvalidError(f"the URL of the registry database {name} has an {text}")
    if code in _LARGE:
        return InvalidError(
            f"this is more than the registry database {name} takes at once",
            reason=Reason.TOO_LARGE,
            hint="MySQL and MariaDB have a max_allowed_packet, which may be raised.",
        )
    if isinstance(exc, sql.DataError):
        return InvalidError(
            f"the registry database {name} cannot hold a value: {text}", reason=Reason.BAD_REQUEST
        )
    full = code in _FULL or "disk is full" in text or "No space left" in text
    refused = "FATAL: " in text or code in _REFUSED
    busy = code in _AGAIN or code in _WAITED
    return (BusyError if busy else UnavailableError)(
        f"the registry database {name} {'refuses' if refused else 'does not answer'}: {text}",
        reason=Reason.NO_SPACE if full else Reason.UNAVAILABLE,
        hint="Make room on its disk." if full else "",
        retry_after=None if full else 1,
    )


def _code(exc: sql.DBAPIError) -> str | int | None:
    """PostgreSQL's five letters, MySQL's number, nothing from SQLite."""
    first = exc.orig.args[0] if exc.orig and exc.orig.args else None
    state: str | None = getattr(exc.orig, "sqlstate", None)
    return first if isinstance(first, int) else state


def _text(exc: sql.DBAPIError) -> str:
    """Its first line; what follows may repeat values."""
    last = exc.orig.args[-1] if exc.orig and exc.orig.args else ""
    lines = str(last).strip().splitlines()
    return lines[0] if lines else "no reason given"
