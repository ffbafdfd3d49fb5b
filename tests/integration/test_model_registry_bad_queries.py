"""What nobody should ask the model registry for: malformed filters, pages, routes; too much."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from tests.integration.model_registry_world import (
    JSON,
    LISTS,
    furnish,
    refused,
    world,
)

Serving = Callable[..., Any]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(sqlite: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(sqlite) as client:
        await furnish(client)
        yield client


PAGES = [
    {"pageSize": "x"},
    {"pageSize": "1.5"},
    {"pageSize": "1e3"},
    {"pageSize": "\uff11"},
    {"pageSize": "1\0"},
    {"nextPageToken": "!"},
    {"nextPageToken": "AAAA"},
    {"nextPageToken": base64.b64encode(b"1:x").decode()},
    {"nextPageToken": base64.b64encode(b"9" * 400 + b":1").decode()},
    {"nextPageToken": base64.b64encode(b"1:1").decode() * 500},
    {"nextPageToken": "é"},
]


async def test_pages_that_are_none(http: httpx2.AsyncClient) -> None:
    for query in PAGES:
        for path in LISTS:
            answer = await http.get(f"/{path}", params=query)
            refused(answer, 400, f"{next(iter(query))}|NUL")


async def test_pages_of_any_size(http: httpx2.AsyncClient) -> None:
    strange = {"orderBy": "NONSENSE", "sortOrder": "sideways"}
    for path in LISTS:
        whole = (await http.get(f"/{path}", params=strange)).json()["items"]
        for size in ("0", "-5", "", "999999999"):
            answer = await http.get(f"/{path}", params={"pageSize": size})
            assert answer.status_code == 200, answer.text
            assert answer.json()["items"] == whole


FILTERS = [
    "name",
    "name =",
    "= 'x'",
    "name = x",
    "name = 'x",
    'name = "x',
    "name == 'x'",
    "name = 'x' AND",
    "name = 'x' name = 'y'",
    "name = 'x' OR OR name = 'y'",
    "AND name = 'x'",
    "(name = 'x'",
    "name = 'x')",
    "()",
    "name IN 'x'",
    "name IN ('x'",
    "name IN ('x',)",
    "name LIKE 5",
    "name NOT LIKE 'x'",
    "NOT name = 'x'",
    "name = NULL",
    "name IS NULL",
    "name = 1 + 1",
    "name = 'a' || 'b'",
    "lower(name) = 'x'",
    "name = 'x'; drop table context",
    "name; = 'x'",
    "`name = 'x'",
    ". = 'x'",
    "name. = 'x'",
    "name = 1e999",
    "name = 1.2.3",
    "name = 0x1",
    "name = --",
    "name ! = 'x'",
    "name = 'x' \ud83d\ude80".encode("utf-16", "surrogatepass").decode("utf-16"),
    "((((" * 500 + "name = 'x'" + "))))" * 500,
    " AND ".join(["name = 'x'"] * 5000)[:16_300],
    "x" * 20_000,
]


async def test_filters_that_are_none(http: httpx2.AsyncClient) -> None:
    place = "invalid filterQuery.*(at (character|position) [0-9]+|longer|more than)"
    for text in FILTERS:
        for path in ("registered_models", "artifacts", "experiment_runs/metric_history"):
            answer = await http.get(f"/{path}", params={"filterQuery": text})
            refused(answer, 400, place)
    for path in LISTS:
        refused(await http.get(f"/{path}", params={"filterQuery": "name ="}), 400, place)


async def test_filters_of_another_type(http: httpx2.AsyncClient) -> None:
    for text in ("createTimeSinceEpoch = 'x'", "id = 'x'", "id LIKE 'x'", "state > TRUE"):
        for path in ("registered_models", "model_versions", "artifacts", "model_artifacts"):
            answer = await http.get(f"/{path}", params={"filterQuery": text})
            refused(answer, 400, "filterQuery")


async def test_metric_history(http: httpx2.AsyncClient) -> None:
    for path in ("experiment_runs/5/metric_history", "experiment_runs/metric_history"):
        for steps in ("x", "1,x", "1.5", "1;2", "9" * 400, "1," * 3000):
            answer = await http.get(f"/{path}", params={"stepIds": steps})
            assert answer.status_code in (400, 414), (steps, answer.text)
            refused(answer, 400, "stepIds")


async def test_a_hundred_megabytes(http: httpx2.AsyncClient) -> None:
    before = await world(http)

    async def flow() -> AsyncIterator[bytes]:
        yield b'{"name":"n","description":"'
        for _ in range(100):
            yield b"x" * 1_000_000
        yield b'"}'

    for headers in (JSON, {**JSON, "Content-Length": str(100_000_029)}):
        answer = await http.post("/registered_models", content=flow(), headers=headers)
        refused(answer, 413, "larger than the limit of 16777216 bytes")
    assert await world(http) == before
    assert (await http.post("/registered_models", json={"name": "n"})).status_code == 201


RAW = {
    "no HTTP": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a later version": b"GET /readyz/isDirty HTTP/9.9\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a chunk that is none": (
        b"POST %s/registered_models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "half a body": (
        b"POST %s/registered_models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 30\r\n\r\n{"name":"half"}'
    ),
    "a path of odd bytes": b"GET %s/registered_models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def test_what_is_no_request(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    prefix = http.base_url.path.rstrip("/").encode()
    for case, sent in RAW.items():
        said = b""
        async with await anyio.connect_tcp("127.0.0.1", http.base_url.port or 0) as stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.send(sent.replace(b"%s", prefix))
                await stream.send_eof()
                with anyio.fail_after(20):
                    while True:
                        said += await stream.receive()
        status = said.split(b" ", 2)[1:2]
        assert not status or status[0][:1] == b"4", (case, said[:300])
    assert await world(http) == before


ROUTES = [
    ("GET", "/nonsense", 404),
    ("GET", "/registered_models/1/nonsense", 404),
    ("GET", "/registered_models/", 404),
    ("GET", "//registered_models", 404),
    ("PUT", "/registered_models", 405),
    ("PUT", "/registered_models/1", 405),
    ("PATCH", "/registered_models", 405),
    ("DELETE", "/registered_models", 405),
    ("POST", "/registered_models/1", 405),
    ("PATCH", "/inference_services/6/serves", 405),
]


async def test_routes_that_are_none(http: httpx2.AsyncClient) -> None:
    for method, path, status in ROUTES:
        refused(await http.request(method, path), status)
