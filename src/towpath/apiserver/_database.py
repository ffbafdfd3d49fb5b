"""The SQL under the store: one file, one schema, calls that block.

Durability is SQLite's: WAL with ``synchronous=FULL``, so what a commit answered survives a kill and
a power cut. One connection writes; a few read beside it. In memory, where connections cannot share,
one does both.
"""

import contextlib
import fcntl
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import orjson

from towpath.apiserver.record import Address, Change, ChangeType, Listing, Record, Write
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)

__all__ = ["READERS", "Database"]

VERSION: Final = 1
_NAMESPACES: Final = "namespaces"
_DEFINITIONS: Final = "customresourcedefinitions.apiextensions.k8s.io"
_LEAVING: Final = "deletionTimestamp"
READERS: Final = 4
"""Connections that read at the same time; more only wait for the interpreter."""

_SCHEMA: Final = """
CREATE TABLE objects (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  revision INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
);
CREATE TABLE changes (
  revision INTEGER PRIMARY KEY, type TEXT NOT NULL,
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  data BLOB NOT NULL, previous INTEGER NOT NULL
);
CREATE TABLE owners (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
  PRIMARY KEY (resource, namespace, name, uid)
) WITHOUT ROWID;
CREATE INDEX owners_uid ON owners (uid);
"""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        if "full" in str(exc):
            raise UnavailableError(
                "the disk of the API's database is full",
                reason=Reason.NO_SPACE,
                hint="Free space on it.",
            ) from exc
        raise UnavailableError(f"the API's database does not answer: {exc}") from exc
    except sqlite3.DatabaseError as exc:
        raise InvalidError(f"the API's database is damaged: {exc}") from exc


class Database:
    """Objects, their changes and their owners in SQLite.

    Args:
        path: The file; None keeps everything in memory.
        history: Changes kept.

    Raises:
        ConflictError: another process has the file open.
        InvalidError: it is not such a database, or a newer version wrote it.
        UnavailableError: it cannot be opened.
    """

    def __init__(self, path: Path | None, history: int) -> None:
        self._history = max(1, history)
        self._lock = None if path is None else _locked(path)
        self._writers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._readers = self._writers if path is None else queue.SimpleQueue()
        try:
            with _translated():
                self._open(path)
        except TowpathError:
            self.close()
            raise

    def _open(self, path: Path | None) -> None:
        name = ":memory:" if path is None else str(path)
        for index in range(1 if path is None else 1 + READERS):
            db = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            (self._writers if index == 0 else self._readers).put(db)
            if index:
                db.execute("PRAGMA query_only = ON")
                continue
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise InvalidError(
                    f"the database {name} has schema version {found}, this Towpath knows {VERSION}",
                    hint="Use the newer Towpath that wrote it, or another home.",
                )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            if found == 0:
                db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
            # Revision 0 means "any" on the wire, so the first change is 2 and an empty store 1.
            oldest, newest = db.execute(
                "SELECT min(revision), max(revision) FROM changes"
            ).fetchone()
            self.floor: int = 1 if oldest is None else oldest - 1
            self.revision: int = 1 if newest is None else newest

    def close(self) -> None:
        """Close every connection that nobody uses."""
        for connections in (self._readers, self._writers):
            while not connections.empty():
                connections.get().close()
        if self._lock is not None:
            self._lock.close()

    @contextlib.contextmanager
    def _borrowed(
        self, connections: "queue.SimpleQueue[sqlite3.Connection]", begin: str
    ) -> Iterator[sqlite3.Connection]:
        db = connections.get()
        try:
            with _translated():
                db.execute(begin)
                try:
                    yield db
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        finally:
            connections.put(db)

    def get(self, address: Address) -> Record | None:
        """The record at an address."""
        with self._borrowed(self._readers, "BEGIN") as db:
            row = db.execute(
                "SELECT revision, data FROM objects WHERE resource=? AND namespace=? AND name=?",
                address,
            ).fetchone()
        return None if row is None else Record(address, row[0], row[1])

    def page(
        self,
        resource: str,
        namespace: str,
        after: tuple[str, str],
        limit: int | None,
        size: int | None,
    ) -> Listing:
        """Records of a resource that follow ``after`` (namespace, name); ``""`` is any.

        Where their bytes come to ``size``, the page ends.
        """
        query = "SELECT namespace, name, revision, data FROM objects WHERE resource=?"
        values: list[object] = [resource]
        if namespace:
            query += " AND namespace=?"
            values.append(namespace)
        if after != ("", ""):
            query += " AND (namespace, name) > (?, ?)"
            values += after
        query += " ORDER BY namespace, name LIMIT ?"
        values.append(-1 if limit is None else limit + 1)
        with self._borrowed(self._readers, "BEGIN") as db:
            rows = db.execute(query, values)
            records: list[Record] = []
            more, total = False, 0
            for space, name, revision, data in rows:
                more = len(records) == limit or (size is not None and total >= size)
                if more:
                    break
                records.append(Record(Address(resource, space, name), revision, data))
                total += len(data)
            rows.close()
            newest = db.execute("SELECT max(revision) FROM changes").fetchone()[0]
        return Listing(newest or 1, records, more)

    def addresses(self, namespace: str) -> list[Address]:
        """Where anything lies in a namespace."""
        query = "SELECT resource, namespace, name FROM objects WHERE namespace=?"
        with self._borrowed(self._readers, "BEGIN") as db:
            return [Address(*row) for row in db.execute(query, (namespace,))]

    def dependents(self, uid: str | None) -> list[Address]:
        """Objects that name this uid (or, for None, any) as an owner."""
        query = "SELECT DISTINCT resource, namespace, name FROM owners"
        with self._borrowed(self._readers, "BEGIN") as db:
            rows = db.execute(query) if uid is None else db.execute(query + " WHERE uid=?", (uid,))
            return [Address(*row) for row in rows]

    def changes(self, resource: str, since: int, until: int, size: int) -> tuple[list[Change], int]:
        """Changes of a resource after ``since``, oldest first, and the revision they lead to.

        That is ``until``, or earlier where their bytes come to ``size``.
        """
        query = """
            SELECT c.type, c.namespace, c.name, c.revision, c.data, p.data FROM changes c
            LEFT JOIN changes p ON p.revision = c.previous
            WHERE c.resource=? AND c.revision > ? AND c.revision <= ? ORDER BY c.revision
        """
        with self._borrowed(self._readers, "BEGIN") as db:
            found, total = [], 0
            rows = db.execute(query, (resource, since, until))
            for kind, namespace, name, revision, data, before in rows:
                record = Record(Address(resource, namespace, name), revision, data)
                found.append(Change(kind, record, before))
                total += found[-1].size
                if total >= size:
                    until = revision
                    break
            rows.close()
        return found, until

    def commit(self, writes: Sequence[Write]) -> list[Change | TowpathError]:
        """Make these changes in one durable transaction; each succeeds or is refused by itself."""
        outcomes: list[Change | TowpathError] = []
        revision, floor = self.revision, self.floor
        with self._borrowed(self._writers, "BEGIN IMMEDIATE") as db:
            for write in writes:
                try:
                    outcomes.append(_write(db, write, revision + 1))
                    revision += 1
                except TowpathError as refused:
                    outcomes.append(refused)
            if revision - floor > self._history + self._history // 10:
                floor = revision - self._history
                db.execute("DELETE FROM changes WHERE revision <= ?", (floor,))
        self.revision, self.floor = revision, floor
        return outcomes


def _locked(path: Path) -> IO[bytes]:
    try:
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


def _write(db: sqlite3.Connection, write: Write, revision: int) -> Change:
    """One change. Everything that may refuse it comes before the first statement that writes."""
    address, before, after = write.address, write.before, write.after
    previous = _previous(db, write)
    for holder, name in ((_NAMESPACES, write.within), (_DEFINITIONS, write.defined)):
        if name:
            _check_holder(db, Address(holder, "", name))
    if write.emptied is not None and _occupied(db, write.emptied):
        raise ConflictError(f"{address.resource} {address.name} is not empty")
    kind: ChangeType = "DELETED" if after is None else "ADDED" if before is None else "MODIFIED"
    final = after
    if final is None:
        final = orjson.loads(before.data) if before else {}
    final.setdefault("metadata", {})["resourceVersion"] = str(revision)
    try:
        data = orjson.dumps(final)
    except TypeError as exc:
        raise InvalidError(
            f"the object cannot be written as JSON: {exc}", reason=Reason.BAD_REQUEST
        ) from exc
    if before is not None:
        db.execute("DELETE FROM owners WHERE resource=? AND namespace=? AND name=?", address)
    if after is None:
        db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", address)
    else:
        db.execute(
            "INSERT INTO objects VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE "
            "SET revision=excluded.revision, data=excluded.data",
            (*address, revision, data),
        )
        db.executemany(
            "INSERT OR IGNORE INTO owners VALUES (?,?,?,?)",
            [(*address, uid) for uid in _owners(after)],
        )
    db.execute(
        "INSERT INTO changes VALUES (?,?,?,?,?,?,?)", (revision, kind, *address, data, previous)
    )
    return Change(kind, Record(address, revision, data), before.data if before else None)


def _previous(db: sqlite3.Connection, write: Write) -> int:
    row = db.execute(
        "SELECT revision FROM objects WHERE resource=? AND namespace=? AND name=?", write.address
    ).fetchone()
    what = f'{write.address.resource} "{write.address.name}"'
    if write.before is None:
        if row is not None:
            raise ConflictError(f"{what} already exists", reason=Reason.ALREADY_EXISTS)
        return 0
    if row is None:
        raise NotFoundError(f"{what} not found")
    if row[0] != write.before.revision:
        raise ConflictError(f"{what} has been modified")
    return int(row[0])


def _check_holder(db: sqlite3.Connection, address: Address) -> None:
    query = "SELECT data FROM objects WHERE resource=? AND namespace=? AND name=?"
    row = db.execute(query, address).fetchone()
    what = f'{address.resource} "{address.name}"'
    if row is None:
        raise NotFoundError(f"{what} not found")
    if _LEAVING.encode() in row[0] and _LEAVING in orjson.loads(row[0])["metadata"]:
        raise DeniedError(f"{what} is being deleted")


def _occupied(db: sqlite3.Connection, where: Address) -> bool:
    field, value = (
        ("resource", where.resource) if where.resource else ("namespace", where.namespace)
    )
    query = f"SELECT 1 FROM objects WHERE {field}=? LIMIT 1"  # noqa: S608 - one of two names
    return db.execute(query, (value,)).fetchone() is not None


def _owners(after: dict[str, object]) -> list[str]:
    metadata = after.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    return [reference["uid"] for reference in references or () if "uid" in reference]
