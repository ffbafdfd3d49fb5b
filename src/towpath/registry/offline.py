"""Everything of a registry as a file, and back, straight from its database: no server is needed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import orjson
from sqlalchemy import Connection

from towpath.errors import InvalidError, NotFoundError
from towpath.registry.database import Database, open_database
from towpath.registry.engines import parse
from towpath.registry.events import Stamp
from towpath.registry.exchange import lines
from towpath.registry.restoring import restore

__all__ = ["load", "save"]


async def save(url: str, path: Path) -> dict[str, int]:
    """Write an export of a database into a file; how many of each kind are in it.

    Args:
        url: Of the database; its tables are brought up to date.
        path: The file; it appears when it is whole.

    Raises:
        NotFoundError: there is no such file, which SQLite would make.
        InvalidError: it is no database of a registry.
        UnavailableError: it does not answer.
        OSError: of the disk; nothing is left behind.
    """

    def work(tx: Connection) -> dict[str, int]:
        with _whole(path) as file:
            walk = lines(tx, _now())
            first = next(walk)
            file.write(first)
            file.writelines(walk)
        return dict(orjson.loads(first)["counts"])

    _check_there(url)
    with _opened(url) as database:
        return await database.read(work, snapshot=True)


async def load(url: str, path: Path) -> dict[str, int]:
    """Read an export into a database, which must hold nothing yet; how many of each kind it holds.

    Raises:
        ConflictError: the database is not empty.
        InvalidError: a line of the file is wrong, or it is no database of a registry.
        UnavailableError: the database does not answer.
    """
    with path.open("rb") as file, _opened(url) as database:
        return await database.write(lambda tx: restore(tx, file, Stamp(_now())), long=True)


def _check_there(url: str) -> None:
    named = parse(url)
    if named.get_backend_name() == "sqlite" and not Path(named.database or "").is_file():
        raise NotFoundError(f"there is no database {named.database}")


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    if path.is_dir():
        raise InvalidError(f"{path} is a folder", hint="Name a file.")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            part.chmod(0o600)  # it holds what only an administrator may read
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _now() -> int:
    return time.time_ns() // 1_000_000
