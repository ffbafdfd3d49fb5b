"""The registry is the same on every database: texts, sizes, crossing writers, lost connections."""

import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    create_engine,
    delete,
    event,
    make_url,
    select,
    text,
)

from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.registry import filters, store
from towpath.registry.api import app
from towpath.registry.database import GROUPS, Database, open_database
from towpath.registry.events import Stamp
from towpath.registry.kinds import KINDS, MODEL_ARTIFACT, MODEL_VERSION, REGISTERED_MODEL, Kind
from towpath.registry.paging import Paging
from towpath.registry.records import Record
from towpath.registry.store import Filter
from towpath.registry.tables import ATTRIBUTION, EVENT, HEAD, TABLES
from towpath.settings import Registry

pytestmark = pytest.mark.anyio

MODELS = (REGISTERED_MODEL,)
SERVERS = ("postgresql", "mariadb")


@pytest.fixture
async def database(registry_url: str) -> AsyncIterator[Database]:
    found = await anyio.to_thread.run_sync(open_database, registry_url)
    yield found
    found.close()


@pytest.fixture(params=SERVERS)
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


async def create(database: Database, kind: Kind = REGISTERED_MODEL, **fields: Any) -> Record:
    return await database.write(lambda tx: store.create(tx, kind, fields, Stamp(1)))


async def listed(database: Database, wanted: Filter) -> list[str]:
    found, _ = await database.read(lambda tx: store.page(tx, MODELS, wanted, Paging(100)))
    return [one.name for one in found]


def string(value: str) -> dict[str, Any]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to databases meanwhile."""
    sent: list[str] = []

    def note(_: Connection, __: Any, statement: str, *___: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


ALIKE = ["name", "Name", "name ", "name  ", "näme", "na\u0308me", "ﬁ", "fi", "ß", "ss", "🎈", "🎉"]


async def test_texts_that_look_alike_are_not_the_same(database: Database) -> None:
    for number, name in enumerate(ALIKE):
        custom = {"p": string(name), "long": string("x" * 100 + name)}
        external = f"external {name}"
        fields = {"name": name, "externalId": external, "customProperties": custom}
        assert (await create(database, **fields)).name == name, number

    for name in ALIKE:
        assert await listed(database, Filter(name=name)) == [name]
        assert await listed(database, Filter(external_id=f"external {name}")) == [name]
        for field, value in (("p", name), ("long", "x" * 100 + name), ("name", name)):
            expression = filters.parse(f"{field} = '{value}'")
            assert await listed(database, Filter(expression=expression)) == [name]
        with pytest.raises(ConflictError, match=re.escape(f"with name {name} already")):
            await create(database, name=name)


async def test_a_clash_tells_what_is_taken(database: Database) -> None:
    """Also where the value reads like the name of a rule."""
    await create(database, name="external_id", externalId="name")
    with pytest.raises(ConflictError, match="with name external_id already exists"):
        await create(database, name="external_id")
    with pytest.raises(ConflictError, match="with externalId name already exists"):
        await create(database, name="other", externalId="name")


@pytest.mark.parametrize("length", [70_000, 3_000_000])
async def test_large_documents(database: Database, length: int) -> None:
    letters = "aä€🎈'\"\\%_\n\t"
    text_ = (letters * (length // len(letters) + 1))[:length]
    custom = {"p": string(text_)}
    made = await create(database, name="m", description=text_, customProperties=custom)
    found = await database.read(lambda tx: store.get(tx, MODELS, made.id))

    assert found == made
    assert found.body["description"] == text_


async def test_a_document_that_the_server_refuses_for_its_size(mariadb: str) -> None:
    database = await anyio.to_thread.run_sync(open_database, mariadb)
    with pytest.raises(InvalidError) as caught:
        await create(database, name="m", description="x" * 17_000_000)
    assert caught.value.reason is Reason.TOO_LARGE
    assert "max_allowed_packet" in caught.value.hint
    assert await listed(database, Filter()) == []
    database.close()


async def test_numbers_of_statements(database: Database) -> None:
    """A list is one statement, whatever its length and its properties."""
    model = await create(database, name="m")
    properties = {f"p{n}": string("v") for n in range(40)}
    with statements() as sent:
        await create(database, name="bare")
        assert len(sent) <= 4, sent
    for n in range(20):
        fields = {"name": str(n), "registeredModelId": str(model.id)}
        await create(database, MODEL_VERSION, **fields, customProperties=properties)
    wanted = (Filter(), Filter(parent=model.id), Filter(name="m"))
    calls: list[Callable[[Connection], Any]] = [
        lambda tx: store.get(tx, MODELS, model.id),
        lambda tx: store.find(tx, MODELS, Filter(name="m")),
        *(
            partial(store.page, kinds=(kind,), wanted=one, paging=Paging(100))
            for kind in KINDS.values()
            for one in wanted
        ),
    ]
    for call in calls:
        with statements() as sent:
            await database.read(call)
        assert len([one for one in sent if not one.startswith("BEGIN")]) == 1, sent


async def test_another_replica_sees_at_once_what_was_answered(
    database: Database, registry_url: str
) -> None:
    other = await anyio.to_thread.run_sync(open_database, registry_url)

    def get(tx: Connection, ident: int) -> Record:
        return store.get(tx, MODELS, ident)

    def update(tx: Connection, ident: int) -> Record:
        locked = store.get(tx, MODELS, ident, lock=True)
        return store.update_record(tx, locked, {"description": "new"}, Stamp(2))

    for n in range(50):
        made = await create(database, name=f"m{n}")
        assert await other.read(partial(get, ident=made.id)) == made
        changed = await other.write(partial(update, ident=made.id))
        assert await database.read(partial(get, ident=made.id)) == changed
    other.close()


async def test_transactions_that_wait_for_each_other_both_go_through(server_url: str) -> None:
    database = await anyio.to_thread.run_sync(open_database, server_url)
    made = [await create(database, name=name) for name in ("a", "b")]
    met = threading.Barrier(2)
    runs: list[int] = []

    def crossed(order: list[Record]) -> Callable[[Connection], None]:
        first = True

        def work(tx: Connection) -> None:
            nonlocal first
            runs.append(order[0].id)
            for number, record in enumerate(order):
                locked = store.get(tx, MODELS, record.id, lock=True)
                if first and number == 0:
                    first = False
                    met.wait(30)
                store.update_record(tx, locked, {"description": str(order[0].id)}, Stamp(1))

        return work

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, crossed(made))
        tasks.start_soon(database.write, crossed(made[::-1]))

    assert len(runs) == 3
    changes = select(EVENT.c.id).where(EVENT.c.action == "update")
    assert len(await database.read(lambda tx: tx.execute(changes).all())) == 4
    database.close()


async def test_a_parent_that_goes_away_while_a_child_is_made(server_url: str) -> None:
    database = await anyio.to_thread.run_sync(open_database, server_url)
    model = await create(database, name="m")
    fields = {"name": "v", "registeredModelId": str(model.id)}
    version = await create(database, MODEL_VERSION, **fields)
    context = TABLES["context"]
    gone = False

    def attach(tx: Connection) -> None:
        """As a handler does: look for the context, then make something in it."""
        nonlocal gone
        store.get(tx, (MODEL_VERSION,), version.id)
        if not gone:
            gone = True
            with create_engine(server_url, poolclass=NullPool).begin() as other:
                other.execute(delete(context).where(context.c.id == version.id))
        store.create(tx, MODEL_ARTIFACT, {"name": "a"}, Stamp(1), under=version.id)

    with pytest.raises(NotFoundError, match="no model version found"):
        await database.write(attach)
    for table in (TABLES["artifact"], ATTRIBUTION):
        assert await database.read(lambda tx, of=table: tx.execute(select(of)).all()) == []
    with pytest.raises(NotFoundError, match="no registered model found for id 999"):
        await create(database, MODEL_VERSION, name="w", registeredModelId="999")
    other = {"servingEnvironmentId": str(model.id), "registeredModelId": str(model.id)}
    with pytest.raises(NotFoundError, match="no serving environment found"):
        await create(database, KINDS["InferenceService"], **other)
    database.close()


async def test_many_writers_on_one_name(database: Database) -> None:
    outcomes: list[bool] = []

    async def one() -> None:
        try:
            await create(database, name="same", externalId="same")
            outcomes.append(True)
        except ConflictError:
            outcomes.append(False)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(one)
    assert sorted(outcomes) == [False] * 49 + [True]
    assert await listed(database, Filter()) == ["same"]


def cut(url: str) -> None:
    """End all connections but one's own."""
    with create_engine(url, poolclass=NullPool).connect() as tx:
        if tx.dialect.name == "postgresql":
            tx.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            return
        mine = tx.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        wanted = "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
        for ident in tx.execute(text(wanted)).scalars().all():
            if ident != mine:
                tx.execute(text(f"KILL {ident}"))


async def test_connections_that_are_lost_are_made_again(server_url: str) -> None:
    database = await anyio.to_thread.run_sync(open_database, server_url)
    made = await create(database, name="m")
    cut(server_url)
    assert await database.read(lambda tx: store.get(tx, MODELS, made.id)) == made
    cut(server_url)
    assert (await create(database, name="n")).name == "n"
    runs: list[int] = []

    def work(tx: Connection) -> Record:
        found = store.create(tx, REGISTERED_MODEL, {"name": "o"}, Stamp(1))
        runs.append(found.id)
        if len(runs) == 1:
            cut(server_url)
        return store.get(tx, MODELS, found.id)

    assert (await database.write(work)).name == "o"
    assert len(runs) == 2
    assert await listed(database, Filter()) == ["m", "n", "o"]
    database.close()


async def test_a_connection_that_is_lost_while_it_commits_is_told(server_url: str) -> None:
    """Nobody knows whether it did, so it is not done again."""
    database = await anyio.to_thread.run_sync(open_database, server_url)
    await create(database, name="m")
    runs: list[int] = []

    def work(tx: Connection) -> None:
        runs.append(store.create(tx, REGISTERED_MODEL, {"name": "n"}, Stamp(1)).id)
        cut(server_url)

    with pytest.raises(UnavailableError, match="was lost while it stored") as caught:
        await database.write(work)
    assert "Look whether the change is there" in caught.value.hint
    assert len(runs) == 1
    assert await listed(database, Filter()) == ["m"]
    database.close()


async def test_writers_that_share_a_lost_commit_are_all_told(server_url: str) -> None:
    database = await anyio.to_thread.run_sync(open_database, server_url)
    go = threading.Event()
    runs: list[int] = []
    told: list[str] = []

    def work(number: int, tx: Connection) -> None:
        store.create(tx, REGISTERED_MODEL, {"name": str(number)}, Stamp(1))
        runs.append(number)
        if number == 9:
            cut(server_url)

    async def one(number: int) -> None:
        try:
            await database.write(partial(work, number))
            told.append("done")
        except UnavailableError as exc:
            told.append(exc.message)

    async with anyio.create_task_group() as tasks:
        for _ in range(GROUPS):
            tasks.start_soon(database.write, lambda _: go.wait(30))
        await anyio.wait_all_tasks_blocked()
        for number in range(10):
            tasks.start_soon(one, number)
        await anyio.wait_all_tasks_blocked()
        go.set()

    assert sorted(runs) == list(range(10))
    assert len(await listed(database, Filter())) == told.count("done")
    lost = [message for message in told if message != "done"]
    assert lost
    assert all("was lost while it stored" in message for message in lost)
    database.close()


@pytest.mark.parametrize("backend", SERVERS)
async def test_a_server_that_comes_up_later_and_goes_away(
    backend: str, durable_server: Callable[[str], Any]
) -> None:
    server = await anyio.to_thread.run_sync(durable_server, backend)
    server.execute("create database registry")
    server.stop()
    database = Database(server.url("registry"))
    with pytest.raises(UnavailableError, match="is not open yet"):
        await listed(database, Filter())
    with pytest.raises(UnavailableError, match="does not answer"):
        await database.open_patiently(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.open_patiently)
        await anyio.to_thread.run_sync(server.start)
    await create(database, name="m")
    await anyio.to_thread.run_sync(server.stop)
    with pytest.raises(UnavailableError) as caught:
        await create(database, name="n")
    assert caught.value.retry_after
    assert server.PASSWORD not in str(caught.value.message)
    await anyio.to_thread.run_sync(server.start)
    assert await listed(database, Filter()) == ["m"]
    database.close()


@pytest.mark.parametrize("backend", SERVERS)
async def test_no_write_that_was_acknowledged_is_lost_with_the_server(
    backend: str, durable_server: Callable[[str], Any]
) -> None:
    server = await anyio.to_thread.run_sync(durable_server, backend)
    server.execute("create database registry")
    database = await anyio.to_thread.run_sync(open_database, server.url("registry"))
    acknowledged: dict[int, Record] = {}
    enough = anyio.Event()

    async def load(writer: int) -> None:
        for n in range(10_000):
            custom = {"p": string("v"), "q": string("w")}
            try:
                made = await create(database, name=f"{writer}-{n}", customProperties=custom)
            except UnavailableError:
                return
            acknowledged[made.id] = made
            if len(acknowledged) >= 200:
                enough.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for writer in range(8):
                tasks.start_soon(load, writer)
            await enough.wait()
            await anyio.to_thread.run_sync(server.kill)
    await anyio.to_thread.run_sync(server.start)
    kept, _ = await database.read(lambda tx: store.page(tx, MODELS, Filter(), Paging(10_000)))

    assert len(acknowledged) >= 200
    found = {one.id: one for one in kept}
    assert {ident: found.get(ident) for ident in acknowledged} == acknowledged
    events = await database.read(lambda tx: tx.execute(select(EVENT.c.after)).scalars().all())
    assert {after["name"] for after in events} == {one.name for one in kept}
    database.close()


async def test_health_tells_the_revision(database: Database, registry_url: str) -> None:
    """A replica that still runs when a newer one has migrated is not healthy any more."""
    transport = httpx2.ASGITransport(app(database, Registry()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        path = "/readyz/isDirty?format=json"
        healthy = await http.get(path)
        with create_engine(registry_url, poolclass=NullPool).begin() as tx:
            tx.execute(text("UPDATE towpath_registry_revision SET version_num = '0099'"))
        dirty = await http.get(path)

    assert healthy.status_code == 200
    details = healthy.json()["checks"]["database"]["Details"]
    assert details == {"schema_version": int(HEAD), "schema_dirty": False}
    assert dirty.status_code == 503
    check = dirty.json()["checks"]["database"]
    assert check["Details"] == {"schema_version": 99, "schema_dirty": True}
    assert check["Message"] == f"the database is of version 99, not {int(HEAD)}"


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a load balancer with nothing behind it: it lets connect, and that is all."""
    monkeypatch.setattr("towpath.registry.engines.CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = f"127.0.0.1:{mute.getsockname()[1]}/registry"
        for driver in ("mysql+pymysql", "mariadb+pymysql"):
            database = Database(f"{driver}://registry:hunter2@{where}")
            with anyio.fail_after(10), pytest.raises(UnavailableError, match="does not answer"):
                await database.open_patiently(0)
            database.close()


async def test_messages_hold_no_password(postgresql: str, mariadb: str) -> None:
    for url in map(make_url, (postgresql, mariadb)):
        for wrong in (
            url.set(password="hunter3"),
            url.set(database="missing"),
            url.set(port=1),
            url.set(host="nowhere.invalid"),
        ):
            with pytest.raises(UnavailableError, match=r"refuses|does not answer") as caught:
                open_database(wrong.render_as_string(hide_password=False))
            assert "hunter" not in f"{caught.value.message} {caught.value.hint}"
            assert str(wrong.host) in caught.value.message
        with pytest.raises(InvalidError) as refused:
            open_database(f"{url.render_as_string(hide_password=False)}?nonsense=hunter2")
        assert "option" in refused.value.message
        assert "hunter" not in f"{refused.value.message} {refused.value.hint}"
