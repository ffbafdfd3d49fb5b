"""Tar layers against Python's own tarfile, in both directions."""

import io
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from towpath.blob import tar, untar
from towpath.blob.digest import of_bytes
from towpath.blob.stream import Chunks
from towpath.errors import ConflictError, InvalidError, Reason

part = st.text(
    st.characters(
        min_codepoint=0x20,
        max_codepoint=0x2FFFF,
        blacklist_characters="/\x7f",
        blacklist_categories=["Cs"],
    ),
    min_size=1,
    max_size=60,
).filter(lambda text: text not in (".", ".."))
paths = st.lists(part, min_size=1, max_size=5).map("/".join)


async def flow(*chunks: bytes) -> Chunks:
    for chunk in chunks:
        yield chunk


async def archive(path: str, data: bytes) -> bytes:
    body = flow(data[:100], data[100:])
    return b"".join([chunk async for chunk in tar.stream(path, len(data), body)])


@pytest.mark.anyio
@given(paths, st.binary(max_size=1500))
@example("models/" + "d" * 90 + "/ü" + "x" * 200, b"1")
@example("a" * 100, b"")
@example("a" * 101, b"x" * 512)
async def test_stream_is_what_tarfile_reads(path: str, data: bytes) -> None:
    written = await archive(path, data)

    assert len(written) % tar.BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(written), mode="r:") as found:
        (member,) = found.getmembers()
        assert (path, len(data), 0o644) == (member.name, member.size, member.mode)
        assert (
            member.mtime,
            member.uid,
            member.gid,
            member.uname,
            member.gname,
        ) == (0, 0, 0, "", "")
        assert member.isreg()
        content = found.extractfile(member)
        assert content is not None
        assert data == content.read()


@given(paths, st.integers(0, 2**44))
@example("models/weights.bin", 8**11 - 1)
@example("models/weights.bin", 8**11)
def test_header_of_any_size(path: str, size: int) -> None:
    header = tar.header(path, size)

    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024)), mode="r:") as found:
        member = found.next()
    assert member is not None
    assert (path, size) == (member.name, member.size)
    own = untar.member(io.BytesIO(header).read)
    assert own is not None
    assert (path, size, True) == (own.path, own.size, own.is_file)


@pytest.mark.anyio
async def test_bytes_never_change() -> None:
    """A new digest would ship every model again: this one is for good."""
    assert (
        of_bytes(await archive("models/a.onnx", b"abc"))
        == "sha256:0ca89b7f3c13e7aaf8fb4210fd87876c2df4101ef4878195f44dae43c18706f0"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"abc", b"abcde"])
async def test_stream_of_another_size_is_refused(body: bytes) -> None:
    with pytest.raises(ConflictError):
        [chunk async for chunk in tar.stream("a", 4, flow(body))]


def made(*members: tuple[str, bytes, bytes | str], form: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    """An archive by tarfile: name, type, content or link target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    out.seek(0)
    return out


FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@given(st.dictionaries(paths, st.binary(max_size=700), max_size=4), st.sampled_from([0, 1, 2]))
def test_member_reads_what_tarfile_writes(files: dict[str, bytes], form: int) -> None:
    members = [(name, FILE, data) for name, data in files.items()]
    if form == tarfile.USTAR_FORMAT:
        members = [m for m in members if m[0].isascii() and len(m[0]) <= 100]
    source = made(*members, form=form)

    found = []
    while (member := untar.member(source.read)) is not None:
        data = source.read(member.size + -member.size % 512)[: member.size]
        found.append((member.path, FILE, data))
    assert members == found


def test_extract(tmp_path: Path) -> None:
    source = made(
        ("etc/passwd", FILE, b"not taken"),
        ("dev/null", tarfile.CHRTYPE, ""),
        ("./models", FOLDER, ""),
        ("models/a/b.txt", FILE, b"one"),
        ("models/a/link", LINK, "b.txt"),
        ("models/a/hard", HARD, "models/a/b.txt"),
        ("models/c.txt", FILE, b"old"),
        ("models/c.txt", FILE, b"new"),
    )

    assert untar.extract(source.read, tmp_path, "models", 100_000) == source.tell()
    untar.check_links(tmp_path)
    assert tree(tmp_path) == {"a/b.txt": "one", "a/link": "one", "a/hard": "one", "c.txt": "new"}
    assert (tmp_path / "c.txt").stat().st_mode & 0o111 == 0


def test_whiteouts(tmp_path: Path) -> None:
    lower = made(*((f"models/{n}", FILE, b"x") for n in ("a", "d/b", "d/c", "e")))
    upper = made(
        ("models/.wh.a", FILE, b""),
        ("models/d/.wh..wh..opq", FILE, b""),
        ("models/d/new", FILE, b"y"),
    )
    untar.extract(lower.read, tmp_path, "models", 100_000)
    untar.extract(upper.read, tmp_path, "models", 100_000)

    assert tree(tmp_path) == {"d/new": "y", "e": "x"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
def test_a_whiteout_removes_a_name_and_no_folder_above(tmp_path: Path, name: str) -> None:
    (tmp_path / "other").write_text("another model")
    inside = tmp_path / "inside"
    inside.mkdir()
    source = made(("models/kept", FILE, b"x"), (f"models/{name}", FILE, b""))

    with pytest.raises(InvalidError):
        untar.extract(source.read, inside, "models", 100_000)
    assert tree(tmp_path) == {"other": "another model", "inside/kept": "x"}


@pytest.mark.parametrize(
    "members",
    [
        [("/models/a", FILE, b"x")],
        [("models/../../a", FILE, b"x")],
        [("../models/a", FILE, b"x")],
        [("models/l", LINK, "/etc/passwd")],
        [("models/l", LINK, "../out")],
        [("models/d/up", LINK, ".."), ("models/l", LINK, "d/up/../out")],
        [("models/l", LINK, "."), ("models/l/a", FILE, b"x")],
        [("models/l", LINK, "l")],
        [("models/h", HARD, "/etc/passwd")],
        [("models/h", HARD, "models/../../etc/passwd")],
        [("models/h", HARD, "etc/passwd")],
        [("models/l", LINK, "a"), ("models/h", HARD, "models/l")],
        [("models/dev", tarfile.CHRTYPE, "")],
        [("models/fifo", tarfile.FIFOTYPE, "")],
        [("models/l", LINK, "")],
        [("models/" + "d/" * 200 + "a", FILE, b"x")],
        [("models/a", FILE, b"x"), ("models/a/b", FILE, b"x")],
        [("models", FILE, b"x")],
    ],
)
def test_extract_refuses(tmp_path: Path, members: list[tuple[str, bytes, bytes | str]]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()

    def unpacked() -> None:
        untar.extract(made(*members).read, inside, "models", 100_000)
        untar.check_links(inside)

    with pytest.raises(InvalidError):
        unpacked()
    assert [inside] == list(tmp_path.iterdir())


def test_extract_is_bounded(tmp_path: Path) -> None:
    for folder in ("models", "elsewhere"):
        source = made(*((f"{folder}/{n}", FILE, b"x" * 6000) for n in "ab"))

        with pytest.raises(InvalidError) as caught:
            untar.extract(source.read, tmp_path, "models", 10_000)
        assert Reason.TOO_LARGE is caught.value.reason


def extended(data: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header and its records."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tar.BLOCK)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    return next(b"%d" % n + rest for n in range(9999) if len(b"%d" % n + rest) == n)


def test_extended_headers_cannot_pile_up(tmp_path: Path) -> None:
    one = made(("models/a", FILE, b"1")).read()
    few = b"".join(extended(record(f"note{n}", "x")) for n in range(7))
    named = extended(record("path", "models/b") + record("note", "x"))

    untar.extract(io.BytesIO(few + named + one).read, tmp_path, "models", 100_000)
    assert tree(tmp_path) == {"b": "1"}
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE):
        many = extended(record("note", "x"), kind) * 9
        with pytest.raises(InvalidError) as caught:
            untar.member(io.BytesIO(many + one).read)
        assert Reason.TOO_LARGE is caught.value.reason
    bomb = io.BytesIO((extended(record("note", "x") * 5000) + one[:1024]) * 9)
    with pytest.raises(InvalidError) as caught:
        untar.extract(bomb.read, tmp_path, "models", 100_000)
    assert Reason.TOO_LARGE is caught.value.reason


def test_many_small_records_are_read_in_one_pass() -> None:
    """A megabyte of records takes a part of a second, not a minute."""
    source = io.BytesIO(extended(b"5 a=\n" * 200_000) + made(("m", FILE, b"")).read())
    begun = time.process_time()

    found = untar.member(source.read)

    assert found is not None
    assert found.path == "m"
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    "records", [b"x", b" a=b\n", b"0 a=b\n", b"99 a=b\n", b"2 a", b"-5 a=b\n", b"5a=b\n"]
)
def test_malformed_records_are_refused(records: bytes) -> None:
    with pytest.raises(InvalidError):
        untar.member(io.BytesIO(extended(records) + made(("m", FILE, b"")).read()).read)


def test_a_link_to_half_a_text_is_refused(tmp_path: Path) -> None:
    link = made(("models/l", LINK, "a")).read()

    source = io.BytesIO(extended(record("linkpath", "a\0b")) + link)

    with pytest.raises(InvalidError):
        untar.extract(source.read, tmp_path, "models", 100_000)


def test_absurd_headers_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40
    block = info.tobuf(tarfile.GNU_FORMAT)

    with pytest.raises(InvalidError):
        untar.member(io.BytesIO(block).read)
    with pytest.raises(InvalidError):
        untar.extract(io.BytesIO(b"no tar" * 1000).read, tmp_path, "models", 100)
    cut = made(("models/a", FILE, b"x" * 2000)).read(1024)
    with pytest.raises(InvalidError):
        untar.extract(io.BytesIO(cut).read, tmp_path, "models", 10_000)


@given(st.binary(max_size=3000))
def test_any_bytes_end_in_one_of_our_errors(data: bytes) -> None:
    source = io.BytesIO(data)
    try:
        while untar.member(source.read) is not None:
            pass
    except InvalidError:
        return
