"""Small files, written whole or not at all: what every room needs that keeps something on disk."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["kept_secret", "sync_folder", "write_atomic"]


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file; made when first asked for, in a file of mode 600 (blocking).

    Raises:
        OSError: of the disk.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = make()
        write_atomic(path, secret.encode(), mode=0o600)
        return secret


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file: a reader sees the old or the new one, also after a crash (blocking).

    Args:
        path: Its folder is made when missing.
        data: All of it.
        mode: Of the new file.

    Raises:
        OSError: of the disk; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make a folder's entries last (blocking)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
