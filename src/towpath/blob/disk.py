"""What this plane asks of a local disk: whole files or none, durable, and errors that say so."""

import errno
import fcntl
import os
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from anyio import to_thread

from towpath.blob.digest import Hasher
from towpath.blob.stream import Chunks, closing, joined
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)

__all__ = ["chunks", "claim", "drain", "errors", "locked"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ILLEGAL: Final = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST}
)


def _translated(exc: OSError, what: str) -> TowpathError:
    why = exc.strerror or type(exc).__name__
    if exc.errno in _FULL:
        return UnavailableError(
            f"no space is left to write {what}",
            reason=Reason.NO_SPACE,
            hint="Free some space on that disk, then run the same again.",
        )
    if exc.errno in _DENIED:
        return DeniedError(f"{what} may not be used: {why.lower()}")
    if exc.errno == errno.ENOENT:
        return NotFoundError(f"{what} is not there")
    if exc.errno in _ILLEGAL:
        return InvalidError(f"{what} cannot be used: {why.lower()}")
    return UnavailableError(f"{what} cannot be used: {why.lower()}")


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Translate the operating system's errors inside the block; ``what`` names the thing."""
    try:
        yield
    except OSError as exc:
        raise _translated(exc, what) from exc


async def chunks(fd: int, size: int, chunk_bytes: int) -> Chunks:
    """``size`` bytes of an open file from where it stands, fewer where the file ends.

    The descriptor is closed at the end.
    """
    try:
        while size > 0:
            chunk = await to_thread.run_sync(os.read, fd, min(chunk_bytes, size))
            if not chunk:
                return
            size -= len(chunk)
            yield chunk
    finally:
        os.close(fd)


async def drain(fd: int, source: AsyncIterable[bytes], hasher: Hasher, chunk_bytes: int) -> None:
    """Write a stream to an open file and hash it, in worker threads.

    What had come before the stream broke off is written (and hashed) before its error is raised.

    Raises:
        OSError: of the disk, untranslated.
    """

    def write(chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.write(fd, view)
            hasher.update(view[:written])
            view = view[written:]

    large = joined(source, chunk_bytes)
    async with closing(large):
        async for chunk in large:
            await to_thread.run_sync(write, chunk)


def claim(path: Path) -> int:
    """Open a file that nobody else writes to, made when absent, not truncated. Blocking.

    The claim ends with the process or the descriptor, so a file left by a killed process is free.

    Raises:
        ConflictError: another process or task is writing it.
        OSError: of the disk, untranslated.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(fd, path):
                return fd
        except BlockingIOError as exc:
            os.close(fd)
            raise ConflictError(
                "another transfer is writing the same file", hint="Wait until it has ended."
            ) from exc
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last owner published or removed it in between: begin a new one


def _same(fd: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on a file, made when absent, for the length of the block. Blocking."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
