"""What a write does to the tables: the rules that may refuse it, the rows it leaves, and how old
rows go.

The changes after the floor are told to watchers, and with what they took the place of they give
every state since then. So a version that is replaced must stay for as long as the change that did
it. Mostly it is a change itself; a version older than the floor is copied beside the changes when
it is replaced, and goes with its successor.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from towpath.apiserver._sealed import SEALED, Seal
from towpath.apiserver.record import Address, Change, ChangeType, Record, Write
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
)

__all__ = ["Ledger"]

_NAMESPACES: Final = "namespaces"
_DEFINITIONS: Final = "customresourcedefinitions.apiextensions.k8s.io"
_LEAVING: Final = "deletionTimestamp"
_BYTES: Final = 256 * 1024 * 1024
"""Bytes of changes kept, whatever their number."""
_STEP: Final = 1000
"""Most changes forgotten in one transaction."""
_STEP_BYTES: Final = 4 * 1024 * 1024
"""The same for large ones: SQLite visits every page that it frees."""


class Ledger:
    """Writes through one connection, within the transaction that its owner begins and ends.

    Args:
        db: The connection.
        seal: What Secrets are encrypted with.
        history: Changes kept.

    Attributes:
        revision: The newest.
        floor: The oldest whose state is still known.
    """

    def __init__(self, db: sqlite3.Connection, seal: Seal | None, history: int) -> None:
        self._db = db
        self._seal = seal
        self._history = history
        self.reset()

    def reset(self) -> None:
        """Begin with what is in the tables: after opening, and after a rollback."""
        self.floor: int = self._db.execute("SELECT floor FROM store").fetchone()[0]
        newest, self._bytes = self._db.execute(
            "SELECT max(revision), total(length(data)) FROM changes WHERE revision > ?",
            (self.floor,),
        ).fetchone()
        self.revision: int = newest or self.floor

    def write(self, writes: Sequence[Write]) -> list[Change | TowpathError]:
        """Make changes; each succeeds or is refused by itself."""
        outcomes: list[Change | TowpathError] = []
        for write in writes:
            try:
                outcomes.append(self._write(write))
            except TowpathError as refused:
                outcomes.append(refused)
        self._compact()
        return outcomes

    def _write(self, write: Write) -> Change:
        """One change. What may refuse it comes before the first statement that writes."""
        db, address, before, after = self._db, write.address, write.before, write.after
        previous = self._previous(write)
        for holder, name in ((_NAMESPACES, write.within), (_DEFINITIONS, write.defined)):
            if name:
                self._check_holder(Address(holder, "", name))
        if write.emptied is not None and self._occupied(write.emptied):
            raise ConflictError(f"{address.resource} {address.name} is not empty")
        kind: ChangeType = "DELETED" if after is None else "ADDED" if before is None else "MODIFIED"
        revision = self.revision + 1
        data = _encoded(write, revision)
        stored = data
        if self._seal is not None and address.resource in SEALED:
            stored = self._seal.close(address, revision, data)

        if 0 < previous <= self.floor:
            db.execute(
                "INSERT INTO changes SELECT revision, '', resource, namespace, name, data, 0 "
                "FROM objects WHERE resource=? AND namespace=? AND name=?",
                address,
            )
        if before is not None:
            db.execute("DELETE FROM owners WHERE resource=? AND namespace=? AND name=?", address)
        if after is None:
            db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", address)
        else:
            db.execute(
                "INSERT INTO objects VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE "
                "SET revision=excluded.revision, data=excluded.data",
                (*address, revision, stored),
            )
            owners = _owners(after)
            if owners:
                db.executemany(
                    "INSERT OR IGNORE INTO owners VALUES (?,?,?,?)",
                    [(*address, uid) for uid in owners],
                )
        db.execute(
            "INSERT INTO changes VALUES (?,?,?,?,?,?,?)",
            (revision, kind, *address, stored, previous),
        )
        self.revision = revision
        self._bytes += len(stored)
        return Change(kind, Record(address, revision, data), before.data if before else None)

    def _previous(self, write: Write) -> int:
        row = self._db.execute(
            "SELECT revision FROM objects WHERE resource=? AND namespace=? AND name=?",
            write.address,
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

    def _check_holder(self, address: Address) -> None:
        query = "SELECT data FROM objects WHERE resource=? AND namespace=? AND name=?"
        row = self._db.execute(query, address).fetchone()
        what = f'{address.resource} "{address.name}"'
        if row is None:
            raise NotFoundError(f"{what} not found")
        if _LEAVING.encode() in row[0] and _LEAVING in orjson.loads(row[0])["metadata"]:
            raise DeniedError(f"{what} is being deleted")

    def _occupied(self, where: Address) -> bool:
        field, value = (
            ("resource", where.resource) if where.resource else ("namespace", where.namespace)
        )
        query = f"SELECT 1 FROM objects WHERE {field}=? LIMIT 1"  # noqa: S608 - one of two names
        return self._db.execute(query, (value,)).fetchone() is not None

    def _compact(self) -> None:
        """Forget the oldest changes, where there are too many: a bounded number at a time."""
        surplus = self.revision - self.floor - self._history
        if surplus <= self._history // 10 and self._bytes <= _BYTES:
            return
        floor, gone = self.floor, 0
        rows = self._db.execute(
            "SELECT revision, length(data) FROM changes WHERE revision > ? AND revision < ? "
            "ORDER BY revision LIMIT ?",
            (floor, self.revision, _STEP),
        )
        for revision, size in rows:
            if gone > _STEP_BYTES or (surplus <= 0 and self._bytes - gone <= _BYTES):
                break
            floor, gone, surplus = revision, gone + size, surplus - 1
        rows.close()
        self._db.execute(
            "DELETE FROM changes WHERE revision IN (SELECT previous FROM changes "
            "WHERE revision > ? AND revision <= ? AND previous > 0)",
            (self.floor, floor),
        )
        self._db.execute(
            "DELETE FROM changes WHERE revision > ? AND revision <= ? AND NOT EXISTS "
            "(SELECT 1 FROM changes c WHERE c.previous = changes.revision AND c.previous > 0)",
            (self.floor, floor),
        )
        self._db.execute("UPDATE store SET floor = ?", (floor,))
        self.floor = floor
        self._bytes -= gone


def _encoded(write: Write, revision: int) -> bytes:
    """The object after the change; of a deletion, its last state at the new revision."""
    final = write.after
    if final is None:
        final = orjson.loads(write.before.data) if write.before else {}
    final.setdefault("metadata", {})["resourceVersion"] = str(revision)
    try:
        return orjson.dumps(final)
    except TypeError as exc:
        raise InvalidError(
            f"the object cannot be written as JSON: {exc}", reason=Reason.BAD_REQUEST
        ) from exc


def _owners(after: dict[str, object]) -> list[str]:
    metadata = after.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    return [reference["uid"] for reference in references or () if "uid" in reference]
