"""``file:`` and plain paths: a file or a folder of this machine.

A reader takes every regular file of a folder, hidden ones too; only what an interrupted
:class:`FileWriter` left unfinished is not a file yet. Links are followed inside the folder only.
"""

import hashlib
import os
import stat
from collections.abc import AsyncIterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from anyio import to_thread

from towpath.blob import disk
from towpath.blob.digest import Hasher
from towpath.blob.path import relative
from towpath.blob.store import Entry
from towpath.blob.stream import Chunks, closing
from towpath.blob.uri import Uri
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.files import sync_folder
from towpath.settings import Blob
from towpath.spec.names import Digest
from towpath.spec.oci import OCTET_STREAM, Descriptor

__all__ = ["FileReader", "FileWriter"]

_PART_PREFIX: Final = ".towpath-"
_PART_SUFFIX: Final = ".part"


def _part_of(target: Path) -> Path:
    """Where a file is written before it is whole: always the same place, so that the next attempt
    after a kill takes it over instead of leaving it behind."""
    key = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f"{_PART_PREFIX}{key}{_PART_SUFFIX}")


def _is_part(name: str) -> bool:
    return name.startswith(_PART_PREFIX) and name.endswith(_PART_SUFFIX)


def _files(root: Path) -> list[Entry]:
    with disk.errors(f"{root}"):
        try:
            real = root.resolve(strict=True)
        except RuntimeError as exc:  # how Python 3.11 and 3.12 tell a loop of links
            raise InvalidError(f"{root} is a link that loops") from exc
        found = real.stat()
        if stat.S_ISREG(found.st_mode):
            return [Entry(relative(root.name), found.st_size)]
        if not stat.S_ISDIR(found.st_mode):
            raise InvalidError(f"{root} is neither a file nor a folder")
        return sorted(_walk(real, real, (real,)), key=lambda entry: entry.path)


def _walk(root: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[Entry]:
    for path in folder.iterdir():
        if _is_part(path.name):
            continue
        if path.is_symlink():
            _check_link(root, path)
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            real = path.resolve()
            if real in above:
                raise InvalidError(f"{path} is a link that loops")
            yield from _walk(root, path, (*above, real))
        elif stat.S_ISREG(found.st_mode):
            yield Entry(relative(path.relative_to(root).as_posix()), found.st_size)
        else:
            raise InvalidError(f"{path} is neither a file nor a folder")


class FileReader:
    """A :class:`towpath.blob.Reader` of one file or one folder.

    Args:
        root: The file or folder.
        settings: Sizes.
    """

    def __init__(self, root: Path, settings: Blob | None = None) -> None:
        self._root = root
        self._chunk_bytes = (settings or Blob()).chunk_bytes

    @classmethod
    def open(cls, uri: Uri, settings: Blob) -> Self:
        """The reader of a ``file`` URI."""
        return cls(Path(uri.path), settings)

    async def list(self) -> list[Entry]:
        """All files, sorted by path.

        Raises:
            NotFoundError: there is no such file or folder.
            InvalidError: something in the folder is neither file nor folder, or a link that
                dangles, loops or leads out.
            DeniedError: it may not be read.
        """
        return await to_thread.run_sync(_files, self._root)

    async def read(self, path: str, offset: int = 0) -> Chunks:
        """A file's bytes from an offset on.

        Raises:
            NotFoundError: there is no such file.
            ConflictError: the file was changed while it was read.
            InvalidError: the path leads out of the folder, or is no regular file.
        """
        found, what = await to_thread.run_sync(self._find, path)
        with disk.errors(what):
            fd, before = await to_thread.run_sync(_open, found, offset)
            whole = disk.chunks(fd, before.st_size - offset, self._chunk_bytes)
            left = before.st_size - offset
            async with closing(whole):
                async for chunk in whole:
                    left -= len(chunk)
                    if left <= 0:
                        _check_unchanged(before, os.fstat(fd), what)
                    yield chunk
            if left > 0:
                raise ConflictError(f"{what} became shorter while it was read")

    def _find(self, path: str) -> tuple[Path, str]:
        path = relative(path)
        with disk.errors(f"{self._root}"):
            if self._root.is_dir():
                found = self._root / path
                root = self._root.resolve()
                if found.is_symlink() or not found.resolve().is_relative_to(root):
                    _check_link(root, found)
            else:
                found = self._root
                if path != found.name:
                    raise NotFoundError(f"{path!r} is not in {self._root}")
            return found, str(found)


def _check_link(root: Path, link: Path) -> None:
    try:
        target = link.resolve(strict=True)
    except FileNotFoundError as exc:
        raise InvalidError(f"{link} is a link to nothing") from exc
    except (RuntimeError, OSError) as exc:
        raise InvalidError(f"{link} is a link that loops") from exc
    if not target.is_relative_to(root):
        raise InvalidError(
            f"{link} is a link that leads out of its folder", hint="Put the file itself there."
        )


def _open(path: Path, offset: int) -> tuple[int, os.stat_result]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        os.close(fd)
        raise InvalidError(f"{path} is not a regular file")
    os.lseek(fd, offset, os.SEEK_SET)
    return fd, state


def _check_unchanged(before: os.stat_result, after: os.stat_result, what: str) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ConflictError(
            f"{what} was changed while it was read", hint="Run the same again when it is still."
        )


class FileWriter:
    """A :class:`towpath.blob.Writer` into one folder, made when first written to.

    Args:
        root: The folder.
        settings: Sizes.
    """

    def __init__(self, root: Path, settings: Blob | None = None) -> None:
        self._root = root
        self._chunk_bytes = (settings or Blob()).chunk_bytes

    @classmethod
    def open(cls, uri: Uri, settings: Blob) -> Self:
        """The writer of a ``file`` URI."""
        return cls(Path(uri.path), settings)

    async def put(
        self, path: str, chunks: AsyncIterable[bytes], *, digest: Digest | None = None
    ) -> Descriptor:
        """Write one file: whole and right, or not at all.

        Raises:
            InvalidError: the content is not what ``digest`` promises, or the path cannot be used.
            UnavailableError: the disk is full (reason ``NoSpace``).
            ConflictError: another transfer is writing the same file.
            DeniedError: the folder may not be written.
        """
        target = self._root / relative(path)
        hasher = Hasher()
        async with closing(chunks):
            with disk.errors(f"{target}"):
                made, fd = await to_thread.run_sync(self._begin, target)
                try:
                    await disk.drain(fd, chunks, hasher, self._chunk_bytes)
                    hasher.check(digest, what=str(target))
                    await to_thread.run_sync(_publish, fd, target)
                except BaseException:
                    _part_of(target).unlink(missing_ok=True)
                    _undo(made)
                    raise
                finally:
                    os.close(fd)
        return {"mediaType": OCTET_STREAM, "digest": hasher.digest, "size": hasher.size}

    def _begin(self, target: Path) -> tuple[list[Path], int]:
        """Claim the place where the file is written, and tell which folders were made for it."""
        missing = [folder for folder in target.parents if not folder.exists()]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._check(target)
            fd = disk.claim(_part_of(target))
            os.ftruncate(fd, 0)
        except BaseException:
            _undo(missing)
            raise
        return missing, fd

    def _check(self, target: Path) -> None:
        if not target.parent.resolve().is_relative_to(self._root.resolve()):
            raise InvalidError(f"{target} lies behind a link that leads out of its folder")
        if target.is_dir():
            raise InvalidError(f"{target} is a folder, so no file can be written there")

    async def delete(self, path: str) -> None:
        """Delete one file; what is not there is deleted already."""
        target = self._root / relative(path)

        def remove() -> None:
            with disk.errors(f"{target}"):
                target.unlink(missing_ok=True)

        await to_thread.run_sync(remove)


def _undo(made: list[Path]) -> None:
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def _publish(fd: int, target: Path) -> None:
    os.fsync(fd)
    _part_of(target).replace(target)
    sync_folder(target.parent)
