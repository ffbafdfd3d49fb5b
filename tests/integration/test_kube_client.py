"""The client against an API that behaves badly: it forgets, refuses, falls silent."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from towpath import web
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.kube import Client
from towpath.kube import client as room
from towpath.spec.kube import CONFIG_MAP, Object

pytestmark = pytest.mark.anyio

Answer = Callable[[Request], Awaitable[Response]]


class Server:
    """An API whose answers a test writes."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        self.headers.append(dict(request.headers))
        return await self.answers.pop(0)(request)

    def then(self, status: int, content: Any, **headers: str) -> None:
        async def answer(_: Request) -> Response:
            return JSONResponse(content, status_code=status, headers=headers)

        self.answers.append(answer)

    def then_list(self, version: str, *objects: Any) -> None:
        self.then(200, {"metadata": {"resourceVersion": version}, "items": list(objects)})

    def then_events(self, *events: tuple[str, Any], open_end: bool = False) -> None:
        async def lines() -> AsyncIterator[str]:
            for kind, obj in events:
                yield json.dumps({"type": kind, "object": obj}) + "\n"
            if open_end:
                await anyio.sleep_forever()

        async def answer(_: Request) -> Response:
            return StreamingResponse(lines())

        self.answers.append(answer)

    def then_expired(self) -> None:
        self.then_events(("ERROR", failure(410, "Expired", "too old resource version: 1 (9)")))


def failure(code: int, reason: str, message: str, **details: Any) -> Any:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def thing(name: str, version: str, uid: str | None = None, **data: str) -> Any:
    metadata = {"name": name, "namespace": "models", "uid": uid or name, "resourceVersion": version}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def write_kubeconfig(path: Path, port: int, user: dict[str, str]) -> None:
    server = f"http://127.0.0.1:{port}"
    document = {
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path.write_text(yaml.safe_dump(document))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [Route("/{path:path}", server.__call__, methods=methods)]
    async with anyio.create_task_group() as tasks:
        sock = web.listen("127.0.0.1", 0)
        write_kubeconfig(tmp_path / "kubeconfig", sock.getsockname()[1], {"token": "t"})
        await tasks.start(partial(web.serve, Starlette(routes=routes), sock, drain=1))
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def client(server: Server, tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(tmp_path / "kubeconfig", timeout=5) as client:
        yield client


async def told(client: Client, count: int) -> list[tuple[str, str, Any]]:
    """So many events of a watch: type, name and data."""
    found: list[tuple[str, str, Any]] = []
    with anyio.fail_after(10):
        async with aclosing(cast(Any, client.watch(CONFIG_MAP, "models"))) as events:
            async for event, obj in events:
                found.append((event, obj["metadata"]["name"], obj.get("data")))
                if len(found) == count:
                    break
    return found


async def test_a_watch_follows_a_list_from_its_version_on(client: Client, server: Server) -> None:
    server.then_list("7", thing("a", "3"))
    server.then_events(("MODIFIED", thing("a", "8", x="1")), ("DELETED", thing("a", "9", x="1")))
    server.then_events(("ADDED", thing("b", "12")), open_end=True)

    assert await told(client, 4) == [
        ("ADDED", "a", {}),
        ("MODIFIED", "a", {"x": "1"}),
        ("DELETED", "a", {"x": "1"}),
        ("ADDED", "b", {}),
    ]
    assert [one.get("resourceVersion") for one in server.asked] == [None, "7", "9"]
    assert server.asked[1]["allowWatchBookmarks"] == "true"


async def test_a_bookmark_moves_the_version_and_is_not_told(client: Client, server: Server) -> None:
    server.then_list("7")
    server.then_events(("BOOKMARK", {"metadata": {"resourceVersion": "90"}}))
    server.then_events(("ADDED", thing("a", "91")), open_end=True)

    assert await told(client, 1) == [("ADDED", "a", {})]
    assert server.asked[2]["resourceVersion"] == "90"


async def test_changes_that_the_server_forgot_are_made_up(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RELIST_SECONDS", 0.0)
    server.then_list("7", *(thing(name, "3") for name in ("changed", "gone", "new", "same")))
    server.then_expired()
    server.then_list(
        "20",
        thing("changed", "15", x="2"),
        thing("came", "16"),
        thing("new", "17", uid="another"),
        thing("same", "3"),
    )
    server.then_events(("DELETED", thing("came", "21")), open_end=True)

    assert (await told(client, 10))[4:] == [
        ("MODIFIED", "changed", {"x": "2"}),
        ("ADDED", "came", {}),
        ("DELETED", "new", None),
        ("ADDED", "new", {}),
        ("DELETED", "gone", None),
        ("DELETED", "came", {}),
    ]


async def test_a_watch_may_be_refused_as_too_old_at_once(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "RELIST_SECONDS", 0.0)
    server.then_list("7")
    server.then(410, failure(410, "Expired", "too old"))
    server.then_list("20", thing("a", "8"))

    assert await told(client, 1) == [("ADDED", "a", {})]


async def test_a_link_that_is_dead_ends_the_watch(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "WATCH_SECONDS", 0)
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.2)
    server.then_list("7")
    server.then_events(open_end=True)
    with pytest.raises(UnavailableError):
        await told(client, 1)


async def test_a_long_list_is_read_in_pages(client: Client, server: Server) -> None:
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [thing("a", "1")]}
    server.then(200, page)
    server.then_list("7", thing("b", "2"))

    found = await client.list(CONFIG_MAP, "models")
    assert [obj["metadata"]["name"] for obj in found] == ["a", "b"]
    assert server.asked[0]["limit"] == "500"
    assert server.asked[1]["continue"] == "more"


@pytest.mark.parametrize(
    ("code", "reason", "kind", "ours"),
    [
        (400, "BadRequest", InvalidError, Reason.BAD_REQUEST),
        (401, "Unauthorized", DeniedError, Reason.UNAUTHENTICATED),
        (403, "Forbidden", DeniedError, Reason.FORBIDDEN),
        (404, "NotFound", NotFoundError, Reason.NOT_FOUND),
        (409, "AlreadyExists", ConflictError, Reason.ALREADY_EXISTS),
        (409, "Conflict", ConflictError, Reason.CONFLICT),
        (410, "Expired", ConflictError, Reason.EXPIRED),
        (413, "RequestEntityTooLarge", InvalidError, Reason.TOO_LARGE),
        (415, "UnsupportedMediaType", InvalidError, Reason.UNSUPPORTED_MEDIA_TYPE),
        (422, "Invalid", InvalidError, Reason.INVALID),
        (429, "TooManyRequests", UnavailableError, Reason.TOO_MANY),
        (500, "InternalError", UnavailableError, Reason.UNAVAILABLE),
        (500, "ServerTimeout", UnavailableError, Reason.TIMEOUT),
        (503, "ServiceUnavailable", UnavailableError, Reason.UNAVAILABLE),
        (504, "Timeout", UnavailableError, Reason.TIMEOUT),
    ],
)
async def test_a_refusal_is_one_of_ours(
    client: Client, server: Server, code: int, reason: str, kind: type[TowpathError], ours: Reason
) -> None:
    server.then(code, failure(code, reason, "no"))
    with pytest.raises(kind) as caught:
        await client.get(CONFIG_MAP, "a", "models")

    assert (caught.value.reason, caught.value.message) == (ours, "no")


async def test_a_refusal_keeps_its_details(client: Client, server: Server) -> None:
    cause = {"reason": "FieldValueInvalid", "message": "too small", "field": "spec.replicas"}
    server.then(422, failure(422, "Invalid", "no", name="a", kind="things", causes=[cause]))
    with pytest.raises(InvalidError) as caught:
        await client.create(CONFIG_MAP, cast(Object, thing("a", "")))

    assert vars(caught.value)["details"] == {"name": "a", "kind": "things", "causes": [cause]}


async def test_a_refusal_may_say_when_to_come_back(client: Client, server: Server) -> None:
    server.then(429, failure(429, "TooManyRequests", "slow down", retryAfterSeconds=7))
    with pytest.raises(UnavailableError) as caught:
        await client.get(CONFIG_MAP, "a", "models")

    assert caught.value.retry_after == 7


async def test_an_answer_of_something_in_between(client: Client, server: Server) -> None:
    async def proxy(_: Request) -> Response:
        return Response("<html>", 502)  # without a Content-Type

    server.answers.append(proxy)
    with pytest.raises(UnavailableError):
        await client.get(CONFIG_MAP, "a", "models")


async def test_a_token_is_read_anew_when_it_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    port = int(yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"].split(":")[2])
    write_kubeconfig(path, port, {"tokenFile": "token"})
    (tmp_path / "token").write_text("old")
    async with Client(path) as client:
        server.then(200, thing("a", "1"))
        await client.get(CONFIG_MAP, "a", "models")
        (tmp_path / "token").write_text("new")
        server.then(401, failure(401, "Unauthorized", "Unauthorized"))
        server.then(200, thing("a", "1"))
        await client.get(CONFIG_MAP, "a", "models")

    assert [one["authorization"] for one in server.headers] == [
        "Bearer old",
        "Bearer old",
        "Bearer new",
    ]
