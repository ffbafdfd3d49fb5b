"""The content-addressed store: uploads, restarts, tags, hard links, full disks."""

import json
import os
import resource
import signal
from functools import partial
from pathlib import Path

import anyio
import pytest

from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.blob.stream import Chunks
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.spec.oci import INDEX, MANIFEST

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 5000
DIGEST = of_bytes(DATA)


async def flow(*chunks: bytes) -> Chunks:
    for chunk in chunks:
        yield chunk


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def put(layout: Layout, data: bytes = DATA) -> None:
    upload = await layout.begin()
    await layout.append(upload, flow(data))
    await layout.commit(upload, of_bytes(data))


def unfinished(layout: Layout) -> list[str]:
    return sorted(path.name for path in (layout.path / ".uploads").iterdir())


async def test_upload_in_pieces(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "l")
    upload = await layout.begin()

    assert await layout.append(upload, flow(DATA[:10], DATA[10:400]), 0) == 400
    assert await layout.offset(upload) == 400
    assert not await layout.has(DIGEST)
    assert await layout.append(upload, flow(DATA[400:]), 400) == len(DATA)
    committed = await layout.commit(upload, DIGEST, len(DATA))

    assert (committed["digest"], committed["size"]) == (DIGEST, len(DATA))
    assert await layout.stat(DIGEST) == len(DATA)
    assert await collect(layout.open(DIGEST)) == DATA
    assert await collect(layout.open(DIGEST, 1000, 5)) == DATA[1000:1005]
    assert (tmp_path / "l/blobs/sha256" / DIGEST[7:]).read_bytes() == DATA
    assert unfinished(layout) == []
    with pytest.raises(NotFoundError):
        await layout.offset(upload)


async def test_upload_survives_a_restart(tmp_path: Path) -> None:
    upload = await Layout(tmp_path).begin(DIGEST)
    await Layout(tmp_path).append(upload, flow(DATA[:100_000]))

    again = Layout(tmp_path)
    assert await again.begin(DIGEST) == upload
    assert await again.offset(upload) == 100_000
    await again.append(upload, flow(DATA[100_000:]), 100_000)
    await again.commit(upload, DIGEST)
    assert await collect(again.open(DIGEST)) == DATA


async def test_what_came_before_a_break_stays(tmp_path: Path) -> None:
    async def broken() -> Chunks:
        yield DATA[:5]
        raise UnavailableError("dropped")

    layout = Layout(tmp_path)
    upload = await layout.begin()

    with pytest.raises(UnavailableError):
        await layout.append(upload, broken())
    assert await layout.offset(upload) == 5
    await layout.append(upload, flow(DATA[5:]), 5)
    await layout.commit(upload, DIGEST)


async def test_wrong_offset_and_wrong_digest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    upload = await layout.begin()
    await layout.append(upload, flow(b"abc"))

    for offset in (0, 2, 4):
        with pytest.raises(InvalidError) as caught:
            await layout.append(upload, flow(b"d"), offset)
        assert caught.value.reason is Reason.RANGE_NOT_SATISFIABLE
    with pytest.raises(InvalidError) as caught:
        await layout.commit(upload, DIGEST)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert unfinished(layout) == []
    assert not await layout.has(DIGEST)


async def test_two_writers_of_one_upload(tmp_path: Path) -> None:
    layout = Layout(tmp_path, chunk_bytes=1)
    upload = await layout.begin()

    async def meanwhile() -> Chunks:
        yield b"a"
        with pytest.raises(ConflictError):
            await layout.append(upload, flow(b"x"))
        with pytest.raises(ConflictError):
            await layout.commit(upload, of_bytes(b"a"))
        yield b"b"

    await layout.append(upload, meanwhile())
    await layout.commit(upload, of_bytes(b"ab"))


async def test_full_disk_gives_the_upload_up(tmp_path: Path) -> None:
    layout = Layout(tmp_path, chunk_bytes=1000)
    upload = await layout.begin()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(UnavailableError) as caught:
            await layout.append(upload, flow(DATA))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert caught.value.reason is Reason.NO_SPACE
    assert unfinished(layout) == []
    assert list((tmp_path / "blobs/sha256").iterdir()) == []


@pytest.mark.parametrize("upload", ["", "..", "../x", "0" * 32, "X" * 32])
async def test_unknown_uploads(tmp_path: Path, upload: str) -> None:
    layout = Layout(tmp_path)
    await layout.begin()

    for call in (
        partial(layout.offset, upload),
        partial(layout.abort, upload),
        partial(layout.append, upload, flow(b"x")),
        partial(layout.commit, upload, DIGEST),
    ):
        with pytest.raises(NotFoundError):
            await call()
    assert len(unfinished(layout)) == 1


async def test_abandoned_uploads_are_swept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    old, fresh = await layout.begin(), await layout.begin()
    os.utime(tmp_path / ".uploads" / old, (1, 1))

    newest = await layout.begin()
    assert unfinished(layout) == sorted([fresh, newest])


async def test_blobs_that_are_not_there(tmp_path: Path) -> None:
    layout = Layout(tmp_path)

    assert not await layout.has(DIGEST)
    for call in (layout.stat, layout.delete, layout.manifest):
        with pytest.raises(NotFoundError):
            await call(DIGEST)
    with pytest.raises(NotFoundError):
        await collect(layout.open(DIGEST))


async def test_link_takes_no_second_space(tmp_path: Path) -> None:
    one, two = Layout(tmp_path / "1"), Layout(tmp_path / "2")
    await put(one)

    assert await two.link(DIGEST, one)
    assert await two.link(DIGEST, one)
    assert not await two.link(of_bytes(b"other"), one)
    assert two.file(DIGEST).stat().st_ino == one.file(DIGEST).stat().st_ino
    await one.delete(DIGEST)
    assert await collect(two.open(DIGEST)) == DATA


async def test_tags_move_and_manifests_stay(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert await layout.tags() == []
    first = await layout.put_manifest(b"{}", MANIFEST, "1")
    second = await layout.put_manifest(b"{ }", INDEX, "1")

    assert await layout.resolve("1") == second
    assert await layout.resolve(first["digest"]) == first
    assert await layout.manifest(first["digest"]) == b"{}"
    assert {m["digest"] for m in await layout.manifests()} == {first["digest"], second["digest"]}
    await layout.untag("1")
    with pytest.raises(NotFoundError):
        await layout.untag("1")
    assert await layout.resolve(second["digest"]) == second
    await layout.delete_manifest(second["digest"])
    with pytest.raises(NotFoundError):
        await layout.resolve(second["digest"])
    assert not await layout.has(second["digest"])


async def test_many_tags_at_once(tmp_path: Path) -> None:
    async def tag(number: int) -> None:
        await Layout(tmp_path).put_manifest(b"{%d}" % number, MANIFEST, f"v{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(25):
            tasks.start_soon(tag, number)

    assert await Layout(tmp_path).tags() == sorted(f"v{n}" for n in range(25))
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


async def test_foreign_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("[]")

    with pytest.raises(InvalidError):
        await Layout(tmp_path).tags()
