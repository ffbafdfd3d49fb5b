"""The way to today's tables: from nothing, from the first release, after a crash, all at once.

``registry_schema_1`` holds what the first release wrote, as SQL.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select, text

from towpath.errors import InvalidError
from towpath.registry import migrations, store
from towpath.registry.database import open_database
from towpath.registry.events import Stamp
from towpath.registry.kinds import MODEL_ARTIFACT, MODEL_VERSION, REGISTERED_MODEL
from towpath.registry.paging import Paging
from towpath.registry.tables import FEED, HEAD, METADATA, PROPERTIES, REVISION

pytestmark = pytest.mark.anyio

FIRST = Path(__file__).with_name("registry_schema_1")


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def written_by_the_first_release(url: str) -> None:
    backend = {"mysql": "mariadb"}.get(name := make_url(url).get_backend_name(), name)
    script = (FIRST / f"{backend}.sql").read_text() + (FIRST / "rows.sql").read_text()
    with engine_of(url) as engine, engine.begin() as tx:
        for statement in script.split(";\n"):
            if statement.strip():
                tx.exec_driver_sql(statement)
        if backend == "postgresql":  # the rows brought their ids
            tx.exec_driver_sql("SELECT setval('context_id_seq', 2), setval('artifact_id_seq', 1)")


def described(url: str) -> dict[str, Any]:
    """All tables as the database has them."""
    with engine_of(url) as engine:
        look = inspect(engine)
        return {
            table: {
                "columns": sorted(
                    (c["name"], str(c["type"]), c["nullable"], str(c["default"]))
                    for c in look.get_columns(table)
                ),
                "key": look.get_pk_constraint(table)["constrained_columns"],
                "refers": sorted(
                    (f["constrained_columns"], f["referred_table"])
                    for f in look.get_foreign_keys(table)
                ),
                "unique": sorted(
                    (u["name"], u["column_names"]) for u in look.get_unique_constraints(table)
                ),
                "indexes": sorted((i["name"], i["column_names"]) for i in look.get_indexes(table)),
            }
            for table in look.get_table_names()
        }


def differences(url: str) -> list[Any]:
    with engine_of(url) as engine, engine.connect() as tx:
        options = {"version_table": REVISION.name, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(tx, opts=options), METADATA))


@pytest.fixture
def another_url(request: pytest.FixtureRequest, registry_url: str, tmp_path: Path) -> Iterator[str]:
    """A second database of the same kind."""
    backend = make_url(registry_url).get_backend_name()
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/another.db"
        return
    server = "postgresql_server" if backend == "postgresql" else "mariadb_server"
    with request.getfixturevalue(server).fresh() as url:
        yield url


def test_what_the_revisions_make_is_what_a_new_database_gets(
    registry_url: str, another_url: str
) -> None:
    open_database(registry_url).close()
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine_of(another_url) as engine, engine.begin() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
    with engine_of(another_url) as engine, engine.begin() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "head")

    assert described(another_url) == described(registry_url)
    assert differences(registry_url) == []
    assert differences(another_url) == []


async def test_the_first_releases_database_is_taken_over(
    registry_url: str, another_url: str
) -> None:
    written_by_the_first_release(registry_url)
    database = open_database(registry_url)
    open_database(another_url).close()

    assert described(registry_url) == described(another_url)
    model = await database.read(lambda tx: store.get(tx, (REGISTERED_MODEL,), 1))
    assert (model.name, model.external_id, model.updated) == ("fraud", "x-1", 1001)
    assert (model.body["state"], len(model.body["customProperties"])) == ("ARCHIVED", 5)
    wanted = store.Filter(parent=2)
    found, _ = await database.read(lambda tx: store.page(tx, (MODEL_ARTIFACT,), wanted, Paging(9)))
    assert [(one.id, one.body["uri"]) for one in found] == [(1, "s3://models/fraud.onnx")]
    table = PROPERTIES["context"]
    columns = (table.c.name, table.c.custom, table.c.key, table.c.int_value, table.c.updated)
    rows = select(*columns).where(table.c.owner_id == 1).order_by(table.c.name)
    assert await database.read(lambda tx: [tuple(row) for row in tx.execute(rows)]) == [
        ("more", True, None, None, 1001),
        ("owner", False, "sAda", None, 1001),
        ("ready", True, "b1", None, 1001),
        ("score", True, "nbfe0000000000000d", None, 1001),
        ("size", True, "nc01c000000000000i", 7, 1001),
        ("state", False, "sARCHIVED", None, 1001),
        ("team", True, "srisk", None, 1001),
    ]
    fields = {"name": "v2", "registeredModelId": "1"}
    made = await database.write(lambda tx: store.create(tx, MODEL_VERSION, fields, Stamp(1)))
    assert made.id == 3
    database.close()


OPEN = (
    "import sys; from towpath.registry.database import open_database as o; o(sys.argv[1]).close()"
)


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_replicas_that_start_at_once(registry_url: str, *, old: bool) -> None:
    if old:
        written_by_the_first_release(registry_url)
    children = [
        subprocess.Popen([sys.executable, "-c", OPEN, registry_url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [child.communicate(timeout=60)[1].decode() for child in children]

    assert [child.returncode for child in children] == [0] * 4, errors
    with engine_of(registry_url) as engine, engine.connect() as tx:
        assert tx.execute(select(REVISION.c.version_num)).scalars().all() == [HEAD]
        assert tx.execute(select(FEED.c.id, FEED.c.last)).all() == [(1, 0)]
        names = tx.execute(text("SELECT name FROM context_property")).scalars().all()
    assert len(names) == (9 if old else 0)
    assert differences(registry_url) == []


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_a_crash_anywhere_on_the_way_is_made_good(
    registry_url: str, another_url: str, *, old: bool
) -> None:
    """Each start gets a little further than the one before, until one gets through."""
    if old:
        written_by_the_first_release(registry_url)
    open_database(another_url).close()
    left = 0

    def crash(tx: Connection, *_: object) -> None:
        nonlocal left
        left -= tx.in_transaction()
        if left == 0:
            raise Crash

    event.listen(Engine, "before_cursor_execute", crash)
    crashes = 0
    try:
        while True:
            left = 1 + 7 * crashes
            try:
                open_database(registry_url).close()
                break
            except Crash:
                crashes += 1
    finally:
        event.remove(Engine, "before_cursor_execute", crash)

    assert crashes > 4
    assert described(registry_url) == described(another_url)
    with engine_of(registry_url) as engine, engine.connect() as tx:
        assert tx.execute(select(REVISION.c.version_num)).scalars().all() == [HEAD]
        assert tx.execute(select(FEED.c.id, FEED.c.last)).all() == [(1, 0)]
        names = tx.execute(text("SELECT name FROM context_property")).scalars().all()
    assert len(names) == (9 if old else 0)


def test_alembic_is_loaded_only_to_migrate(sqlite: str) -> None:
    code = f"{OPEN}; sys.exit('alembic' in sys.modules)"
    run = [sys.executable, "-c", code, sqlite]

    assert [subprocess.run(run, check=False).returncode for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("number", ["0099", "abcdef123456"])
def test_a_newer_programs_database_is_left_alone(registry_url: str, number: str) -> None:
    open_database(registry_url).close()
    with engine_of(registry_url) as engine, engine.begin() as tx:
        tx.execute(text("UPDATE towpath_registry_revision SET version_num = :n"), {"n": number})
    before = described(registry_url)

    with pytest.raises(InvalidError, match=f"version {number.lstrip('0')}") as caught:
        open_database(registry_url)
    assert "newer Towpath" in caught.value.hint
    assert described(registry_url) == before


def test_tables_of_something_else_are_left_alone(registry_url: str) -> None:
    with engine_of(registry_url) as engine, engine.begin() as tx:
        tx.execute(text("CREATE TABLE context (id INTEGER PRIMARY KEY, page TEXT)"))

    with pytest.raises(InvalidError, match="table 'context' of something else"):
        open_database(registry_url)
    with engine_of(registry_url) as engine:
        assert inspect(engine).get_table_names() == ["context"]
