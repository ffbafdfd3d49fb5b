"""What every store of files promises, whatever it lies on: one suite for all of them."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from towpath import blob, web
from towpath.blob import Reader, Writer
from towpath.blob.digest import of_bytes
from towpath.blob.memory import Memory
from towpath.blob.modelcar import push_model
from towpath.blob.oci import Client
from towpath.blob.stream import Chunks, closing
from towpath.distribution import app as distribution
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.spec.names import Digest

pytestmark = pytest.mark.anyio

FILES = {"a.bin": bytes(range(256)) * 9000, "b/ü.txt": b"text", "b/.hidden": b"h", "empty": b""}


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[int]:
    sock = web.listen("127.0.0.1", 0)
    port: int = sock.getsockname()[1]
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app, sock, drain=1))
        yield port
        tasks.cancel_scope.cancel()


@dataclass
class Place:
    """A store: where its files are, how they get there, and how many it can hold."""

    uri: str
    fill: Callable[[dict[str, bytes]], Awaitable[None]]

    def reader(self, path: str = "") -> Reader:
        return blob.reader(f"{self.uri}/{path}" if path else self.uri)


@asynccontextmanager
async def file_place(folder: Path) -> AsyncIterator[Place]:
    async def fill(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = folder / "store" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    yield Place(str(folder / "store"), fill)


@asynccontextmanager
async def memory_place(folder: Path) -> AsyncIterator[Place]:
    uri = f"memory://{folder.name}/store"

    async def fill(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            await blob.writer(uri).put(name, flow(data))

    yield Place(uri, fill)


@asynccontextmanager
async def http_place(folder: Path) -> AsyncIterator[Place]:
    async with (
        file_place(folder) as disk,
        serving(Starlette(routes=[Mount("/", StaticFiles(directory=folder))])) as port,
    ):
        yield Place(f"http://127.0.0.1:{port}/store", disk.fill)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One distribution for all tests here."""
    app = distribution(tmp_path_factory.mktemp("registry"))
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serving(app)) as port,
    ):
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def oci_place(registry: str) -> AsyncIterator[Place]:
    repository = f"store/{secrets.token_hex(6)}"

    async def fill(files: dict[str, bytes]) -> None:
        async with Client(registry) as client:
            await push_model(Memory(files), client, repository, "1")

    yield Place(f"oci://{registry}/{repository}:1", fill)


@pytest.fixture(params=[file_place, memory_place, oci_place])
async def folders(
    request: pytest.FixtureRequest, tmp_path: Path, registry: str
) -> AsyncIterator[Place]:
    """Stores whose URI names a folder."""
    async with request.param(registry if request.param is oci_place else tmp_path) as place:
        yield place


@pytest.fixture(params=[file_place, memory_place, http_place])
async def singles(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Stores whose URI can name one file."""
    async with request.param(tmp_path) as place:
        yield place


@pytest.fixture(params=[file_place, memory_place])
async def writable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Stores that can be written."""
    async with request.param(tmp_path) as place:
        yield place


async def flow(*chunks: bytes) -> Chunks:
    for chunk in chunks:
        yield chunk


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def content(place: Place) -> dict[str, bytes]:
    reader = place.reader()
    return {entry.path: await collect(reader.read(entry.path)) for entry in await reader.list()}


async def test_folder_lists_every_file_sorted(folders: Place) -> None:
    await folders.fill(FILES)

    entries = await folders.reader().list()

    assert [(name, len(FILES[name])) for name in sorted(FILES)] == [
        (entry.path, entry.size) for entry in entries
    ]
    assert all(entry.digest in (None, of_bytes(FILES[entry.path])) for entry in entries)


async def test_folder_reads_back(folders: Place) -> None:
    await folders.fill(FILES)

    assert await content(folders) == FILES


@pytest.mark.parametrize("offset", [1, 1_500_000, 256 * 9000, 10**9])
async def test_folder_reads_from_an_offset(folders: Place, offset: int) -> None:
    await folders.fill(FILES)

    assert await collect(folders.reader().read("a.bin", offset)) == FILES["a.bin"][offset:]


async def test_reading_may_stop_early(folders: Place) -> None:
    await folders.fill(FILES)
    chunks = folders.reader().read("a.bin")

    async with closing(chunks):
        first = await anext(chunks)
    assert FILES["a.bin"].startswith(first)


@pytest.mark.parametrize("path", ["gone", "b", "b/gone", "a.bi"])
async def test_what_is_not_there(folders: Place, path: str) -> None:
    await folders.fill(FILES)

    with pytest.raises((NotFoundError, InvalidError)) as caught:
        await collect(folders.reader().read(path))
    assert path in caught.value.message


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "b/../a.bin", ""])
async def test_reading_outside_is_refused(folders: Place, path: str) -> None:
    await folders.fill(FILES)

    with pytest.raises(InvalidError):
        await collect(folders.reader().read(path))


async def test_missing_source_is_named(folders: Place) -> None:
    with pytest.raises(NotFoundError) as caught:
        await folders.reader().list()
    assert "store" in caught.value.message


@pytest.mark.parametrize("name", sorted(FILES))
async def test_one_file(singles: Place, name: str) -> None:
    await singles.fill(FILES)
    reader = singles.reader(name.replace("ü", "%C3%BC") if "://" in singles.uri else name)

    (entry,) = await reader.list()

    assert (entry.path, entry.size) == (name.rsplit("/", 1)[-1], len(FILES[name]))
    assert await collect(reader.read(entry.path)) == FILES[name]
    assert await collect(reader.read(entry.path, 3)) == FILES[name][3:]
    with pytest.raises(NotFoundError):
        await collect(reader.read("other"))


async def test_one_file_that_is_missing(singles: Place) -> None:
    await singles.fill({"a": b"1"})

    with pytest.raises(NotFoundError) as caught:
        await singles.reader("gone.onnx").list()
    assert "gone.onnx" in caught.value.message


async def test_put_then_read(writable: Place) -> None:
    writer = blob.writer(writable.uri)

    for name, data in FILES.items():
        put = await writer.put(name, flow(data[:5], data[5:]), digest=of_bytes(data))
        assert (put["digest"], put["size"]) == (of_bytes(data), len(data))
    assert await content(writable) == FILES


async def test_put_replaces(writable: Place) -> None:
    writer = blob.writer(writable.uri)

    await writer.put("a", flow(b"a long old one"))
    await writer.put("a", flow(b"new"))

    assert await content(writable) == {"a": b"new"}


async def _put_wrong(writer: Writer, name: str) -> None:
    await writer.put(name, flow(b"other"), digest=of_bytes(b"promised"))


async def test_wrong_bytes_leave_nothing(writable: Place) -> None:
    writer = blob.writer(writable.uri)
    await writer.put("a", flow(b"old"))

    for name in ("a", "new/b"):
        with pytest.raises(InvalidError) as caught:
            await _put_wrong(writer, name)
        assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert await content(writable) == {"a": b"old"}


async def test_a_source_that_breaks_off_leaves_nothing(writable: Place) -> None:
    async def broken() -> Chunks:
        yield b"half"
        raise NotFoundError("gone")

    writer = blob.writer(writable.uri)
    await writer.put("a", flow(b"old"))

    with pytest.raises(NotFoundError):
        await writer.put("a", broken())
    assert await content(writable) == {"a": b"old"}


async def test_a_cancelled_put_leaves_nothing(writable: Place) -> None:
    async def endless() -> Chunks:
        yield b"half"
        scope.cancel()
        await anyio.sleep_forever()

    writer = blob.writer(writable.uri)
    await writer.put("a", flow(b"old"))

    with anyio.CancelScope() as scope:
        await writer.put("b", endless())
    assert scope.cancelled_caught
    assert await content(writable) == {"a": b"old"}


async def test_delete(writable: Place) -> None:
    writer = blob.writer(writable.uri)
    await writer.put("a", flow(b"1"))
    await writer.put("b", flow(b"2"))

    await writer.delete("a")
    await writer.delete("a")

    assert await content(writable) == {"b": b"2"}


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "a/../../x", ""])
async def test_writing_outside_is_refused(writable: Place, path: str) -> None:
    with pytest.raises(InvalidError):
        await blob.writer(writable.uri).put(path, flow(b"x"), digest=Digest("sha256:"))
    with pytest.raises(InvalidError):
        await blob.writer(writable.uri).delete(path)
