"""Files of this machine: links, special files, changes under the reader, full disks, kills."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from towpath.blob.file import FileReader, FileWriter
from towpath.blob.stream import Chunks
from towpath.errors import ConflictError, InvalidError, Reason, UnavailableError
from towpath.settings import Blob

pytestmark = pytest.mark.anyio


async def flow(*chunks: bytes) -> Chunks:
    for chunk in chunks:
        yield chunk


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file may become larger: what a full one answers, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_links_inside_the_folder_are_files(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a").write_text("x")
    (folder / "link").symlink_to("data/a")
    reader = FileReader(folder)

    assert [entry.path for entry in await reader.list()] == ["data/a", "link"]
    assert [chunk async for chunk in reader.read("link")] == [b"x"]


@pytest.mark.parametrize("target", ["nowhere", "../outside", "/etc/hostname", "self", ".", "../m"])
async def test_other_links_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "self").symlink_to(target)
    reader = FileReader(folder)

    with pytest.raises(InvalidError) as caught:
        await reader.list()
    assert "link" in caught.value.message
    assert str(folder / "self") in caught.value.message
    with pytest.raises(InvalidError):
        [chunk async for chunk in reader.read("self")]


async def test_links_in_the_way_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "sub").symlink_to("../outside")

    with pytest.raises(InvalidError):
        await FileWriter(tmp_path / "m").put("sub/a", flow(b"x"))
    with pytest.raises(InvalidError):
        [chunk async for chunk in FileReader(tmp_path / "m").read("sub/a")]
    assert everything(tmp_path / "outside") == []


async def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidError):
        await FileReader(tmp_path).list()
    with pytest.raises(InvalidError):
        await FileReader(tmp_path / "pipe").list()
    with pytest.raises(InvalidError):
        [chunk async for chunk in FileReader(tmp_path).read("pipe")]


async def test_names_that_are_not_unicode_are_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("x")

    with pytest.raises(InvalidError):
        await FileReader(tmp_path).list()


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
async def test_a_file_that_changes_while_read_is_refused(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 100)
    chunks = FileReader(file, Blob(chunk_bytes=10)).read("a")
    await anext(chunks)

    with file.open("r+b") as out:
        if change == "shrink":
            out.truncate(50)
        else:
            out.seek(0, os.SEEK_END if change == "grow" else os.SEEK_SET)
            out.write(b"y")
    os.utime(file, ns=(1, 1))

    with pytest.raises(ConflictError):
        [chunk async for chunk in chunks]


async def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path / "m", Blob(chunk_bytes=1000))

    with largest_file(5000), pytest.raises(UnavailableError) as caught:
        await writer.put("sub/a", flow(*[b"x" * 1000] * 10))

    assert caught.value.reason is Reason.NO_SPACE
    assert str(tmp_path / "m/sub/a") in caught.value.message
    assert everything(tmp_path) == []


async def test_two_writers_of_one_file(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path, Blob(chunk_bytes=1))

    async def meanwhile() -> Chunks:
        yield b"first"
        with pytest.raises(ConflictError):
            await writer.put("a", flow(b"second"))
        yield b"."

    await writer.put("a", meanwhile())

    assert (tmp_path / "a").read_bytes() == b"first."
    assert everything(tmp_path) == ["a"]


async def test_a_file_where_a_folder_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "f").write_text("x")

    for path in ("a", "f/b", "n" * 300):
        with pytest.raises(InvalidError):
            await FileWriter(tmp_path).put(path, flow(b"x"))
    assert everything(tmp_path) == ["a", "f"]


KILLED = """
import anyio, os, signal, sys
from pathlib import Path
from towpath.blob.file import FileWriter
from towpath.settings import Blob

async def chunks():
    yield b"half of it"
    yield b"."
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"never"

anyio.run(FileWriter(Path(sys.argv[1]), Blob(chunk_bytes=1)).put, "a", chunks())
"""


async def test_a_killed_writer_leaves_no_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert await FileReader(tmp_path).list() == []
    assert len(everything(tmp_path)) == 1
    await FileWriter(tmp_path).put("a", flow(b"whole"))
    assert everything(tmp_path) == ["a"]
