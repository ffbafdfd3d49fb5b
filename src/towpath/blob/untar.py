"""Layers read back safely: one member at a time, nothing outside the folder, every read bounded.

The headers are followed here rather than by :mod:`tarfile`, which reads an extended header of any
size into memory; it still decodes the single header blocks.
"""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.blob.path import relative
from towpath.blob.tar import BLOCK
from towpath.errors import InvalidError, Reason

__all__ = ["Member", "check_links", "extract", "inside", "member"]

_HEADER_BYTES: Final = 1024 * 1024
_EXTENDED: Final = 8
"""Extended headers of one member; writers need four at most."""
_WANTED: Final = frozenset({"path", "size", "linkpath"})
_MEMBERS: Final = 100_000
_DEEPEST: Final = 100
"""Folders in one another: trees are walked by recursion, which ends somewhere."""
_COPY: Final = 1024 * 1024
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_BODILESS: Final = frozenset(
    {
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.DIRTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
    }
)


@dataclass(frozen=True)
class Member:
    """One member of an archive, as its headers tell it.

    Attributes:
        path: As written.
        type: Type flag, as in :mod:`tarfile`.
        size: Bytes that follow (without padding).
        link: Target of a link.
    """

    path: str
    type: bytes
    size: int
    link: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.type in _FILES

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.type == tarfile.DIRTYPE


def member(read: Callable[[int], bytes]) -> Member | None:
    """Read the next member's headers; its bytes follow. None at the end of the archive.

    Args:
        read: Gives exactly that many bytes, fewer only at the end.

    Raises:
        InvalidError: it is not a tar archive, is cut off, or has headers of absurd size.
    """
    extended: dict[str, str] = {}
    for _ in range(_EXTENDED + 1):
        block = read(BLOCK)
        if not block.strip(b"\0"):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            raise InvalidError("a layer is not a tar archive, or is cut off") from exc
        if info.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE, *tarfile.GNU_TYPES):
            return Member(
                extended.get("path", info.name),
                info.type,
                0 if info.type in _BODILESS else _size(extended.get("size"), info.size),
                extended.get("linkpath", info.linkname),
            )
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise InvalidError(f"{info.name!r} in a layer is a sparse file, which is not supported")
        if not 0 <= info.size <= _HEADER_BYTES:
            raise InvalidError("a layer has a header of absurd size", reason=Reason.TOO_LARGE)
        data = read(info.size + -info.size % BLOCK)[: info.size]
        extended |= _extension(info.type, data)
    raise InvalidError(
        f"a layer has a member with more than {_EXTENDED} extended headers", reason=Reason.TOO_LARGE
    )


def _size(text: str | None, otherwise: int) -> int:
    if text is None and otherwise >= 0:
        return otherwise
    if text is None or not text.isdecimal() or len(text) > 18:
        raise InvalidError("a layer has a member without a sound size")
    return int(text)


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == tarfile.XGLTYPE:
        return {}
    if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        text = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return {"path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath": text}
    return _pax(data)


def _pax(data: bytes) -> dict[str, str]:
    """The records of a pax header that matter here (POSIX.1-2001, "pax Header Block")."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 10)
        digits = data[at : max(at, space)]
        end = at + int(digits) if digits.isdigit() else 0
        if not at < space + 1 < end <= len(data):
            raise InvalidError("a layer has a malformed pax header")
        key, _, value = data[space + 1 : end].rstrip(b"\n").partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise InvalidError("a layer has a sparse file, which is not supported")
        name = key.decode("utf-8", "replace")
        if name in _WANTED:
            found[name] = value.decode("utf-8", "surrogateescape")
        at = end
    return found


def extract(read: Callable[[int], bytes], folder: Path, under: str, limit: int) -> int:
    """Unpack what lies under one folder of an archive. Blocking.

    Later members replace earlier ones, and whiteouts remove (image specification, "Whiteouts").
    Nothing is written through a link, so nothing is written outside. Where links lead is known only
    after the last layer: see :func:`check_links`.

    Args:
        read: Gives exactly that many bytes, fewer only at the end.
        folder: Where to; must exist.
        under: Only members in this folder of the archive are taken, without its name.
        limit: Most bytes to read, headers and what lies elsewhere in the archive included.

    Returns:
        Bytes read.

    Raises:
        InvalidError: a path is absolute or leads out, a member is a device, the archive is
            malformed, or longer than ``limit`` (``TooLarge``).
        OSError: of the disk, untranslated.
    """
    done = 0

    def counted(size: int) -> bytes:
        nonlocal done
        done += size
        if done > limit:
            raise InvalidError(
                f"unpacked, a layer is larger than the {limit} bytes it may have",
                reason=Reason.TOO_LARGE,
            )
        return read(size)

    for _ in range(_MEMBERS):
        found = member(counted)
        if found is None:
            return done
        path = inside(found.path, under)
        if path is None:
            _copy(counted, found.size, None)
        else:
            _place(counted, found, folder, path, under)
    raise InvalidError(f"a layer has more than {_MEMBERS} members", reason=Reason.TOO_LARGE)


def check_links(folder: Path) -> None:
    """Check, once every layer is unpacked, that no link of the tree leads out of it. Blocking.

    Not layer by layer: a later layer may replace a folder on the way of an earlier one's link.

    Raises:
        InvalidError: a link leads out, or into itself.
        OSError: of the disk, untranslated.
    """
    real = folder.resolve()
    for link in folder.rglob("*"):
        if not link.is_symlink():
            continue
        try:
            leads_in = link.resolve().is_relative_to(real)
        except (OSError, RuntimeError):
            leads_in = False
        if not leads_in:
            raise InvalidError(f"{link.name[:200]!r} in a layer is a link that leads out or loops")


def inside(name: str, under: str) -> str | None:
    """The path below ``under``; empty for the folder itself, None when it lies elsewhere.

    Raises:
        InvalidError: it is absolute, leads out, or lies absurdly deep.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise InvalidError(f"{name[:200]!r} in a layer leads out of the folder")
    if len(parts) > _DEEPEST:
        raise InvalidError(f"{name[:200]!r} in a layer lies deeper than {_DEEPEST} folders")
    if parts[:1] != [under]:
        return None
    return relative("/".join(parts[1:])) if parts[1:] else ""


def _place(
    read: Callable[[int], bytes], found: Member, folder: Path, path: str, under: str
) -> None:
    target = folder / path
    if found.type == tarfile.DIRTYPE:
        _folder(folder, path)
        return
    if not path:
        raise InvalidError(f"{under!r} in a layer is not a folder")
    parent, _, name = path.rpartition("/")
    _folder(folder, parent)
    if name.startswith(".wh."):
        if name == ".wh..wh..opq":
            _remove(target.parent, keep=True)
        else:
            _remove(target.with_name(_hidden(name)))
        _copy(read, found.size, None)
        return
    _remove(target)
    if found.is_file:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            _copy(read, found.size, fd)
            os.fsync(fd)
        finally:
            os.close(fd)
    elif found.type == tarfile.SYMTYPE:
        if not found.link or "\0" in found.link:
            raise InvalidError(f"{found.path[:200]!r} in a layer is a link to nothing")
        target.symlink_to(found.link)
    elif found.type == tarfile.LNKTYPE:
        source = folder / (inside(found.link, under) or "")
        if source.is_symlink() or not source.is_file():
            raise InvalidError(f"{found.path[:200]!r} in a layer links to no file of the model")
        _folder(folder, source.parent.relative_to(folder).as_posix())
        os.link(source, target, follow_symlinks=False)
    else:
        raise InvalidError(f"{found.path[:200]!r} in a layer is neither a file, folder nor link")


def _hidden(whiteout: str) -> str:
    """The name in the same folder that a whiteout removes. Raises InvalidError."""
    name = relative(whiteout.removeprefix(".wh."))
    if "/" in name:
        raise InvalidError(f"{whiteout[:200]!r} in a layer removes more than one name")
    return name


def _folder(folder: Path, path: str) -> None:
    """Make the folders of a path, none of which may be a link."""
    for part in Path(path).parts:
        folder /= part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InvalidError(f"{path[:200]!r} in a layer lies behind a link or a file")
        folder.mkdir(exist_ok=True)


def _remove(target: Path, *, keep: bool = False) -> None:
    if target.is_dir() and not target.is_symlink():
        for item in target.iterdir():
            _remove(item)
        if not keep:
            target.rmdir()
    else:
        target.unlink(missing_ok=True)


def _copy(read: Callable[[int], bytes], size: int, fd: int | None) -> None:
    """Pass ``size`` bytes and their padding on to an open file, or over."""
    left = size
    while left > 0:
        chunk = read(min(_COPY, left))
        if not chunk:
            raise InvalidError("a layer is cut off")
        left -= len(chunk)
        view = memoryview(chunk)
        while fd is not None and view:
            view = view[os.write(fd, view) :]
    read(-size % BLOCK)
