"""Export and import of the model registry: what comes out goes in again, the same, or nothing."""

import io
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from towpath import web
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.registry import exchange, offline, restoring
from towpath.registry.api import app
from towpath.registry.backup import Backup
from towpath.registry.database import Database, open_database
from towpath.registry.events import Stamp, number
from towpath.registry.restoring import restore
from towpath.settings import Registry
from towpath.spec.registry import PREFIXES

pytestmark = pytest.mark.anyio

Serving = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

EXPORT = {"Content-Type": "application/jsonl"}
TEXTS = ("", "x", "Zürich 'n' \"quotes\" \\ %_", "\u2028 line", "🚢" * 40)


async def exported(database: Database) -> bytes:
    """The file, but for its time."""
    return await database.read(lambda tx: b"".join(exchange.lines(tx, 0)), snapshot=True)


async def imported(database: Database, file: bytes) -> dict[str, int]:
    return await database.write(lambda tx: restore(tx, io.BytesIO(file), Stamp(7, "me")))


async def filled(http: httpx2.AsyncClient, seed: int = 0, size: int = 3) -> None:
    """A registry with every kind of thing in it, by way of its own API."""
    some = random.Random(seed)

    async def made(path: str, **body: Any) -> str:
        answer = await http.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def custom() -> dict[str, Any]:
        return {
            some.choice(TEXTS) + "s": {
                "metadataType": "MetadataStringValue",
                "string_value": some.choice(TEXTS),
            },
            "i": {"metadataType": "MetadataIntValue", "int_value": str(some.randint(-9, 9))},
            "d": {"metadataType": "MetadataDoubleValue", "double_value": some.random()},
            "b": {"metadataType": "MetadataBoolValue", "bool_value": some.random() < 0.5},
            "o": {"metadataType": "MetadataStructValue", "struct_value": '{"a": [1]}'},
        }

    place = await made("/serving_environments", name="edge", description=some.choice(TEXTS))
    experiment = await made("/experiments", name="e", customProperties=custom())
    for n in range(size):
        model = await made(
            "/registered_models", name=f"{n}{some.choice(TEXTS)}", tasks=["b", "a"], owner="o"
        )
        version = await made(
            "/model_versions",
            name=f"model:{n}",
            registeredModelId=model,
            externalId=f"v{n}",
            customProperties=custom(),
        )
        run = await made("/experiment_runs", experimentId=experiment, startTimeSinceEpoch="5")
        for body in (
            {"artifactType": "metric", "name": "loss", "value": 0.5, "step": 3, "timestamp": "9"},
            {"artifactType": "metric", "name": "loss", "value": 0.25, "step": 4},
            {"artifactType": "parameter", "name": "p", "value": "1", "parameterType": "number"},
            {"artifactType": "dataset-artifact", "name": "d", "uri": "u", "digest": "x"},
        ):
            await made(f"/experiment_runs/{run}/artifacts", **body)
        artifact = await made(
            f"/model_versions/{version}/artifacts",
            artifactType="model-artifact",
            name="m",
            uri="s3://b/k",
            customProperties=custom(),
        )
        path = f"/experiment_runs/{run}/artifacts"
        await made(path, artifactType="model-artifact", id=artifact, uri="s3://b/k2")
        await made("/artifacts", artifactType="doc-artifact", name="alone", uri="u")
        ids = {"registeredModelId": model, "servingEnvironmentId": place}
        service = await made("/inference_services", modelVersionId=version, **ids)
        await made(f"/inference_services/{service}/serves", modelVersionId=version)
        link = {"subject": f"ModelVersion/{version}", "relation": "servedAt", "object": f"x:{n}"}
        await made("/links", **link)
        await http.patch(f"/registered_models/{model}", json={"state": "ARCHIVED"})
    # a service that names a version which is younger than itself
    younger = await made("/model_versions", name="younger", registeredModelId=model)
    await http.patch(f"/inference_services/{service}", json={"modelVersionId": younger})
    last = await made("/registered_models", name="short-lived", state="ARCHIVED")
    assert (await http.delete(f"/registered_models/{last}")).status_code == 204


@pytest.fixture(scope="module")
def full() -> bytes:
    """An export of a registry that has everything, from SQLite."""

    async def make() -> bytes:
        with closing(open_database("sqlite://")) as database:
            served = httpx2.ASGITransport(app(database, Registry(allow_delete=True)))
            base = f"http://registry{PREFIXES[0]}"
            async with httpx2.AsyncClient(transport=served, base_url=base) as http:
                await filled(http)
            return await exported(database)

    return anyio.run(make)


@pytest.fixture
def empty(sqlite: str) -> Iterator[Database]:
    with closing(open_database(sqlite)) as database:
        yield database


async def test_what_was_exported_goes_in_and_comes_out_the_same(
    full: bytes, registry_url: str, registry_at: Serving, tmp_path: Path
) -> None:
    """From SQLite into each database, and from each into SQLite again."""
    header = json.loads(full.partition(b"\n")[0])
    assert all(header["counts"].values()), header
    with closing(open_database(registry_url)) as database:
        assert await imported(database, full) == header["counts"]
        again = await exported(database)
    assert again == full
    with closing(open_database(f"sqlite:///{tmp_path}/back.db")) as database:
        await imported(database, again)
        assert await exported(database) == full

    last = max(json.loads(line).get("seq", 0) for line in full.splitlines())
    async with registry_at(registry_url) as http:
        made = [
            (await http.post("/registered_models", json={"name": "new"})).json(),
            (await http.post("/model_artifacts", json={"name": "new", "uri": "u"})).json(),
        ]
        places = {"context": 0, "artifact": 0}
        for line in map(json.loads, full.splitlines()[1:]):
            if line["kind"] in ("RegisteredModel", "ModelVersion", "Experiment", "ExperimentRun"):
                places["context"] = max(places["context"], line["id"])
            elif line["kind"] in ("ModelArtifact", "MetricPoint"):
                places["artifact"] = max(places["artifact"], line["id"])
            elif line["kind"] == "Event" and line["action"] == "delete":
                places["context"] = max(places["context"], line["entity"])
        assert int(made[0]["id"]) == places["context"] + 1, "ids of the deleted are not reused"
        assert int(made[1]["id"]) > places["artifact"]
        told = (await http.get("/events", params={"since": last})).json()["items"]
        assert [event["seq"] for event in told] == [last + 1, last + 2]
        found = {"filterQuery": "externalId = 'v1' AND i >= -9"}
        assert (await http.get("/model_versions", params=found)).json()["size"] == 1


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 3), numbered=st.booleans())
def test_any_registry_survives(
    registry_at: Serving,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    numbered: bool,
) -> None:
    folder = tmp_path_factory.mktemp("registry")

    async def check() -> None:
        url = f"sqlite:///{folder}/one.db"
        async with registry_at(url, Registry(allow_delete=True)) as http:
            await filled(http, seed, size)
        with closing(open_database(url)) as one, closing(open_database("sqlite://")) as two:
            if numbered:
                await one.write(number)
            file = await exported(one)
            await imported(two, file)
            assert await exported(two) == file

    anyio.run(check)


async def test_over_http(registry_url: str, registry_at: Serving, tmp_path: Path) -> None:
    async with (
        registry_at(f"sqlite:///{tmp_path}/one.db", Registry(allow_delete=True)) as one,
        registry_at(registry_url) as two,
    ):
        await filled(one)
        answer = await one.get("/export")
        assert answer.headers["content-type"] == "application/jsonl"
        file = answer.content

        async def body() -> AsyncIterator[bytes]:
            for begin in range(0, len(file), 1000):
                yield file[begin : begin + 1000]

        took = await two.post("/import", content=body(), headers=EXPORT)
        assert took.status_code == 201, took.text
        assert took.json()["counts"] == json.loads(file.partition(b"\n")[0])["counts"]
        back = (await two.get("/export")).content
        assert back.partition(b"\n")[2] == file.partition(b"\n")[2]
        for path in ("registered_models", "artifacts", "inference_services", "links", "events"):
            here, there = await one.get(f"/{path}"), await two.get(f"/{path}")
            assert here.json() == there.json()

        again = await two.post("/import", content=file, headers=EXPORT)
        assert (again.status_code, again.json()["code"]) == (409, "Conflict")
        assert "not empty" in again.json()["message"]
        plain = await two.post("/import", content=file)
        assert plain.status_code == 415


async def test_an_import_that_is_too_large(registry_at: Serving, sqlite: str, full: bytes) -> None:
    async with registry_at(sqlite, Registry(import_bytes=1000)) as http:
        answer = await http.post("/import", content=full, headers=EXPORT)
        assert (answer.status_code, answer.json()["code"]) == (413, "Request Entity Too Large")
        assert (await http.get("/events")).json()["size"] == 0


async def test_a_large_registry_is_exported_in_pieces(
    registry_at: Serving, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a client that goes away in the middle keeps nothing busy."""
    monkeypatch.setattr("towpath.registry.exchange.CHUNK", 2)
    monkeypatch.setattr("towpath.registry.api.exchange.PIECE", 10)
    async with registry_at(sqlite, Registry(allow_delete=True)) as http:
        await filled(http)
        for _ in range(12):  # more than there are connections
            async with http.stream("GET", "/export") as response:
                async for _piece in response.aiter_raw():
                    break
        whole = (await http.get("/export")).content.splitlines()
        counts = json.loads(whole[0])["counts"]
        assert len(whole) == 1 + sum(counts.values())
        told = await http.post("/registered_models", json={"name": "after"})
        assert told.status_code == 201


async def test_an_export_is_one_state(sqlite: str, registry_at: Serving) -> None:
    """Writers meanwhile: the counts of the first line are those of the lines."""
    async with registry_at(sqlite) as http:
        enough = anyio.Event()

        async def write() -> None:
            n = 0
            while not enough.is_set():
                n += 1
                await http.post("/registered_models", json={"name": f"{n}"})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(10):
                lines = (await http.get("/export")).content.splitlines()
                counts = json.loads(lines[0])["counts"]
                assert len(lines) == 1 + sum(counts.values())
                assert counts["Event"] == counts["RegisteredModel"]
            enough.set()


def _changed(full: bytes, kind: str, change: Callable[[dict[str, Any]], None]) -> tuple[int, bytes]:
    """The file with its last line of a kind changed, and that line's number."""
    lines = full.splitlines()
    found = max(n for n, line in enumerate(lines) if json.loads(line).get("kind") == kind)
    line = json.loads(lines[found])
    change(line)
    lines[found] = json.dumps(line).encode()
    return found + 1, b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        ("ModelVersion", {"id": 0}, "id: it is not"),
        ("ModelVersion", {"id": 10**9}, "id: it is not"),
        ("ModelVersion", {"id": "7"}, "id: it is not"),
        ("ModelVersion", {"id": True}, "id: it is not"),
        ("ModelVersion", {"name": ""}, "name: it is not"),
        ("ModelVersion", {"name": "n" * 256}, "name: it is not"),
        ("ModelVersion", {"name": None}, "name: it is not"),
        ("ModelVersion", {"parent": None}, "parent: it is not"),
        ("ModelVersion", {"parent": 9999}, "parent: no such entity"),
        ("ModelVersion", {"parent": 1}, "parent: no such entity"),  # an environment
        ("ModelVersion", {"created": -1}, "created: it is not"),
        ("ModelVersion", {"body": []}, "body: it is not"),
        ("ModelVersion", {"body": {"state": "GONE"}}, "field 'state'"),
        ("ModelVersion", {"body": {"nonsense": 1}}, 'unknown field "nonsense"'),
        ("ModelVersion", {"body": {"customProperties": {"k": 1}}}, "customProperties.k"),
        ("ModelVersion", {"nonsense": 1}, "nonsense: unknown field"),
        ("ModelVersion", {"externalId": "v0"}, "externalId: it is there twice"),
        ("RegisteredModel", {"id": 1}, "id: it is there twice"),
        ("RegisteredModel", {"id": "\x00"}, "NUL"),
        ("InferenceService", {"body": {"registeredModelId": "9999"}}, "registeredModelId: no such"),
        ("InferenceService", {"body": {"registeredModelId": "1"}}, "registeredModelId: no such"),
        ("InferenceService", {"body": {}}, "registeredModelId is missing"),
        ("ServeModel", {"parent": 1}, "parent: no such entity"),
        ("InferenceService", {"body": {"registeredModelId": "9" * 30}}, "registeredModelId is no"),
        (
            "ServeModel",
            {"body": {"servingEnvironmentId": "9" * 5000}},
            "servingEnvironmentId is no",
        ),
        ("ServeModel", {"body": {"registeredModelId": "\u0663"}}, "registeredModelId is no id"),
        ("Metric", {"body": {"value": 1, "experimentRunId": "9" * 30}}, "experimentRunId is no id"),
        ("Metric", {"body": {"value": 1, "experimentId": "x"}}, "experimentId is no id"),
        ("Link", {"id": 10**9}, "id: it is not"),  # none could follow
        ("Event", {"entity": 2**31 - 1}, "entity: it is not"),
        ("Event", {"seq": 2**63 - 1}, "seq: it is not"),
        ("ModelArtifact", {"scope": ""}, "scope: it is not"),
        ("Metric", {"kind": "Nonsense"}, "kind: 'Nonsense'"),
        ("Metric", {"kind": "RegisteredModel", "scope": None}, "kind: RegisteredModel comes after"),
        ("Attribution", {"context": 9999}, "no such entity"),
        ("Attribution", {"artifact": None}, "artifact: it is not"),
        ("Link", {"subject": "x:y"}, "subject"),
        ("Link", {"relation": "two words"}, "relation"),
        ("Event", {"seq": 1}, "seq: it is there twice"),
        ("Event", {"action": "undo"}, "action: it is not"),
        ("Event", {"before": 7}, "before: it is not"),
        ("Event", {"actor": None}, "actor: it is not"),
    ],
)
async def test_a_line_that_is_wrong(
    full: bytes, empty: Database, kind: str, change: dict[str, Any], word: str
) -> None:
    def apply(line: dict[str, Any]) -> None:
        line |= change

    number, file = _changed(full, kind, apply)
    with pytest.raises(InvalidError) as caught:
        await imported(empty, file)
    assert caught.value.message.startswith(f"line {number}: "), caught.value.message
    assert word in caught.value.message
    nothing = json.loads((await exported(empty)).partition(b"\n")[0])["counts"]
    assert not any(nothing.values())


@pytest.mark.parametrize(
    ("file", "word"),
    [
        (b"", "line 1: format"),
        (b"\n\n", "line 1: format"),
        (b"[]\n", "line 1: it is not a JSON object"),
        (b"{\n", "line 1: it is not JSON"),
        (b'{"format": "other"}\n', "line 1: format"),
        (b'{"format": "towpath-registry", "version": 2}\n', "line 1: version"),
        (b'{"format": "towpath-registry", "version": 1}\n', "line 1: counts"),
        (
            b'{"format": "towpath-registry", "version": 1, "counts": {"Link": 1}}\n',
            "line 1: counts: the file has 0 lines of kind Link, not 1",
        ),
        (
            b'{"format": "towpath-registry", "version": 1, "counts": {}}\n\xff\n',
            "line 2: it is not JSON",
        ),
    ],
)
async def test_a_file_that_is_none(empty: Database, file: bytes, word: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await imported(empty, file)
    assert caught.value.message.startswith(word)


async def test_a_file_that_is_cut_off(full: bytes, empty: Database) -> None:
    for keep in (0.3, 0.6, 0.99):
        with pytest.raises(InvalidError, match="line"):
            await imported(empty, full[: int(len(full) * keep)])
    whole_lines = b"\n".join(full.splitlines()[:-3]) + b"\n"
    with pytest.raises(InvalidError, match="lines of kind Event"):
        await imported(empty, whole_lines)


def test_large_lines_are_taken_in_a_few_at_a_time(tmp_path: Path) -> None:
    count, url = 48, f"sqlite:///{tmp_path}/r.db"
    header = {"format": "towpath-registry", "version": 1, "counts": {"RegisteredModel": count}}
    times = {"created": 1, "updated": 1}
    with (tmp_path / "in").open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        for n in range(1, count + 1):
            body = {"readme": "r" * 2**20}
            line = {"kind": "RegisteredModel", "id": n, "name": f"m{n}", "body": body, **times}
            file.write(json.dumps(line).encode() + b"\n")
    tracemalloc.start()
    anyio.run(offline.load, url, tmp_path / "in")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 * restoring.BATCH_BYTES


async def test_a_link_is_enough_to_be_not_empty(full: bytes, empty: Database) -> None:
    await imported(empty, full)
    with pytest.raises(ConflictError, match="not empty"):
        await imported(empty, full)


async def test_a_file_without_events_tells_what_it_brings(full: bytes, empty: Database) -> None:
    """As one that was made by listing another server."""
    lines = [line for line in full.splitlines() if b'"kind":"Event"' not in line]
    header = json.loads(lines[0])
    del header["counts"]["Event"]
    counts = await imported(empty, b"\n".join([json.dumps(header).encode(), *lines[1:]]))
    told = [json.loads(line) for line in (await exported(empty)).splitlines()]
    events = [line for line in told if line.get("kind") == "Event"]
    entities = sum(counts.values()) - counts["Attribution"] - counts["Link"]
    assert len(events) == entities
    assert {(e["action"], e["actor"], e["at"]) for e in events} == {("create", "me", 7)}


async def test_from_database_to_database(full: bytes, registry_url: str, tmp_path: Path) -> None:
    file, back, url = tmp_path / "in", tmp_path / "out", f"sqlite:///{tmp_path}/other.db"
    file.write_bytes(full)
    counts = await offline.load(registry_url, file)
    assert await offline.save(registry_url, back) == counts
    assert back.stat().st_mode & 0o777 == 0o600
    assert back.read_bytes().partition(b"\n")[2] == full.partition(b"\n")[2]
    await offline.load(url, back)
    with pytest.raises(ConflictError, match="not empty"):
        await offline.load(url, back)
    with pytest.raises(NotFoundError, match="no database"):
        await offline.save(f"sqlite:///{tmp_path}/typo.db", file)
    with pytest.raises(InvalidError, match="is a folder"):
        await offline.save(url, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"in", "out", "other.db"}
    assert not list(tmp_path.glob(".*"))


async def test_an_address_without_a_registry_gives_no_backup(tmp_path: Path) -> None:
    """An empty file would pass for one."""
    sock = web.listen("127.0.0.1", 0)
    file = tmp_path / "listed"
    async with anyio.create_task_group() as tasks:
        nothing = PlainTextResponse("404 page not found", 404)
        await tasks.start(partial(web.serve, nothing, sock, drain=1))
        async with Backup(f"http://127.0.0.1:{sock.getsockname()[1]}/api") as backup:
            with pytest.raises(NotFoundError, match="no model registry at this address"):
                await backup.save(file)
        tasks.cancel_scope.cancel()
    assert not list(tmp_path.iterdir())


async def test_a_server_without_export_is_listed(full: bytes, tmp_path: Path, sqlite: str) -> None:
    """As Kubeflow's own; here ours plays it, in both of its generations' manners."""
    with closing(open_database(sqlite)) as database:
        await imported(database, full)
        ours = app(database, Registry(page=2))

        async def other(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith("/export"):
                await PlainTextResponse("404 page not found", 404)(scope, receive, send)
            else:
                await ours(scope, receive, send)

        sock = web.listen("127.0.0.1", 0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(web.serve, other, sock, drain=1))
            async with Backup(f"http://127.0.0.1:{sock.getsockname()[1]}") as backup:
                counts = await backup.save(tmp_path / "listed")
            tasks.cancel_scope.cancel()
    with closing(open_database("sqlite://")) as database:
        assert await imported(database, (tmp_path / "listed").read_bytes()) == counts
        again = await exported(database)

    def told(file: bytes) -> set[str]:
        """Every line but those of links and events; scopes of artifacts are found anew."""
        lines = (json.loads(line) for line in file.splitlines()[1:])
        kept = [line for line in lines if line["kind"] not in ("Link", "Event")]
        return {
            json.dumps({k: v for k, v in line.items() if k != "scope"}, sort_keys=True)
            for line in kept
        }

    assert told(again) == told(full)
    assert "Event" not in counts
