"""The client of OCI registries against ours and against the CNCF one: one suite for both."""

import hashlib
import json
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal

from towpath import blob, web
from towpath.blob import modelcar, reference
from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.blob.file import FileReader
from towpath.blob.memory import Memory
from towpath.blob.oci import Client
from towpath.blob.stream import Chunks
from towpath.blob.unpack import unpack
from towpath.distribution import app
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.settings import Blob
from towpath.spec.oci import INDEX, MANIFEST, Descriptor

pytestmark = pytest.mark.anyio

FILES = {
    "m.onnx": bytes(range(256)) * 12_000,
    "tokenizer/config.json": b"1",
    "encoder/config.json": b"2",
}


@dataclass
class Registry:
    """A running registry, where it keeps its files, and a repository of this test's own."""

    host: str
    folder: Path
    client: Client
    repository: str


@contextmanager
def ours(folder: Path, _: pytest.FixtureRequest) -> Iterator[str]:
    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        sock = web.listen("127.0.0.1", 0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(web.serve, app(folder), sock, drain=1))
            yield f"127.0.0.1:{sock.getsockname()[1]}"
            tasks.cancel_scope.cancel()

    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serving()) as host,
    ):
        yield host


@contextmanager
def cncf(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    binary: str = request.getfixturevalue("docker_registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    host = f"{address[0]}:{address[1]}"
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [binary, "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(address).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "docker-registry does not start"
                time.sleep(0.02)
        yield host
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module", params=[ours, cncf])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """One registry for all tests here: its host and its folder."""
    folder = tmp_path_factory.mktemp("registry")
    with request.param(folder, request) as host:
        yield host, folder


@pytest.fixture
async def registry(running: tuple[str, Path]) -> AsyncIterator[Registry]:
    """A client of the registry, and an empty repository."""
    host, folder = running
    async with Client(host, Blob(attempts=2)) as client:
        yield Registry(host, folder, client, f"team/r{secrets.token_hex(6)}")


def source(*chunks: bytes) -> Callable[[], Chunks]:
    async def flow() -> Chunks:
        for chunk in chunks:
            yield chunk

    return flow


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


class Sent:
    """Bytes that a model's files gave: what a push read from its source."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.inner = Memory(files)
        self.reads: list[str] = []

    async def list(self) -> list[blob.Entry]:
        return await self.inner.list()

    def read(self, path: str, offset: int = 0) -> Chunks:
        self.reads.append(path)
        return self.inner.read(path, offset)


@pytest.mark.parametrize("known", ["digest and size", "digest", "size", "nothing"])
async def test_push_and_read_a_blob(registry: Registry, known: str) -> None:
    data = FILES["m.onnx"]
    pushed = await registry.client.push(
        registry.repository,
        source(data[:1000], data[1000:]),
        digest=of_bytes(data) if "digest" in known else None,
        size=len(data) if "size" in known else None,
    )

    assert (pushed["digest"], pushed["size"]) == (of_bytes(data), len(data))
    assert await registry.client.stat(registry.repository, of_bytes(data)) == len(data)
    for offset in (0, 5, len(data) - 1, len(data)):
        found = await collect(registry.client.blob(registry.repository, pushed, offset))
        assert found == data[offset:]


async def test_a_known_blob_is_not_sent_again(registry: Registry) -> None:
    await registry.client.push(registry.repository, source(b"abc"))

    def never() -> Chunks:
        raise AssertionError("the source was read")

    pushed = await registry.client.push(registry.repository, never, digest=of_bytes(b"abc"), size=3)
    assert pushed["digest"] == of_bytes(b"abc")


async def test_blobs_that_are_not_there(registry: Registry) -> None:
    missing: Descriptor = {"mediaType": "x", "digest": of_bytes(b"missing"), "size": 7}

    assert await registry.client.stat(registry.repository, missing["digest"]) is None
    with pytest.raises(NotFoundError):
        await collect(registry.client.blob(registry.repository, missing))


async def test_a_source_that_changed_is_not_published(registry: Registry) -> None:
    promised = of_bytes(b"promised")
    with pytest.raises(ConflictError):
        await registry.client.push(registry.repository, source(b"changed!"), digest=promised)

    assert await registry.client.stat(registry.repository, promised) is None
    assert await registry.client.stat(registry.repository, of_bytes(b"changed!")) is None


async def test_mount(registry: Registry) -> None:
    client, one, two = registry.client, registry.repository, f"{registry.repository}/two"
    await client.push(one, source(b"abc"))

    assert await client.mount(two, of_bytes(b"abc"), one)
    assert await client.stat(two, of_bytes(b"abc")) == 3
    assert not await client.mount(two, of_bytes(b"other"), one)


async def test_manifests(registry: Registry) -> None:
    _, descriptor = await modelcar.push_model(
        Memory(FILES), registry.client, registry.repository, "1"
    )
    client = registry.client

    found, data = await client.manifest(registry.repository, "1")
    assert (found, of_bytes(data)) == (descriptor, descriptor["digest"])
    assert (await client.manifest(registry.repository, found["digest"]))[1] == data
    assert await client.resolve(registry.repository, "1") == descriptor
    assert await client.resolve(registry.repository, found["digest"]) == descriptor
    for gone in ("2", of_bytes(b"gone")):
        with pytest.raises(NotFoundError):
            await client.resolve(registry.repository, gone)
        with pytest.raises(NotFoundError):
            await client.manifest(registry.repository, gone)
    with pytest.raises(InvalidError):
        await client.put_manifest(registry.repository, "2", b"no json", MANIFEST)


async def test_a_manifest_needs_its_blobs(registry: Registry) -> None:
    config = {"mediaType": "x", "digest": of_bytes(b"nowhere"), "size": 7}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}

    with pytest.raises((InvalidError, NotFoundError)) as caught:
        await registry.client.put_manifest(
            registry.repository, "1", json.dumps(manifest).encode(), MANIFEST
        )
    assert "MANIFEST_BLOB_UNKNOWN" in caught.value.message


async def test_push_twice_is_the_same_image_and_sends_nothing(registry: Registry) -> None:
    told: list[tuple[int, int]] = []
    first, second = Sent(FILES), Sent(FILES)

    one = await modelcar.push_model(first, registry.client, registry.repository, "1")
    two = await modelcar.push_model(
        second, registry.client, registry.repository, "1", progress=lambda *done: told.append(done)
    )

    assert one == two
    assert one[0] == f"{registry.host}/{registry.repository}@{one[1]['digest']}"
    assert sorted(first.reads) == sorted([*FILES, *FILES])
    assert sorted(second.reads) == sorted(FILES)
    assert told[-1] == (sum(map(len, FILES.values())),) * 2


async def test_the_digest_is_for_good(registry: Registry) -> None:
    """Changing how images are built ships every model of every user again."""
    _, image = await modelcar.push_model(
        Memory({"m.onnx": b"weights", "c.json": b"{}"}),
        registry.client,
        registry.repository,
        "1",
        annotations={"org.opencontainers.image.title": "fraud"},
    )
    assert image["digest"] == (
        "sha256:403030cc78f3b7988506b0f28177dfef228e71eb39c407901987990d32fd632e"
    )


async def test_a_changed_file_sends_one_layer(registry: Registry) -> None:
    await modelcar.push_model(Memory(FILES), registry.client, registry.repository, "1")
    changed = Sent({**FILES, "encoder/config.json": b"3"})

    await modelcar.push_model(changed, registry.client, registry.repository, "2")

    assert changed.reads.count("encoder/config.json") == 2
    assert len(changed.reads) == len(FILES) + 1


async def test_an_empty_model_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidError):
        await modelcar.push_model(Memory({}), registry.client, registry.repository, "1")
    with pytest.raises(NotFoundError):
        await registry.client.resolve(registry.repository, "1")


async def test_pull_and_unpack(registry: Registry, tmp_path: Path) -> None:
    ref, image = await modelcar.push_model(Memory(FILES), registry.client, registry.repository, "1")
    layout = Layout(tmp_path / "edge")

    pulled = await modelcar.pull(registry.client, reference.parse(ref), layout)
    await unpack(layout, pulled["digest"], tmp_path / "model")
    await unpack(layout, pulled["digest"], tmp_path / "model")

    assert pulled == image
    found = FileReader(tmp_path / "model")
    assert {e.path: await collect(found.read(e.path)) for e in await found.list()} == FILES


async def test_pull_by_tag_and_of_an_index(registry: Registry, tmp_path: Path) -> None:
    _, image = await modelcar.push_model(Memory(FILES), registry.client, registry.repository, "1")
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}).encode()
    await registry.client.put_manifest(registry.repository, "multi", index, INDEX)
    layout = Layout(tmp_path / "edge")

    ref = reference.parse(f"oci://{registry.host}/{registry.repository}:multi")
    pulled = await modelcar.pull(registry.client, ref, layout)
    await unpack(layout, pulled["digest"], tmp_path / "model")

    assert await layout.tags() == ["multi"]
    assert pulled["digest"] == of_bytes(index)
    assert (tmp_path / "model/m.onnx").read_bytes() == FILES["m.onnx"]


@pytest.mark.parametrize("left", ["good", "bad", "too long"])
async def test_a_pull_goes_on_where_one_was_killed(
    registry: Registry, tmp_path: Path, left: str
) -> None:
    ref, _ = await modelcar.push_model(Memory(FILES), registry.client, registry.repository, "1")
    _, data = await registry.client.manifest(registry.repository, "1")
    layer = max(json.loads(data)["layers"], key=lambda entry: entry["size"])
    whole = await collect(registry.client.blob(registry.repository, layer))
    begun = {"good": whole[:1_000_000], "bad": b"x" * 1000, "too long": whole + b"x"}[left]
    layout = Layout(tmp_path / "edge")
    await layout.append(await layout.begin(layer["digest"]), source(begun)())

    again = Layout(tmp_path / "edge")
    await modelcar.pull(registry.client, reference.parse(ref), again)

    assert again.file(layer["digest"]).read_bytes() == whole
    assert list((tmp_path / "edge/.uploads").iterdir()) == []


async def test_a_damaged_blob_is_not_pulled(registry: Registry, tmp_path: Path) -> None:
    files = {"m.onnx": secrets.token_bytes(1_234_567)}
    ref, _ = await modelcar.push_model(Memory(files), registry.client, registry.repository, "1")
    _, data = await registry.client.manifest(registry.repository, "1")
    (layer,) = json.loads(data)["layers"]
    hexes = layer["digest"].removeprefix("sha256:")
    stored = [
        path
        for path in registry.folder.rglob("*")
        if path.is_file() and path.stat().st_size == layer["size"]
    ]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in stored] == [hexes]
    with stored[0].open("r+b") as file:
        file.seek(700_000)
        file.write(b"damage")
    layout = Layout(tmp_path / "edge")

    with pytest.raises(InvalidError):
        await modelcar.pull(registry.client, reference.parse(ref), layout)
    assert not await layout.has(layer["digest"])
    with pytest.raises(NotFoundError):
        await layout.resolve(reference.parse(ref).target)


async def test_an_image_is_a_source(registry: Registry) -> None:
    await modelcar.push_model(Memory(FILES), registry.client, registry.repository, "1")
    reader = blob.reader(f"oci://{registry.host}/{registry.repository}:1")

    assert [entry.path for entry in await reader.list()] == sorted(FILES)
    assert await collect(reader.read("m.onnx")) == FILES["m.onnx"]


async def test_concurrent_pushes_of_the_same_model(registry: Registry) -> None:
    async with anyio.create_task_group() as tasks:
        for tag in ("a", "b", "c"):
            tasks.start_soon(
                modelcar.push_model, Memory(FILES), registry.client, registry.repository, tag
            )

    digests = {(await registry.client.resolve(registry.repository, t))["digest"] for t in "abc"}
    assert len(digests) == 1
    async with httpx2.AsyncClient(trust_env=False) as http:
        tags = (await http.get(f"http://{registry.host}/v2/{registry.repository}/tags/list")).json()
    assert sorted(tags["tags"]) == ["a", "b", "c"]
