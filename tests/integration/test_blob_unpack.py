"""Unpacking an image: every file or no folder, whatever the layers hold."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.blob.stream import Chunks
from towpath.blob.unpack import unpack
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.spec.names import Digest
from towpath.spec.oci import DOCKER_LAYER, INDEX, LAYER_TAR, LAYER_TAR_GZIP, MANIFEST

pytestmark = pytest.mark.anyio


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(f"models/{name}")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def image(layout: Layout, *layers: tuple[str, bytes]) -> Digest:
    async def flow(data: bytes) -> Chunks:
        yield data

    descriptors = []
    for media_type, data in (("config", b"{}"), *layers):
        upload = await layout.begin()
        await layout.append(upload, flow(data))
        blob = await layout.commit(upload, of_bytes(data))
        descriptors.append({**blob, "mediaType": media_type})
    document = {"schemaVersion": 2, "config": descriptors[0], "layers": descriptors[1:]}
    return (await layout.put_manifest(json.dumps(document).encode(), MANIFEST))["digest"]


async def test_plain_and_compressed_layers_lie_over_each_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    digest = await image(
        layout,
        (LAYER_TAR, archive(a=b"old", b=b"1")),
        (LAYER_TAR_GZIP, gzip.compress(archive(a=b"new"))),
        (DOCKER_LAYER, gzip.compress(archive(c=b"2"))),
    )
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "of a killed attempt").write_text("x")

    await unpack(layout, digest, tmp_path / "model")

    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == {
        "a": b"new",
        "b": b"1",
        "c": b"2",
    }


@pytest.mark.parametrize(
    "layer",
    [
        (LAYER_TAR_GZIP, gzip.compress(archive(a=b"x" * 5000))[:-200]),
        (LAYER_TAR_GZIP, archive(a=b"x")),
        (LAYER_TAR, gzip.compress(archive(a=b"x"))),
        ("application/vnd.oci.image.layer.v1.tar+zstd", archive(a=b"x")),
        (LAYER_TAR, bytes(1024)),
    ],
    ids=["cut off", "not compressed", "compressed", "unknown type", "empty"],
)
async def test_bad_layers_leave_no_folder(tmp_path: Path, layer: tuple[str, bytes]) -> None:
    layout = Layout(tmp_path / "layout")
    digest = await image(layout, layer)

    with pytest.raises(InvalidError):
        await unpack(layout, digest, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


async def test_a_bomb_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    bomb = gzip.compress(archive(a=bytes(100 * 1024 * 1024)))
    digest = await image(layout, (LAYER_TAR_GZIP, bomb))

    with pytest.raises(InvalidError) as caught:
        await unpack(layout, digest, tmp_path / "model")
    assert caught.value.reason is Reason.TOO_LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


async def test_the_bound_follows_what_is_stored_not_what_is_said(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    bomb = gzip.compress(archive(a=bytes(100 * 1024 * 1024)))
    document = json.loads(
        await layout.manifest(await image(layout, *[(LAYER_TAR_GZIP, bomb)] * 100))
    )
    document["layers"][0]["size"] = 2**50
    told = await layout.put_manifest(json.dumps(document).encode(), MANIFEST)

    with pytest.raises(InvalidError) as caught:
        await unpack(layout, told["digest"], tmp_path / "model")
    assert caught.value.reason is Reason.TOO_LARGE


def links(*members: tuple[str, str | None]) -> tuple[str, bytes]:
    """A layer of links, each to its target, and of folders, which have none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as file:
        for name, target in members:
            info = tarfile.TarInfo(f"models/{name}")
            info.type = tarfile.DIRTYPE if target is None else tarfile.SYMTYPE
            info.linkname = target or ""
            file.addfile(info)
    return LAYER_TAR, out.getvalue()


async def test_a_link_that_a_later_layer_turns_outwards(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    (tmp_path / "secret").write_text("not the model's")
    first = links(("c/d/e", None), ("b", "c/d/e"), ("model.onnx", "b/../../../secret"))
    turned = await image(
        layout, (LAYER_TAR, archive(a=b"x")), first, links((".wh.b", ""), ("b", None))
    )

    with pytest.raises(InvalidError):
        await unpack(layout, turned, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "secret"]


async def test_every_folder_lasts_before_the_model_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "layout")
    digest = await image(layout, (LAYER_TAR, archive(**{"a/b/c": b"x", "d": b"y"})))
    synced: list[Path] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())

    monkeypatch.setattr(os, "fsync", watched)
    await unpack(layout, digest, tmp_path / "model")

    part = tmp_path / ".model.part"
    assert {part, part / "a", part / "a/b", part / "a/b/c", part / "d"} < set(synced)
    assert synced[-1] == tmp_path


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    data = archive(a=b"x")
    digest = await image(layout, (LAYER_TAR, data))
    await layout.delete(of_bytes(data))

    with pytest.raises(NotFoundError) as caught:
        await unpack(layout, digest, tmp_path / "model")
    assert of_bytes(data) in caught.value.message
    with pytest.raises(NotFoundError):
        await unpack(layout, of_bytes(b"nothing"), tmp_path / "model")
    index = {"mediaType": INDEX, "digest": digest, "size": 1}
    nested = json.dumps({"schemaVersion": 2, "manifests": [index]}).encode()
    put = await layout.put_manifest(nested, INDEX)
    with pytest.raises(InvalidError):
        await unpack(layout, put["digest"], tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]
