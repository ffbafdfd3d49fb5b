"""Images brought to an edge: the model's files stay, whatever they came in goes."""

import io
import json
import tarfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from towpath import edge, web
from towpath.blob import modelcar, reference
from towpath.blob.cas import Layout
from towpath.blob.memory import Memory
from towpath.blob.oci import Client
from towpath.blob.stream import Chunks
from towpath.blob.unpack import unpack
from towpath.distribution import app
from towpath.settings import Blob
from towpath.spec.names import ImageRef
from towpath.spec.oci import INDEX, LAYER_TAR, MANIFEST, Descriptor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a fresh registry."""
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app(tmp_path / "registry"), sock, drain=1))
        async with Client(f"127.0.0.1:{sock.getsockname()[1]}") as connected:
            yield connected
        tasks.cancel_scope.cancel()


def left(served: Path) -> list[Path]:
    """What still lies where images pass through."""
    folders = (served / ".incoming/blobs/sha256", served / ".incoming/.uploads")
    return [path for folder in folders for path in folder.iterdir()]


def at(client: Client, image: Descriptor) -> ImageRef:
    return reference.Reference(client.registry, "x").at(image["digest"])


async def pushed(client: Client, data: bytes, media_type: str) -> Descriptor:
    async def source() -> Chunks:
        yield data

    return {**await client.push("x", source), "mediaType": media_type}


async def test_an_image_that_names_one_layer_twice(client: Client, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as file:
        info = tarfile.TarInfo("models/m")
        info.size = 1
        file.addfile(info, io.BytesIO(b"1"))
    layer = await pushed(client, out.getvalue(), LAYER_TAR)
    config = await pushed(client, b"{}", "application/json")
    document = {"schemaVersion": 2, "config": config, "layers": [layer, layer]}
    image = await client.put_manifest("x", "1", json.dumps(document).encode(), MANIFEST)
    models = edge.Models(tmp_path / "served", Blob())

    await models.fetch(at(client, image))

    folder = models.folder(image["digest"])
    assert folder is not None
    assert (folder / "m").read_bytes() == b"1"
    assert left(tmp_path / "served") == []


@pytest.mark.parametrize("kind", ["manifest", "index"])
@pytest.mark.parametrize("freed", [0, 1, 2])
async def test_what_a_killed_fetch_left_is_swept(
    client: Client, tmp_path: Path, kind: str, freed: int
) -> None:
    served = tmp_path / "served"
    ref, image = await modelcar.push_model(Memory({"m": b"1"}), client, "x", "1")
    _, other = await modelcar.push_model(Memory({"m": b"2"}), client, "x", "2")
    if kind == "index":
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}
        image = await client.put_manifest("x", "i", json.dumps(document).encode(), INDEX)
        ref = at(client, image)
    incoming = Layout(served / ".incoming")
    await modelcar.pull(client, reference.parse(ref), incoming)
    await unpack(incoming, image["digest"], served / image["digest"].replace(":", "-"))
    kept = {entry["digest"] for entry in await incoming.manifests()}
    blobs = [path for path in left(served) if f"sha256:{path.name}" not in kept]
    for blob in blobs[:freed]:
        blob.unlink()
    assert len(left(served)) == len(blobs) + len(kept) - freed

    await edge.Models(served, Blob()).fetch(at(client, other))

    assert left(served) == []
    assert await incoming.manifests() == []
    assert len(list(served.glob("sha256-*/m"))) == 2


async def test_an_image_that_is_here_is_not_asked_for(tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    here = tmp_path / digest.replace(":", "-")
    here.mkdir()

    await edge.Models(tmp_path, Blob()).fetch(ImageRef(f"127.0.0.1:1/x@{digest}"))

    assert list(tmp_path.iterdir()) == [here]
