"""What the registry was told, it keeps: over a restart, a kill, and a newer program's file."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from sqlalchemy import create_engine, text

from towpath.errors import InvalidError, Reason, UnavailableError
from towpath.registry.database import open_database

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).with_name("model_registry_server.py")


@contextmanager
def process(url: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A registry in a process of its own, and its base URL."""
    command = [sys.executable, str(SERVER), url, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().strip()
            assert port, "the server did not start"
            yield child, f"http://127.0.0.1:{port}/api/model_registry/v1alpha3"
        finally:
            child.kill()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


async def everything(http: httpx2.AsyncClient, base: str) -> dict[str, dict[str, Any]]:
    """Every model by its name."""
    found: dict[str, dict[str, Any]] = {}
    token = ""
    while True:
        query = {"pageSize": "500", "nextPageToken": token}
        page = (await http.get(f"{base}/registered_models", params=query)).json()
        found |= {item["name"]: item for item in page["items"]}
        token = page["nextPageToken"]
        if not token:
            return found


async def test_a_restart_keeps_everything(http: httpx2.AsyncClient, registry_url: str) -> None:
    with process(registry_url) as (child, base):
        model = (await http.post(f"{base}/registered_models", json={"name": "m"})).json()
        body = {"name": "1", "registeredModelId": model["id"]}
        version = (await http.post(f"{base}/model_versions", json=body)).json()
        await http.post(
            f"{base}/model_versions/{version['id']}/artifacts",
            json={"artifactType": "model-artifact", "name": "a", "uri": "u"},
        )
        paths = ("registered_models", "model_versions", f"model_versions/{version['id']}/artifacts")
        before = [(await http.get(f"{base}/{path}")).json() for path in paths]
        child.terminate()
        child.wait(10)
    with process(registry_url) as (_, base):
        after = [(await http.get(f"{base}/{path}")).json() for path in paths]
        added = (await http.post(f"{base}/registered_models", json={"name": "n"})).json()

    assert after == before
    assert all(listed["size"] == 1 for listed in after)
    assert int(added["id"]) > int(version["id"])


async def test_a_kill_under_load_loses_nothing_that_was_acknowledged(
    http: httpx2.AsyncClient, registry_url: str
) -> None:
    acknowledged: dict[str, dict[str, Any]] = {}
    enough = anyio.Event()

    async def load(base: str, writer: int) -> None:
        for n in range(10_000):
            name = f"w{writer}-{n}"
            value = {"metadataType": "MetadataStringValue", "string_value": name}
            body = {"name": name, "customProperties": {"p": value, "q": value}}
            try:
                answer = await http.post(f"{base}/registered_models", json=body)
            except httpx2.TransportError:
                return
            assert answer.status_code == 201
            acknowledged[name] = answer.json()
            if len(acknowledged) >= 200:
                enough.set()

    with process(registry_url) as (child, base), anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for writer in range(8):
                tasks.start_soon(load, base, writer)
            await enough.wait()
            child.kill()
            await anyio.to_thread.run_sync(child.wait)
    with process(registry_url) as (_, base):
        kept = await everything(http, base)

    assert len(acknowledged) >= 200
    assert {name: kept.get(name) for name in acknowledged} == acknowledged
    assert all(set(entity["customProperties"]) == {"p", "q"} for entity in kept.values())
    engine = create_engine(registry_url)
    with engine.connect() as tx:
        rows = tx.execute(text("select count(*) from context_property where custom")).scalar_one()
        assert rows == 2 * len(kept)
        if engine.dialect.name == "sqlite":
            assert tx.execute(text("pragma integrity_check")).scalar_one() == "ok"
            assert tx.execute(text("pragma journal_mode")).scalar_one() == "wal"
    engine.dispose()


async def test_two_processes_write_the_same_database(
    http: httpx2.AsyncClient, registry_url: str
) -> None:
    statuses: list[int] = []

    async def create(base: str, name: str) -> None:
        answer = await http.post(f"{base}/registered_models", json={"name": name})
        statuses.append(answer.status_code)

    with process(registry_url) as (_, one), process(registry_url) as (_, two):
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(create, one, f"m{n}")
                tasks.start_soon(create, two, f"m{n}")
        kept = await everything(http, one)

    assert sorted(statuses) == [201] * 20 + [409] * 20
    assert len(kept) == 20


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to have a header" * 100)
    with pytest.raises(InvalidError, match="is not a registry database"):
        open_database(f"sqlite:///{tmp_path}/text")
    with pytest.raises(UnavailableError, match="does not answer"):
        open_database(f"sqlite:///{tmp_path}/missing/registry.db")


@pytest.mark.parametrize("url", ["", "registry.db", "://", "sqlite:/x"])
def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(InvalidError, match="cannot be read"):
        open_database(url)


def test_a_driver_that_is_not_there() -> None:
    with pytest.raises(InvalidError) as caught:
        open_database("oracle+nothing://user:hunter2@host/db?key=hunter2")
    assert "oracle" in caught.value.message
    assert "postgresql" in caught.value.hint
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


async def test_a_full_disk_is_told_and_leaves_no_trace(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db")

    def fill(tx: Any) -> None:
        pages = tx.exec_driver_sql("pragma page_count").scalar_one()
        tx.exec_driver_sql(f"pragma max_page_count = {pages}")
        tx.exec_driver_sql(
            "insert into context(type, name, scope, created, updated, body) "
            "values ('RegisteredModel', 'big', '', 1, 1, ?)",
            ("x" * 100_000,),
        )

    with pytest.raises(UnavailableError) as caught:
        await database.write(fill)
    assert caught.value.reason is Reason.NO_SPACE
    count = partial(lambda tx: tx.execute(text("select count(*) from context")).scalar_one())
    assert await database.read(count) == 0
    database.close()
