"""The http reader against a server that misbehaves on purpose."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import SocketStream

from towpath import blob
from towpath.blob import Reader
from towpath.blob.stream import Chunks
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    TowpathError,
    UnavailableError,
)
from towpath.settings import Blob

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 2000


@dataclass
class Origin:
    """A file server in thirty lines, so that it can fail in the middle of an answer.

    Attributes:
        cut: Bytes after which every body is cut off; None never.
        head: Status of HEAD instead of the right one.
        statuses: Answers before the right ones, first to last.
        extra: Header lines of every answer.
        seen: Requests: method, target and Range.
    """

    data: bytes = DATA
    etag: str = '"v1"'
    ranges: bool = True
    declare: bool = True
    cut: int | None = None
    head: int | None = None
    statuses: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    authorization: str = ""

    async def handle(self, stream: SocketStream) -> None:
        async with stream:
            text = b""
            while b"\r\n\r\n" not in text:
                text += await stream.receive()
            request = text.decode()
            method, target, _ = request.split(" ", 2)
            span = re.search(r"(?im)^range: (.*)\r$", request)
            self.authorization = "".join(re.findall(r"(?im)^authorization: (.*)\r$", request))
            self.seen.append((method, target, span.group(1) if span else ""))
            await stream.send(self.answer(method, span.group(1) if span else "", request))

    def answer(self, method: str, span: str, request: str) -> bytes:
        if self.statuses:
            return f"HTTP/1.1 {self.statuses.pop(0)}\r\nContent-Length: 0\r\n\r\n".encode()
        if method == "HEAD" and self.head:
            return f"HTTP/1.1 {self.head} No\r\nContent-Length: 0\r\n\r\n".encode()
        status, body, lines = "200 OK", self.data, [*self.extra, "Connection: close"]
        condition = re.search(r"(?im)^if-range: (.*)\r$", request)
        if span and self.ranges and (condition is None or condition.group(1) == self.etag):
            first, _, last = span.removeprefix("bytes=").partition("-")
            body = body[int(first) : int(last) + 1 if last else None]
            status = "206 Partial Content"
            end = int(first) + len(body) - 1
            lines.append(f"Content-Range: bytes {first}-{end}/{len(self.data)}")
        if self.etag:
            lines.append(f"ETag: {self.etag}")
        if self.declare:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()
        return head if method == "HEAD" else head + body[: self.cut]


@asynccontextmanager
async def served(origin: Origin, path: str = "/m.onnx") -> AsyncIterator[Reader]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, origin.handle)
        yield blob.reader(f"http://127.0.0.1:{port}{path}", Blob(attempts=2, timeout_seconds=2))
        tasks.cancel_scope.cancel()


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def fetched(reader: Reader) -> bytes:
    (entry,) = await reader.list()
    assert entry.size == len(DATA)
    return await collect(reader.read(entry.path))


@pytest.mark.parametrize("cut", [len(DATA) // 3, len(DATA) - 1])
async def test_a_dropped_connection_is_resumed_by_range(cut: int) -> None:
    origin = Origin(cut=cut)
    async with served(origin) as reader:
        assert await fetched(reader) == DATA
    assert [span for _, _, span in origin.seen[:3]] == ["", "", f"bytes={cut}-"]


async def test_without_ranges_the_beginning_is_read_again() -> None:
    origin = Origin(ranges=False, cut=len(DATA) // 2)
    async with served(origin) as reader:
        await reader.list()
        chunks = reader.read("m.onnx")
        first = await anext(chunks)
        origin.cut = None
        assert first + await collect(chunks) == DATA


async def test_without_ranges_and_without_progress_it_ends() -> None:
    async with served(Origin(ranges=False, cut=1000)) as reader:
        with pytest.raises(UnavailableError):
            await fetched(reader)


async def test_without_ranges_and_etag_it_is_refused() -> None:
    async with served(Origin(ranges=False, etag="", cut=1000)) as reader:
        with pytest.raises(InvalidError):
            await fetched(reader)


@pytest.mark.parametrize(
    "change",
    [{"etag": '"v2"'}, {"etag": '"v2"', "ranges": False}, {"data": DATA + b"x", "etag": ""}],
)
async def test_a_file_that_changed_is_refused(change: dict[str, object]) -> None:
    origin = Origin(cut=1000)
    async with served(origin) as reader:
        await reader.list()
        chunks = reader.read("m.onnx")
        await anext(chunks)
        for name, value in change.items():
            setattr(origin, name, value)
        with pytest.raises(ConflictError):
            await collect(chunks)


async def test_a_file_that_changed_after_the_list_is_refused() -> None:
    origin = Origin()
    async with served(origin) as reader:
        await reader.list()
        origin.etag = '"v2"'
        with pytest.raises(ConflictError):
            await collect(reader.read("m.onnx"))


@pytest.mark.parametrize("status", ["429 Slow\r\nRetry-After: 0", "503 No\r\nRetry-After: 0"])
async def test_busy_servers_are_asked_again(status: str) -> None:
    origin = Origin(statuses=[status])
    async with served(origin) as reader:
        assert await fetched(reader) == DATA
    origin.statuses = [status, status]
    async with served(origin) as reader:
        with pytest.raises(UnavailableError):
            await reader.list()


@pytest.mark.parametrize("head", [403, 405, 501])
async def test_servers_without_head(head: int) -> None:
    async with served(Origin(head=head)) as reader:
        assert await fetched(reader) == DATA
    async with served(Origin(head=head, ranges=False)) as reader:
        assert await fetched(reader) == DATA


async def test_an_unknown_length_is_refused() -> None:
    async with served(Origin(declare=False, ranges=False)) as reader:
        with pytest.raises(InvalidError) as caught:
            await reader.list()
    assert "length" in caught.value.message


async def test_more_than_told_is_refused() -> None:
    origin = Origin(etag="")
    async with served(origin) as reader:
        await reader.list()
        origin.data += b"more"
        origin.declare = False
        with pytest.raises(InvalidError):
            await collect(reader.read("m.onnx"))


async def test_content_encoding_is_refused() -> None:
    async with served(Origin(extra=["Content-Encoding: gzip"])) as reader:
        with pytest.raises(InvalidError) as caught:
            await reader.list()
    assert "gzip" in caught.value.message


async def test_redirects_are_followed_and_bounded() -> None:
    origin = Origin(statuses=["302 Found\r\nLocation: /other"])
    async with served(origin) as reader:
        assert [entry.path for entry in await reader.list()] == ["m.onnx"]
    assert [target for _, target, _ in origin.seen] == ["/m.onnx", "/other"]
    origin.statuses = ["302 Found\r\nLocation: /other"] * 9
    async with served(origin) as reader:
        with pytest.raises(InvalidError):
            await reader.list()
    origin.statuses = ["302 Found\r\nLocation: file:///etc/passwd"]
    async with served(origin) as reader:
        with pytest.raises(InvalidError):
            await reader.list()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 No", DeniedError),
        ("404 No", NotFoundError),
        ("410 Gone", NotFoundError),
        ("418 Teapot", InvalidError),
    ],
)
async def test_refusals_name_the_place_without_its_secrets(
    status: str, kind: type[TowpathError]
) -> None:
    origin = Origin(statuses=[status])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, origin.handle)
        reader = blob.reader(f"http://user:hunter2@127.0.0.1:{port}/m.onnx?sig=hunter3")
        with pytest.raises(kind) as caught:
            await reader.list()
        tasks.cancel_scope.cancel()
    assert "hunter" not in caught.value.message
    assert f"127.0.0.1:{port}/m.onnx" in caught.value.message
    assert origin.authorization.startswith("Basic ")


async def test_nobody_answers() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()

    with pytest.raises(UnavailableError):
        await blob.reader(f"http://127.0.0.1:{port}/m", Blob(attempts=1)).list()


async def test_a_silent_server_is_not_waited_for() -> None:
    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, silent)
        settings = Blob(attempts=1, timeout_seconds=0.2)
        with pytest.raises(UnavailableError):
            await blob.reader(f"http://127.0.0.1:{port}/m", settings).list()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["", "/", "/folder/", "/a%2fb", "/.."])
async def test_a_url_that_names_no_file(path: str) -> None:
    with pytest.raises(InvalidError):
        await blob.reader(f"http://127.0.0.1:1{path}").list()
