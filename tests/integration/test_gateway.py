"""The gateway over real HTTP: what passes through, what it says itself, and swaps under load."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx2
import pytest
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import web
from towpath.auth import Guard, Identity, Tokens
from towpath.edge.gateway import Gateway
from towpath.edge.routes import Route, Table

pytestmark = pytest.mark.anyio

TOKEN = "not-a-secret"


@dataclass
class Runtime:
    """A process behind the gateway that tells what it got."""

    name: str
    gate: anyio.Event | None = None
    started: int = 0
    cancelled: int = 0
    seen: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.seen.append(scope)
        self.started += 1
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.bodies.append(body)
        if self.gate is not None:
            await self._wait_for_gate(receive)
        answer = json.dumps({"from": self.name, "bytes": len(body)}).encode()
        headers = [(b"content-type", b"application/json"), (b"x-runtime", self.name.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (answer[:5], answer[5:]):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _wait_for_gate(self, receive: Receive) -> None:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                if (await receive())["type"] == "http.disconnect":
                    self.cancelled += 1
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            assert self.gate is not None
            await self.gate.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(*apps: ASGIApp) -> AsyncIterator[list[str]]:
    """Serve apps; gives their addresses."""
    socks = [web.listen("127.0.0.1", 0) for _ in apps]
    async with anyio.create_task_group() as tasks:
        for app, sock in zip(apps, socks, strict=True):
            await tasks.start(serve, app, sock)
        yield [f"127.0.0.1:{sock.getsockname()[1]}" for sock in socks]
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve one app; gives its address."""
    async with serving(app) as (address,):
        yield address


async def serve(app: ASGIApp, sock: socket.socket, *, task_status: object) -> None:
    await web.serve(app, sock, drain=1, task_status=task_status)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not holds():
            await anyio.sleep(0.005)


def route(name: str, upstream: str | None, namespace: str = "shop") -> Route:
    return Route(namespace, name, name, upstream)


def closed_port() -> str:
    with web.listen("127.0.0.1", 0) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
async def tasks() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


@dataclass
class Stand:
    gateway: Gateway
    client: httpx2.AsyncClient
    admin: httpx2.AsyncClient


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    gateway = Gateway()
    async with serving(gateway.public(), gateway.admin(TOKEN)) as (public, admin):
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(
                base_url=f"http://{public}", trust_env=False, timeout=20, limits=_MANY
            ) as client,
            httpx2.AsyncClient(
                base_url=f"http://{admin}", headers=bearer, trust_env=False, timeout=20
            ) as setter,
        ):
            yield Stand(gateway, client, setter)


_MANY = httpx2.Limits(max_connections=100)


async def test_bytes_pass_unchanged(stand: Stand) -> None:
    runtime = Runtime("r")
    async with served(runtime) as upstream:
        await stand.gateway.swap(Table([route("fraud", upstream)]))

        answer = await stand.client.post(
            "/v2/models/fraud/infer?a=%20b&c",
            content=b"\x00\x01 body",
            headers={
                "Inference-Header-Content-Length": "3",
                "Connection": "keep-alive, X-Private",
                "X-Private": "1",
                "TE": "trailers",
                "Expect": "100-continue",
                "Host": "fraud-shop.example.com",
            },
        )

        assert answer.json() == {"from": "r", "bytes": 7}
        assert answer.headers["x-runtime"] == "r"
        assert len(answer.headers.get_list("date")) == 1
        assert runtime.bodies == [b"\x00\x01 body"]
        (scope,) = runtime.seen
        assert (scope["method"], scope["path"]) == ("POST", "/v2/models/fraud/infer")
        assert scope["query_string"] == b"a=%20b&c"
        headers = dict(scope["headers"])
        assert headers[b"host"] == b"fraud-shop.example.com"
        assert headers[b"inference-header-content-length"] == b"3"
        assert headers[b"content-length"] == b"7"
        assert not {b"x-private", b"te", b"expect", b"transfer-encoding"} & set(headers)


async def test_bodies_of_every_size_and_framing(stand: Stand) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for at in range(0, size, 100_000):
            yield b"x" * min(100_000, size - at)

    async with served(Runtime("r")) as upstream:
        await stand.gateway.swap(Table([route("fraud", upstream)]))
        for size in (0, 10, 1024 * 1024, 5_000_000):
            for content in (b"x" * size, chunks(size)):
                answer = await stand.client.post("/v2/models/fraud/infer", content=content)

                assert answer.json() == {"from": "r", "bytes": size}
        assert stand.gateway.in_flight == {upstream: 0}


async def test_every_path_below_a_model_and_no_other(stand: Stand) -> None:
    runtime = Runtime("r")
    async with served(runtime) as upstream:
        await stand.gateway.swap(Table([route("fraud", upstream)]))
        paths = [
            "/v2/models/fraud",
            "/v2/models/fraud/versions/1/ready",
            "/v1/models/fraud",
            "/v1/models/fraud:predict",
        ]

        for path in paths:
            assert (await stand.client.get(path)).json()["from"] == "r"
        head = await stand.client.head("/v2/models/fraud/ready")

        assert (head.status_code, head.content) == (200, b"")
        assert [scope["path"] for scope in runtime.seen[:4]] == paths
        assert (await stand.client.get("/metrics")).status_code == 404
        assert (await stand.client.get("/routes")).status_code == 404


async def test_what_it_says_itself(stand: Stand) -> None:
    await stand.gateway.swap(Table([route("b", None), route("a", None), route("a", None, "x")]))

    assert (await stand.client.get("/v2")).json()["name"] == "towpath-gateway"
    assert (await stand.client.get("/v2/health/live")).json() == {"live": True}
    assert (await stand.client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await stand.client.get("/v2/models")).json() == {"models": ["a", "b"]}


async def test_host_then_name_then_an_error_in_the_protocols_shape(stand: Stand) -> None:
    async with serving(Runtime("one"), Runtime("two")) as (one, two):
        await stand.gateway.swap(
            Table([route("fraud", one), route("fraud", two, "bank"), route("idle", None)])
        )

        async def get(path: str, host: str = "127.0.0.1") -> httpx2.Response:
            return await stand.client.get(path, headers={"Host": host})

        assert (await get("/v2/models/fraud", "fraud-shop.local")).json()["from"] == "one"
        assert (await get("/v2/models/fraud", "fraud-bank:80")).json()["from"] == "two"
        ambiguous = await get("/v2/models/fraud")
        assert ambiguous.status_code == 409
        assert "bank/fraud or shop/fraud" in ambiguous.json()["error"]
        unknown = await get("/v2/models/cat/infer")
        assert unknown.status_code == 404
        assert "'cat'" in unknown.json()["error"]
        idle = await get("/v2/models/idle/infer")
        assert (idle.status_code, idle.headers["retry-after"]) == (503, "1")
        assert "shop/idle" in idle.json()["error"]


async def test_a_process_that_is_gone_is_a_503(stand: Stand) -> None:
    await stand.gateway.swap(Table([route("fraud", closed_port())]))

    answer = await stand.client.post("/v2/models/fraud/infer", content=b"{}")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "service shop/fraud cannot be reached now"}
    assert set(stand.gateway.in_flight.values()) == {0}


async def test_the_platforms_token_does_not_reach_a_runtime() -> None:
    runtime = Runtime("r")
    tokens = Tokens([("platform", Identity("me"))])
    gateway = Gateway()
    guarded = Guard(gateway.public(), tokens, lambda *_: True, web.inference_error)
    async with (
        served(runtime) as upstream,
        served(guarded) as public,
        httpx2.AsyncClient(base_url=f"http://{public}", trust_env=False) as client,
    ):
        await gateway.swap(Table([route("fraud", upstream)]))

        for token, status in (("platform", 200), ("wrong", 401)):
            bearer = {"Authorization": f"Bearer {token}"}
            answer = await client.get("/v2/models/fraud", headers=bearer)
            assert answer.status_code == status

    (scope,) = runtime.seen
    assert b"authorization" not in dict(scope["headers"])


async def test_a_client_that_goes_away_cancels_its_request(stand: Stand) -> None:
    runtime = Runtime("r", gate=anyio.Event())
    async with served(runtime) as upstream:
        await stand.gateway.swap(Table([route("fraud", upstream)]))

        with anyio.move_on_after(5) as patience:
            async with anyio.create_task_group() as tasks:

                async def leave() -> None:
                    await until(lambda: runtime.started == 1)
                    patience.cancel()

                tasks.start_soon(leave)
                await stand.client.post("/v2/models/fraud/infer", content=b"{}")

        await until(lambda: runtime.cancelled == 1)
        await until(lambda: stand.gateway.in_flight == {upstream: 0})


async def test_the_admin_side_needs_its_token(stand: Stand) -> None:
    for header in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        answer = await stand.admin.put("/routes", content=Table().dump(), headers=header)
        assert answer.status_code == 401


async def test_a_table_is_taken_whole_or_not_at_all(stand: Stand) -> None:
    good = Table([route("fraud", "127.0.0.1:1")])
    put = await stand.admin.put("/routes", content=good.dump())
    assert put.status_code == 200
    assert put.json()["inFlight"] == {"127.0.0.1:1": 0}

    bad = await stand.admin.put("/routes", content=b'{"routes": [{"name": "x"}]}')

    assert bad.status_code == 400
    assert "routes[0].namespace" in bad.json()["error"]
    shown = await stand.admin.get("/routes")
    assert Table.parse(shown.content).routes == good.routes


async def test_open_requests_stay_and_are_counted(stand: Stand, tasks: TaskGroup) -> None:
    old, new = Runtime("old", gate=anyio.Event()), Runtime("new")
    answers: list[str] = []

    async def ask() -> None:
        answer = await stand.client.post("/v2/models/fraud/infer", content=b"{}")
        answers.append(answer.json()["from"])

    async with serving(old, new) as (one, two):
        await stand.admin.put("/routes", content=Table([route("fraud", one)]).dump())
        for _ in range(3):
            tasks.start_soon(ask)
        await until(lambda: old.started == 3)

        put = await stand.admin.put("/routes", content=Table([route("fraud", two)]).dump())

        assert put.json()["inFlight"] == {two: 0, one: 3}
        await ask()
        assert answers == ["new"]
        assert old.gate is not None
        old.gate.set()
        await until(lambda: len(answers) == 4)
        assert answers[1:] == ["old"] * 3
        shown = await stand.admin.get("/routes")
        assert shown.json()["inFlight"] == {two: 0}


async def test_a_request_follows_its_route_when_the_old_process_dies(stand: Stand) -> None:
    """The old one takes the connection, reads the request, and is gone without a byte."""
    accepted, die = anyio.Event(), anyio.Event()

    async def dying(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            accepted.set()
            await die.wait()

    answers: list[httpx2.Response] = []

    async def ask() -> None:
        answers.append(await stand.client.post("/v2/models/fraud/infer", content=b"{}"))

    async with (
        served(Runtime("new")) as two,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, dying)
        one = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        await stand.gateway.swap(Table([route("fraud", one)]))
        tasks.start_soon(ask)
        await accepted.wait()
        await stand.gateway.swap(Table([route("fraud", two)]))
        die.set()
        await until(lambda: len(answers) == 1)
        tasks.cancel_scope.cancel()

    assert answers[0].json() == {"from": "new", "bytes": 2}


async def test_swaps_under_load_without_a_failed_request(stand: Stand, tasks: TaskGroup) -> None:
    """Sixteen clients never pause; each swap closes the old process once it has nothing open."""
    failures: list[str] = []
    answered: set[str] = set()
    count = 0
    stop = False

    async def load() -> None:
        nonlocal count
        while not stop:
            try:
                answer = await stand.client.post("/v2/models/fraud/infer", content=b"x" * 300)
                if answer.status_code == 200:
                    answered.add(answer.json()["from"])
                    count += 1
                else:
                    failures.append(answer.text)
            except httpx2.HTTPError as exc:
                failures.append(repr(exc))

    async def start(name: str) -> tuple[str, Callable[[], Awaitable[None]]]:
        """A runtime of its own life: its address, and what ends it."""
        ready, ended, scope = anyio.Event(), anyio.Event(), anyio.CancelScope()
        address = ""

        async def live() -> None:
            nonlocal address
            with scope:
                async with served(Runtime(name)) as address:
                    ready.set()
                    await anyio.sleep_forever()
            ended.set()

        async def end() -> None:
            scope.cancel()
            await ended.wait()

        tasks.start_soon(live)
        await ready.wait()
        return address, end

    old, end_old = await start("0")
    await stand.admin.put("/routes", content=Table([route("fraud", old)]).dump())
    for _ in range(16):
        tasks.start_soon(load)
    for turn in range(1, 8):
        before = count
        await until(lambda before=before: count > before + 50 or bool(failures))
        new, end_new = await start(str(turn))
        await stand.admin.put("/routes", content=Table([route("fraud", new)]).dump())
        with anyio.fail_after(10):
            while (await stand.admin.get("/routes")).json()["inFlight"].get(old):
                pass
        await end_old()
        old, end_old = new, end_new
    stop = True

    assert failures == []
    assert answered >= {str(turn) for turn in range(7)}
    await end_old()
