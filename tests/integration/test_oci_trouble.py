"""The registry client against a registry that is busy, cuts connections, or sends it elsewhere."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from towpath import web
from towpath.auth import Guard, Identity, Tokens
from towpath.blob import modelcar, reference
from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.blob.memory import Memory
from towpath.blob.oci import Basic, Bearer, Client
from towpath.blob.stream import Chunks
from towpath.distribution import app
from towpath.errors import DeniedError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.settings import Blob

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 8000
Answer = tuple[int, dict[str, str], bytes]


class Trouble:
    """Middleware: answers what ``rule`` says, else passes on; cuts bodies after ``cut`` bytes."""

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner
        self.rule: Callable[[str, str], Answer | None] = lambda _method, _path: None
        self.cut: int | None = None
        self.seen: list[tuple[str, str]] = []
        self.authorizations: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        self.seen.append((scope["method"], scope["path"]))
        headers = dict(scope["headers"])
        self.authorizations.append(headers.get(b"authorization", b"").decode())
        answer = self.rule(scope["method"], scope["path"])
        if answer is not None:
            status, lines, body = answer
            raw = [(k.encode(), v.encode()) for k, v in lines.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})
            return
        await self.inner(scope, receive, partial(self._send, send, [0]))

    async def _send(self, send: Send, sent: list[int], message: Message) -> None:
        body = message.get("body", b"")
        if self.cut is not None and sent[0] + len(body) > self.cut:
            await send({**message, "body": body[: self.cut - sent[0]], "more_body": True})
            raise ConnectionAbortedError("cut on purpose")
        sent[0] += len(body)
        await send(message)


@asynccontextmanager
async def served(inner: ASGIApp) -> AsyncIterator[str]:
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, inner, sock, drain=1))
        yield f"127.0.0.1:{sock.getsockname()[1]}"
        tasks.cancel_scope.cancel()


@pytest.fixture
async def trouble(tmp_path: Path) -> AsyncIterator[tuple[Trouble, Client]]:
    """A registry that can be made to misbehave, and a client of it."""
    troubled = Trouble(app(tmp_path / "registry"))
    async with served(troubled) as host, Client(host, Blob(attempts=3)) as client:
        yield troubled, client


def first(count: int, answer: Answer, **match: str) -> Callable[[str, str], Answer | None]:
    """A rule that answers so the first times."""
    left = [count]

    def rule(method: str, path: str) -> Answer | None:
        if (
            match.get("method", method) != method
            or match.get("path", "") not in path
            or not left[0]
        ):
            return None
        left[0] -= 1
        return answer

    return rule


BUSY: Answer = (503, {"Retry-After": "0"}, b"")


async def flow(data: bytes) -> Chunks:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "HEAD"])
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_registry_is_asked_again(
    trouble: tuple[Trouble, Client], tmp_path: Path, method: str, status: int
) -> None:
    registry, client = trouble
    registry.rule = first(2, (status, {"Retry-After": "0"}, b""), method=method)

    _, image = await modelcar.push_model(Memory({"m": DATA}), client, "x", "1")

    assert (await client.resolve("x", "1"))["digest"] == image["digest"]
    assert list((tmp_path / "registry/x/.uploads").iterdir()) == []


async def test_a_registry_that_stays_busy(trouble: tuple[Trouble, Client]) -> None:
    registry, client = trouble
    registry.rule = first(99, BUSY)

    with pytest.raises(UnavailableError):
        await client.resolve("x", "1")
    assert len(registry.seen) == 3


async def test_what_cannot_pass_is_not_repeated(trouble: tuple[Trouble, Client]) -> None:
    registry, client = trouble
    body = json.dumps({"errors": [{"code": "DENIED", "message": "quota"}]}).encode()

    for status, kind in ((403, DeniedError), (404, NotFoundError), (413, InvalidError)):
        registry.seen.clear()
        registry.rule = first(9, (status, {}, body), method="POST")
        with pytest.raises(kind) as caught:
            await client.push("x", lambda: flow(DATA))
        assert "DENIED quota" in caught.value.message
        assert [m for m, _ in registry.seen] == ["POST"]
    registry.rule = first(9, (507, {}, b""), method="PATCH")
    with pytest.raises(UnavailableError) as full:
        await client.push("x", lambda: flow(DATA))
    assert full.value.reason is Reason.NO_SPACE


async def test_a_lost_upload_session_begins_anew(trouble: tuple[Trouble, Client]) -> None:
    registry, client = trouble
    registry.rule = first(1, BUSY, method="PUT", path="/uploads/")

    pushed = await client.push("x", lambda: flow(DATA))

    assert await client.stat("x", pushed["digest"]) == len(DATA)
    assert [m for m, _ in registry.seen].count("PATCH") == 2


@pytest.mark.parametrize("cut", [len(DATA) // 3, len(DATA) - 1])
async def test_a_pull_that_is_cut_goes_on(
    trouble: tuple[Trouble, Client], tmp_path: Path, cut: int
) -> None:
    registry, client = trouble
    ref, _ = await modelcar.push_model(Memory({"m": DATA}), client, "x", "1")
    registry.cut = cut

    layout = Layout(tmp_path / "edge")
    pulled = await modelcar.pull(client, reference.parse(ref), layout)

    assert await layout.resolve(pulled["digest"]) == pulled


@pytest.mark.parametrize("times", [1, 99])
async def test_a_range_with_more_than_was_promised(
    trouble: tuple[Trouble, Client], tmp_path: Path, times: int
) -> None:
    """One more try from the beginning, not one after the other."""
    registry, client = trouble
    ref, image = await modelcar.push_model(Memory({"m": DATA}), client, "x", "1")
    (layer,) = json.loads((await client.manifest("x", "1"))[1])["layers"]
    whole = await collect(client.blob("x", layer))
    layout = Layout(tmp_path / "edge")
    await layout.append(await layout.begin(layer["digest"]), flow(whole[:-10]))
    span = f"bytes {len(whole) - 10}-{len(whole) + 89}/{len(whole)}"
    registry.rule = first(times, (206, {"Content-Range": span}, b"x" * 100), path=layer["digest"])
    registry.seen.clear()

    if times == 1:
        await modelcar.pull(client, reference.parse(ref), layout)
        assert await layout.resolve(image["digest"]) == image
        assert layout.file(layer["digest"]).read_bytes() == whole
    else:
        with pytest.raises(InvalidError):
            await modelcar.pull(client, reference.parse(ref), layout)
        assert not await layout.has(layer["digest"])
    assert [path.rpartition("/")[2] for _, path in registry.seen].count(layer["digest"]) == 2


async def test_a_push_that_is_cancelled_leaves_no_upload(
    trouble: tuple[Trouble, Client], tmp_path: Path
) -> None:
    _, client = trouble
    uploads = tmp_path / "registry/x/.uploads"
    begun = anyio.Event()

    async def endless() -> Chunks:
        while True:
            yield DATA
            begun.set()
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(client.push, "x", endless))
        await begun.wait()
        assert len(list(uploads.iterdir())) == 1
        tasks.cancel_scope.cancel()

    assert list(uploads.iterdir()) == []


async def test_another_manifest_than_asked_for(trouble: tuple[Trouble, Client]) -> None:
    registry, client = trouble
    _, image = await modelcar.push_model(Memory({"m": DATA}), client, "x", "1")
    registry.rule = first(9, (200, {"Docker-Content-Digest": of_bytes(b"")}, b"{}"), path="/manif")

    for name in (image["digest"], "1"):
        with pytest.raises(InvalidError) as caught:
            await client.manifest("x", name)
        assert caught.value.reason is Reason.DIGEST_MISMATCH


async def test_an_endless_manifest(trouble: tuple[Trouble, Client]) -> None:
    registry, client = trouble
    registry.rule = first(9, (200, {}, b" " * (5 * 1024 * 1024)))

    with pytest.raises(InvalidError) as caught:
        await client.manifest("x", "1")
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("credentials", [Bearer("hunter2"), Basic("me", "hunter2")])
async def test_credentials(tmp_path: Path, credentials: Any) -> None:
    guarded = Trouble(
        Guard(
            app(tmp_path / "registry"),
            Tokens([("hunter2", Identity("me"))]),
            lambda caller, _scope: not caller.anonymous,
            web.oci_errors,
        )
    )
    async with served(guarded) as host, served(other := Trouble(app(tmp_path / "other"))) as away:
        async with Client(host, credentials=credentials) as client:
            _, image = await modelcar.push_model(Memory({"m": DATA}), client, "x", "1")
            guarded.rule = first(1, (307, {"Location": f"http://{away}/v2/x/blobs/1"}, b""))
            with pytest.raises((InvalidError, NotFoundError)):
                await client.manifest("x", image["digest"])
        async with Client(host) as nobody:
            with pytest.raises(DeniedError) as caught:
                await nobody.resolve("x", "1")
        async with Client(host, credentials=Bearer("wrong")) as wrong:
            with pytest.raises(DeniedError):
                await modelcar.push_model(Memory({"m": DATA}), wrong, "x", "1")

    assert caught.value.reason is Reason.UNAUTHENTICATED
    assert "hunter2" not in repr(credentials)
    assert len(other.seen) == 1
    assert other.authorizations == [""]


@pytest.mark.parametrize("name", ["", "a b", "host:port", "http://x"])
def test_a_registry_must_be_a_host(name: str) -> None:
    with pytest.raises(InvalidError):
        Client(name)
