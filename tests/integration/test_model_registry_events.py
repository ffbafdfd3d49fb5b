"""The registry's events over real HTTP: the audit log, the change feed, and following it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx2
import orjson
import pytest
from anyio.abc import TaskStatus
from sqlalchemy import Connection, insert, select

from towpath import web
from towpath.auth import Guard, Identity, Tokens
from towpath.registry import events
from towpath.registry.api import app
from towpath.registry.database import Database, open_database
from towpath.registry.events import Span, Stamp, Wanted
from towpath.registry.kinds import REGISTERED_MODEL
from towpath.registry.tables import EVENT
from towpath.settings import Registry

pytestmark = pytest.mark.anyio

ALPHA = "/api/model_registry/v1alpha3"


@asynccontextmanager
async def served(database: Database, **knobs: Any) -> AsyncIterator[httpx2.AsyncClient]:
    sock = web.listen("127.0.0.1", 0)
    inner = app(database, Registry(**knobs))
    known = Tokens([("hunter2", Identity("ada"))])
    guarded = Guard(inner, known, lambda _who, _scope: True, web.kubeflow_error)
    async with anyio.create_task_group() as tasks:
        serve = partial(web.serve, guarded, sock, drain=1, stopping=inner.state.feed.close)
        await tasks.start(serve)
        base = f"http://127.0.0.1:{sock.getsockname()[1]}{ALPHA}"
        async with httpx2.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
            yield client
        tasks.cancel_scope.cancel()


@pytest.fixture
async def database(sqlite: str) -> AsyncIterator[Database]:
    opened = open_database(sqlite)
    yield opened
    opened.close()


async def model(http: httpx2.AsyncClient, name: str, **body: Any) -> str:
    answer = await http.post("/registered_models", json={"name": name, **body})
    assert answer.status_code == 201, answer.text
    ident: str = answer.json()["id"]
    return ident


class Follower:
    """A client of the server-sent events that reads them as they come."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.last_id = 0

    async def next(self) -> dict[str, Any]:
        """The next event that carries data."""
        with anyio.fail_after(20):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last_id = int(value)
                elif field == "data":
                    event: dict[str, Any] = orjson.loads(value)
                    assert event["seq"] == self.last_id
                    return event
        raise EOFError


@asynccontextmanager
async def following(
    http: httpx2.AsyncClient, headers: dict[str, str] | None = None, **query: Any
) -> AsyncIterator[Follower]:
    accept = {"Accept": "text/event-stream", **(headers or {})}
    async with http.stream("GET", "/events", params=query, headers=accept) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Follower(response)


async def test_the_audit_log_says_who_changed_what(database: Database) -> None:
    async with served(database) as http:
        token = {"Authorization": "Bearer hunter2"}
        first = await model(http, "fraud", description="old")
        await http.patch(f"/registered_models/{first}", json={"description": "new"}, headers=token)
        second = await model(http, "other")

        told = (await http.get("/events")).json()
        assert (told["size"], told["next"], told["more"]) == (3, 3, False)
        assert [event["seq"] for event in told["items"]] == [1, 2, 3]
        update = told["items"][1]
        assert (update["action"], update["kind"], update["entityId"]) == (
            "update",
            "RegisteredModel",
            first,
        )
        assert (update["before"]["description"], update["after"]["description"]) == ("old", "new")
        assert (update["actor"], told["items"][0]["actor"]) == (
            "ada",
            "system:anonymous",
        )
        assert told["items"][0]["before"] is None
        assert update["at"] == update["after"]["lastUpdateTimeSinceEpoch"]

        async def seqs(**query: Any) -> list[int]:
            return [e["seq"] for e in (await http.get("/events", params=query)).json()["items"]]

        assert await seqs(actor="ada") == [2]
        assert await seqs(actor="system:anonymous") == [1, 3]
        assert await seqs(entityId=second) == [3]
        assert await seqs(kind="RegisteredModel", action="create") == [1, 3]
        assert await seqs(kind="Nothing") == []
        assert await seqs(since=2) == [3]
        assert await seqs(sortOrder="DESC") == [3, 2, 1]
        times = {"from": update["at"], "to": update["at"]}
        assert 2 in await seqs(**times)
        assert await seqs(**{"from": int(told["items"][2]["at"]) + 1}) == []
        assert await seqs(to=int(told["items"][0]["at"]) - 1) == []
        for query in ({"since": "x"}, {"from": "-1"}, {"entityId": "x"}, {"pageSize": "x"}):
            answer = await http.get("/events", params=query)
            assert (answer.status_code, answer.json()["code"]) == (400, "Bad Request")


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_of_events(database: Database, newest_first: bool) -> None:
    async with served(database) as http:
        for n in range(7):
            await model(http, f"m{n}", owner="odd" if n % 2 else "even")
        seen: list[int] = []
        query: dict[str, Any] = {"pageSize": 3} | ({"sortOrder": "DESC"} if newest_first else {})
        while True:
            told = (await http.get("/events", params=query)).json()
            seen += [event["seq"] for event in told["items"]]
            if not told["more"]:
                break
            query["before" if newest_first else "since"] = told["next"]
    assert seen == (list(range(7, 0, -1)) if newest_first else list(range(1, 8)))


async def test_a_refused_change_is_no_event(database: Database) -> None:
    async with served(database) as http:
        await model(http, "m")
        assert (await http.post("/registered_models", json={"name": "m"})).status_code == 409
        assert (await http.get("/events")).json()["size"] == 1


async def test_numbers_have_no_gaps_where_ids_have(registry_url: str) -> None:
    database = open_database(registry_url)

    def write(idents: list[int], tx: Connection) -> None:
        values = {"at": 1, "actor": "", "action": "create", "kind": "K", "entity_id": 1}
        tx.execute(insert(EVENT), [{"id": ident, **values} for ident in idents])

    async def numbers() -> list[tuple[int, int]]:
        await events.settle(database)
        numbered = select(EVENT.c.id, EVENT.c.seq).order_by(EVENT.c.seq)
        return [tuple(row) for row in await database.read(lambda tx: tx.execute(numbered).all())]

    await database.write(partial(write, [2, 3, 4, 8, 10, 11]))
    first = [(2, 1), (3, 2), (4, 3), (8, 4), (10, 5), (11, 6)]
    assert await numbers() == first
    await database.write(partial(write, [1, 5, 6, 9, 12]))  # those that were committed later
    assert await numbers() == [*first, (1, 7), (5, 8), (6, 9), (9, 10), (12, 11)]
    database.close()


async def test_following(database: Database) -> None:
    async with served(database) as http:
        await model(http, "before")
        async with following(http) as now, following(http, since=0) as all_of_it:
            assert (await all_of_it.next())["after"]["name"] == "before"
            ident = await model(http, "after")
            for follower in (now, all_of_it):
                event = await follower.next()
                assert (event["seq"], event["entityId"]) == (2, ident)
        resumed = {"Last-Event-ID": str(now.last_id)}
        await model(http, "while away")
        async with following(http, resumed, since=0) as back:
            assert (await back.next())["after"]["name"] == "while away"
        async with (
            following(http, kind="Link", since=0) as links,
            following(http, since=0, entityId=ident) as one,
        ):
            link = {"subject": f"RegisteredModel/{ident}", "relation": "x", "object": "a:b"}
            assert (await http.post("/links", json=link)).status_code == 201
            assert (await links.next())["after"]["object"] == "a:b"
            assert (await one.next())["action"] == "create"


async def test_a_change_of_this_process_is_told_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.registry.feed.POLL_SECONDS", 3600)
    async with served(database) as http, following(http) as follower:
        for n in range(5):
            await model(http, f"m{n}")
            assert (await follower.next())["after"]["name"] == f"m{n}"


async def test_a_change_of_another_process_is_found(database: Database, sqlite: str) -> None:
    async with served(database) as here, following(here) as follower:
        other = open_database(sqlite)
        async with served(other) as there:
            await model(there, "elsewhere")
        other.close()
        assert (await follower.next())["after"]["name"] == "elsewhere"


async def test_signs_of_life(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("towpath.registry.feed.HEARTBEAT_SECONDS", 0.05)
    async with served(database) as http:
        await model(http, "m")
        async with following(http) as follower:
            alive = 0
            with anyio.fail_after(10):
                async for line in follower.response.aiter_lines():
                    alive += line == "id: 1"
                    if alive == 3:
                        break


async def test_a_slow_follower_misses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.registry.feed.MEMORY_EVENTS", 3)
    monkeypatch.setattr("towpath.registry.feed.STEP", 2)
    async with served(database) as http, following(http) as slow, following(http) as quick:
        for n in range(25):
            await model(http, f"m{n}")
            assert (await quick.next())["seq"] == n + 1
        assert [(await slow.next())["seq"] for _ in range(25)] == list(range(1, 26))


async def test_too_many_followers_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.registry.feed.FOLLOWERS", 1)
    async with served(database) as http, following(http):
        answer = await http.get("/events", headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.json()["code"]) == (429, "Too Many Requests")
        assert answer.headers["retry-after"] == "10"


async def test_followers_end_with_the_server(database: Database) -> None:
    sock = web.listen("127.0.0.1", 0)
    inner = app(database, Registry())
    url = f"http://127.0.0.1:{sock.getsockname()[1]}{ALPHA}"
    until = anyio.CancelScope()

    async def run(*, task_status: TaskStatus[None]) -> None:
        stopping = inner.state.feed.close
        with until:
            await web.serve(inner, sock, drain=60, stopping=stopping, task_status=task_status)

    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        with anyio.fail_after(10):  # far less than the drain
            async with anyio.create_task_group() as tasks:
                await tasks.start(run)
                async with following(http) as follower:
                    await model(http, "m")
                    await follower.next()
                    until.cancel()
                    with pytest.raises(EOFError):
                        await follower.next()


async def test_a_reader_misses_nothing_while_others_write(registry_url: str) -> None:
    """Writers on two servers; transactions commit in another order than their rows were made."""
    databases = [open_database(registry_url) for _ in range(3)]
    writers, each = 6, 20
    read: list[tuple[int, int]] = []

    async def write(database: Database, which: int) -> None:
        for n in range(each):
            await database.write(partial(slowly, which, n))

    def slowly(which: int, n: int, tx: Connection) -> None:
        after = {"id": str(n + 1), "name": f"{which}-{n}"}
        events.record(tx, Stamp(1), "create", REGISTERED_MODEL, None, after)
        if n % 3 == 0 and tx.dialect.name != "sqlite":
            seconds = {"postgresql": "pg_sleep(0.02)"}.get(tx.dialect.name, "sleep(0.02)")
            tx.exec_driver_sql(f"SELECT {seconds}")

    async def follow(database: Database) -> None:
        since = 0
        while len(read) < writers * each:
            await events.settle(database)
            span = Span(since=since, size=7)
            page = await database.read(partial(events.look, wanted=Wanted(), span=span))
            read.extend((event.seq, event.entity) for event in page.events)
            names.extend(event.after["name"] for event in page.events if event.after)
            since = page.next

    names: list[str] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for which in range(writers):
                tasks.start_soon(write, databases[which % 2], which)
            tasks.start_soon(follow, databases[2])
    for database in databases:
        database.close()
    assert [seq for seq, _ in read] == list(range(1, writers * each + 1))
    assert sorted(names) == sorted(f"{w}-{n}" for w in range(writers) for n in range(each))
    for which in range(writers):  # each writer's own order is kept
        mine = [name for name in names if name.startswith(f"{which}-")]
        assert mine == [f"{which}-{n}" for n in range(each)]
