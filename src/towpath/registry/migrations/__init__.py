"""The way from any earlier schema to today's.

A new database gets today's tables at once and is marked with the last revision. An older one runs
the revisions in ``versions``, in one transaction where the database can (SQLite, PostgreSQL);
MySQL and MariaDB commit every change of a table by itself, so each step there looks whether it was
done, and can be repeated after a crash. Properties follow from the documents: a revision that
changes their tables leaves them empty, and they are filled afterwards by the code of today.

Alembic is loaded when there is something to migrate, which is once in the life of a version.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, insert, inspect, select, text

from towpath.errors import InvalidError, UnavailableError
from towpath.registry.engines import WRITES
from towpath.registry.kinds import KINDS
from towpath.registry.tables import (
    FEED,
    HEAD,
    METADATA,
    PROPERTIES,
    REVISION,
    TABLES,
    property_rows,
)

__all__ = ["migrate", "revision"]

PATIENCE_SECONDS: Final = 600
"""How long a replica waits for another one that migrates."""

_FIRST: Final = "0001"
_MARK: Final = "towpath_registry_schema"
"""The table that told the version before there were revisions."""
_LOCK: Final = 0x746F777061746801
_BATCH: Final = 500


def revision(tx: Connection) -> str | None:
    """The revision of the tables that are there; nothing when there are none."""
    if not inspect(tx).has_table(REVISION.name):
        return None
    found: str | None = tx.execute(select(REVISION.c.version_num)).scalar_one_or_none()
    return found


def migrate(engine: Engine, name: str) -> None:
    """Make a database's tables those of today, alone even when several replicas start at once.

    Args:
        engine: Of the database; without limits on the time of a statement.
        name: Of the database, for messages.

    Raises:
        InvalidError: a newer program wrote it, or its tables are not the registry's.
        UnavailableError: another replica is at it, for too long.
    """
    with engine.connect() as tx, tx.begin():
        if revision(tx) == HEAD:
            return
    with engine.connect().execution_options(**{WRITES: True}) as tx, _alone(tx, name), tx.begin():
        found = revision(tx) or _marked(tx)
        if found is None:
            _create(tx, name)
        elif not found.isdecimal() or found > HEAD:
            raise InvalidError(
                f"the registry database {name} has version {found.lstrip('0')}, and this program "
                f"knows versions up to {HEAD.lstrip('0')}",
                hint="Use the newer Towpath that wrote it.",
            )
        elif found < HEAD:
            _upgrade(tx)


@contextmanager
def _alone(tx: Connection, name: str) -> Iterator[None]:
    """Keep other replicas out. SQLite's own lock does, from the beginning of a transaction."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        tx.commit()
        yield
        return  # the lock ends with the connection, which is not kept
    if tx.dialect.name in ("mysql", "mariadb"):
        lock = "SELECT GET_LOCK(CONCAT('towpath:', MD5(DATABASE())), :seconds)"
        if tx.execute(text(lock), {"seconds": PATIENCE_SECONDS}).scalar() != 1:
            raise UnavailableError(f"another replica migrates the registry database {name}")
        tx.commit()
    yield


def _marked(tx: Connection) -> str | None:
    """The version of a database from before there were revisions."""
    if not inspect(tx).has_table(_MARK):
        return None
    version = tx.execute(text(f"SELECT version FROM {_MARK}")).scalar_one_or_none()  # noqa: S608 - a constant
    return None if version is None else f"{version:04}"


def _create(tx: Connection, name: str) -> None:
    """Today's tables. What is there of them is what a crash has left, on MySQL."""
    there = set(inspect(tx).get_table_names())
    for table in METADATA.sorted_tables:
        columns = set(table.columns.keys())
        if table.name in there and columns != _columns(tx, table.name):
            raise InvalidError(
                f"the database {name} has a table {table.name!r} of something else",
                hint="Give the registry a database of its own.",
            )
    for table in METADATA.sorted_tables:
        table.create(tx, checkfirst=True)
        indexes = {index["name"] for index in inspect(tx).get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            if index.name not in indexes:
                index.create(tx)
    REVISION.create(tx, checkfirst=True)
    tx.execute(delete(FEED))
    tx.execute(insert(FEED).values(id=1, last=0))
    tx.execute(insert(REVISION).values(version_num=HEAD))


def _columns(tx: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(tx).get_columns(table)}


def _upgrade(tx: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    if revision(tx) is None:
        REVISION.create(tx, checkfirst=True)
        tx.execute(insert(REVISION).values(version_num=_FIRST))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = tx
    command.upgrade(config, "head")
    for place in TABLES:
        _fill(tx, place)


def _fill(tx: Connection, place: str) -> None:
    """Write a place's properties again, from its documents."""
    table, properties = TABLES[place], PROPERTIES[place]
    tx.execute(delete(properties))
    some = select(table).order_by(table.c.id).limit(_BATCH)
    last = 0
    while rows := tx.execute(some.where(table.c.id > last)).all():
        values: list[Any] = []
        for row in rows:
            searched = KINDS[row.type].searched(row.body)
            owner = {
                "owner_id": row.id,
                "type": row.type,
                "created": row.created,
                "updated": row.updated,
            }
            values += property_rows(owner, row.body.get("customProperties", {}), searched)
        if values:
            tx.execute(insert(properties), values)
        last = rows[-1].id
