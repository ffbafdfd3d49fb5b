"""The key of the store: 32 random bytes in a file of their own, which only the owner may read.

It lies beside the database it belongs to. Whoever has both can read the Secrets, so a backup that
leaves the machine carries one of them.
"""

import os
import stat
from pathlib import Path
from typing import Final

from towpath.errors import DeniedError, InvalidError, UnavailableError
from towpath.files import sync_folder

__all__ = ["SIZE", "beside", "create", "read"]

SIZE: Final = 32
"""Bytes of a key: AES-256."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def beside(database: Path) -> Path:
    """Where the key of a database lies."""
    return database.with_name(database.name + ".key")


def read(path: Path) -> bytes | None:
    """The key in a file; None where there is no file (blocking).

    Raises:
        DeniedError: others may read the file.
        InvalidError: it does not hold a key.
        UnavailableError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UnavailableError(f"cannot read the key file {path}: {exc.strerror}") from exc
    if mode & _OTHERS:
        raise DeniedError(
            f"the key file {path} may be read by others (mode {stat.S_IMODE(mode):o})",
            hint=f"Run: chmod 600 {path}",
        )
    if len(key) != SIZE:
        raise InvalidError(
            f"the key file {path} does not hold a key of {SIZE} bytes",
            hint="Put back the one that was made with the database.",
        )
    return key


def create(path: Path) -> bytes:
    """Make a key and its file, which must not be there (blocking).

    Whoever sees the file sees a whole key, also after a crash.

    Raises:
        UnavailableError: it cannot be written.
    """
    key = os.urandom(SIZE)
    part = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(part)  # unlike a rename, it never takes the place of a key
        finally:
            part.unlink()
        sync_folder(path.parent)
    except OSError as exc:
        raise UnavailableError(f"cannot write the key file {path}: {exc.strerror}") from exc
    return key
