"""The SQL under the store: calls that are short enough for the event loop, and one that is not.

Statements run where they are called; only :meth:`Database.flush`, which waits for the disk, belongs
in a thread (docs/adr/0012). One connection writes, others read beside it; in memory, where they
cannot share, one does both. Long reads are generators that pause between pieces.
"""

import contextlib
import fcntl
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from towpath.apiserver._ledger import Ledger
from towpath.apiserver._schema import connected, prepared
from towpath.apiserver._sealed import SEALED
from towpath.apiserver.record import Address, Change, Listing, Range, Record, Write
from towpath.errors import (
    ConflictError,
    InvalidError,
    Reason,
    TowpathError,
    UnavailableError,
)

__all__ = ["Database", "Steps"]

Steps = Generator[None, None, Any]
"""A read in pieces: it pauses where others may have their turn, and returns what it read."""

_IDLE: Final = 4
"""Reading connections kept open while nobody uses them."""
_PIECE: Final = 200
"""Rows read without a pause: a third of a millisecond, for objects of 1 KiB."""
_PIECE_BYTES: Final = 512 * 1024


@contextlib.contextmanager
def _translated(path: Path | None = None) -> Iterator[None]:
    """Errors of SQLite as ours; ``path`` is told while the file is being opened."""
    where = f" {path}" if path else ""
    try:
        yield
    except sqlite3.OperationalError as exc:
        if "full" in str(exc):
            raise UnavailableError(
                "the disk of the API's database is full",
                reason=Reason.NO_SPACE,
                hint="Free space on it.",
            ) from exc
        raise UnavailableError(f"the API's database{where} does not answer: {exc}") from exc
    except sqlite3.DatabaseError as exc:
        raise InvalidError(
            f"the API's database{where} is damaged: {exc}",
            hint="Put back a copy of its folder, or name another file. Nothing was changed.",
        ) from exc


class Database:
    """Objects, their changes and their owners in SQLite.

    Args:
        path: The file; None keeps everything in memory.
        history: Changes kept.
        key: What Secrets are encrypted with; None is the key file beside the database.

    Attributes:
        revision: The newest.
        floor: The oldest from which changes can be told and states read.

    Raises:
        ConflictError: another process has the file open.
        DeniedError: others may read the key file.
        InvalidError: it is not such a database, a newer version wrote it, or its key is another.
        UnavailableError: it cannot be opened.
    """

    def __init__(self, path: Path | None, history: int, key: bytes | None = None) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        if path is not None and path.is_dir():
            raise InvalidError(f"{path} is a folder; the API's database is a file in one")
        with contextlib.ExitStack() as opened, _translated(path):
            if path is not None:
                opened.enter_context(_locked(path))
            self._writer = opened.enter_context(contextlib.closing(connected(path)))
            self._seal = prepared(self._writer, path, key)
            self._reader = self._writer
            if path is not None:
                reader = contextlib.closing(connected(path, readonly=True))
                self._reader = opened.enter_context(reader)
            self._ledger = Ledger(self._writer, self._seal, max(1, history))
            self._open = opened.pop_all()
        self.revision: int = self._ledger.revision
        self.floor: int = self._ledger.floor

    def close(self) -> None:
        """Close every connection that nobody uses (blocking)."""
        while self._idle:
            self._idle.pop().close()
        self._open.close()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state for as long as it is held."""
        if self._path is None:  # nobody writes meanwhile: in memory, reads do not pause
            with _translated():
                yield self._writer
            return
        with _translated():
            db = self._idle.pop() if self._idle else connected(self._path, readonly=True)
            try:
                db.execute("BEGIN")
                yield db
            finally:
                if db.in_transaction:
                    db.execute("COMMIT")
                if len(self._idle) < _IDLE:
                    self._idle.append(db)
                else:
                    db.close()

    def _opened(self, address: Address, revision: int, data: bytes) -> bytes:
        if self._seal is None or address.resource not in SEALED:
            return data
        return self._seal.open(address, revision, data)

    def get(self, address: Address) -> Record | None:
        """The record at an address."""
        with _translated():
            row = self._reader.execute(
                "SELECT revision, data FROM objects WHERE resource=? AND namespace=? AND name=?",
                address,
            ).fetchone()
        return None if row is None else Record(address, row[0], self._opened(address, *row))

    def page(self, wanted: Range) -> Generator[None, None, Listing]:
        """Records of a range, in order of namespace and name.

        Raises:
            ConflictError: the state asked for is no longer kept (reason ``Expired``).
        """
        query, values = _select(wanted)
        records: list[Record] = []
        more, total, pause = False, 0, _PIECE_BYTES
        with self._snapshot() as db:
            newest = self._kept(db, wanted.at)
            rows = db.execute(query, values)
            with contextlib.closing(rows):
                for namespace, name, revision, data in rows:
                    more = len(records) == wanted.limit or 0 < (wanted.size or 0) <= total
                    if more:
                        break
                    address = Address(wanted.resource, namespace, name)
                    records.append(Record(address, revision, self._opened(address, revision, data)))
                    total += len(data)
                    if len(records) % _PIECE == 0 or total > pause:
                        pause = total + _PIECE_BYTES
                        yield
        return Listing(min(wanted.at or newest, newest), records, more)

    def count(self, wanted: Range) -> int:
        """How many records a range has now, its limit, size and revision aside."""
        where, values = _where(wanted)
        with _translated():
            query = f"SELECT count(*) FROM objects o WHERE {where}"  # noqa: S608 - constants
            return int(self._reader.execute(query, values).fetchone()[0])

    @staticmethod
    def _kept(db: sqlite3.Connection, revision: int) -> int:
        """The newest revision of this snapshot."""
        floor: int
        newest: int | None
        floor, newest = db.execute(
            "SELECT floor, (SELECT max(revision) FROM changes) FROM store"
        ).fetchone()
        if revision and revision < floor:
            raise ConflictError(
                f"too old resource version: {revision} ({floor})", reason=Reason.EXPIRED
            )
        return max(floor, newest or 0)

    def addresses(self, namespace: str) -> Generator[None, None, list[Address]]:
        """Where anything lies in a namespace."""
        query = "SELECT resource, namespace, name FROM objects WHERE namespace=?"
        return self._addresses(query, (namespace,))

    def dependents(self, uid: str | None) -> Generator[None, None, list[Address]]:
        """Objects that name this uid (or, for None, any) as an owner."""
        query = "SELECT DISTINCT resource, namespace, name FROM owners"
        return self._addresses(*((query, ()) if uid is None else (f"{query} WHERE uid=?", (uid,))))

    def _addresses(
        self, query: str, values: tuple[str, ...]
    ) -> Generator[None, None, list[Address]]:
        found: list[Address] = []
        with self._snapshot() as db, contextlib.closing(db.execute(query, values)) as rows:
            while piece := rows.fetchmany(_PIECE):
                found += [Address(*row) for row in piece]
                yield
        return found

    def changes(
        self, resource: str, since: int, until: int, size: int
    ) -> Generator[None, None, tuple[list[Change], int]]:
        """Changes of a resource after ``since``, oldest first, and the revision they lead to.

        That is ``until``, or earlier where their bytes come to ``size``.

        Raises:
            ConflictError: some of them are no longer kept (reason ``Expired``).
        """
        query = """
            SELECT c.type, c.namespace, c.name, c.revision, c.data, p.revision, p.data
            FROM changes c LEFT JOIN changes p ON p.revision = c.previous
            WHERE c.resource=? AND c.revision > ? AND c.revision <= ? ORDER BY c.revision
        """
        found: list[Change] = []
        total = 0
        with self._snapshot() as db:
            self._kept(db, since)
            rows = db.execute(query, (resource, since, until))
            with contextlib.closing(rows):
                for kind, namespace, name, revision, data, earlier, old in rows:
                    address = Address(resource, namespace, name)
                    before = None if old is None else self._opened(address, earlier, old)
                    record = Record(address, revision, self._opened(address, revision, data))
                    found.append(Change(kind, record, before))
                    total += found[-1].size
                    if total >= size:
                        until = revision
                        break
                    if len(found) % _PIECE == 0:
                        yield
        return found, until

    def stage(self, writes: Sequence[Write]) -> list[Change | TowpathError]:
        """Make these changes in one transaction; each succeeds or is refused by itself.

        They are there only after :meth:`flush`, which must follow.
        """
        with _translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                return self._ledger.write(writes)
            except BaseException:
                self._writer.execute("ROLLBACK")
                self._ledger.reset()
                raise

    def flush(self) -> None:
        """Make what was staged last (blocking); on an error, none of it was made."""
        with _translated():
            try:
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                self._ledger.reset()
                raise
        self.revision, self.floor = self._ledger.revision, self._ledger.floor


def _where(wanted: Range) -> tuple[str, list[object]]:
    """The condition of a range, for rows called ``o``, and its values."""
    where, values = "o.resource=?", [wanted.resource]
    if wanted.namespace:
        where += " AND o.namespace=?"
        values.append(wanted.namespace)
    if wanted.after != ("", "") and wanted.namespace:
        where += " AND o.name > ?"
        values.append(wanted.after[1])
    elif wanted.after != ("", ""):
        where += " AND (o.namespace, o.name) > (?, ?)"
        values += wanted.after
    return where, list(values)


def _select(wanted: Range) -> tuple[str, list[object]]:
    """The query of a range, and its values."""
    where, values = _where(wanted)
    columns = "o.namespace, o.name, o.revision, o.data"
    query = f"SELECT {columns} FROM objects o WHERE {where}"  # noqa: S608 - constants
    if wanted.at:  # what has not changed since, and what later changes took the place of
        query += f"""
            AND o.revision <= ? UNION ALL
            SELECT {columns} FROM changes c CROSS JOIN changes o ON o.revision = c.previous
            WHERE c.revision > ? AND c.previous BETWEEN 1 AND ? AND {where}
        """  # noqa: S608 - constants
        values = [*values, wanted.at, wanted.at, wanted.at, *values]
    query += " ORDER BY 1, 2 LIMIT ?"
    return query, [*values, -1 if wanted.limit is None else wanted.limit + 1]


def _locked(path: Path) -> IO[bytes]:
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)  # SQLite gives the mode to the files it puts beside it
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as exc:
        raise UnavailableError(f"cannot open the database {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise ConflictError(
            f"the database {path} is in use by another process",
            hint="Is this home running already?",
        ) from exc
    return lock
