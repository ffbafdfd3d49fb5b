"""The store's tables: how a file of them is opened, made, or brought from an older version.

    objects   what is there now
    changes   what led there, after the floor; below it, only what those changes took the place of
    owners    which objects name an owner, by its uid
    store     one row: the floor, the id of the key, and whether the file is free of plain Secrets

Version 1 had no key: bringing it up drops its changes (clients list again), encrypts its Secrets,
and writes the file anew so that no freed page holds one in plain.
"""

import sqlite3
from pathlib import Path
from typing import Final

from towpath.apiserver import keyfile
from towpath.apiserver._sealed import SEALED, Seal
from towpath.apiserver.record import Address
from towpath.errors import InvalidError

__all__ = ["VERSION", "connected", "prepared"]

VERSION: Final = 2

_OBJECTS: Final = """
CREATE TABLE objects (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  revision INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
);
CREATE TABLE owners (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
  PRIMARY KEY (resource, namespace, name, uid)
) WITHOUT ROWID;
CREATE INDEX owners_uid ON owners (uid);
"""
_CHANGES: Final = """
CREATE TABLE changes (
  revision INTEGER PRIMARY KEY, type TEXT NOT NULL,
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  data BLOB NOT NULL, previous INTEGER NOT NULL
);
CREATE INDEX changes_previous ON changes (previous) WHERE previous > 0;
CREATE TABLE store (floor INTEGER NOT NULL, key BLOB NOT NULL, clean INTEGER NOT NULL);
"""


def connected(path: Path | None, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection, for one user at a time on any thread."""
    name = ":memory:" if path is None else str(path)
    db = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
    if readonly:
        db.execute("PRAGMA query_only = ON")
    else:
        # What a commit answered survives a kill and a power cut.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
    return db


def prepared(db: sqlite3.Connection, path: Path | None, key: bytes | None) -> Seal | None:
    """Make the tables, or bring them to this version (blocking).

    Returns:
        What Secrets are sealed with; None in memory without a key.

    Raises:
        DeniedError: others may read the key file.
        InvalidError: a newer version wrote the file, or its key is missing or another.
        UnavailableError: the key file cannot be read or written.
    """
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise InvalidError(
            f"the database {path} has schema version {found}, this Towpath knows {VERSION}",
            hint="Use the newer Towpath that wrote it, or another home.",
        )
    known = db.execute("SELECT key FROM store").fetchone()[0] if found == VERSION else None
    seal = _seal(path, key, known)
    if found < VERSION:
        db.execute("BEGIN IMMEDIATE")
        try:
            (_create if found == 0 else _upgrade)(db, seal)
            db.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    _clean(db)
    return seal


def _seal(path: Path | None, key: bytes | None, known: bytes | None) -> Seal | None:
    if key is None and path is not None:
        file = keyfile.beside(path)
        key = keyfile.read(file)
        if key is None and known:
            raise InvalidError(
                f"the key of the database {path} is missing: {file}",
                hint="Put it back: without it the Secrets cannot be read. Nothing was changed.",
            )
        if key is None:
            key = keyfile.create(file)
    seal = None if key is None else Seal(key)
    if known and (seal is None or seal.id != known):
        raise InvalidError(
            f"the database {path} was encrypted with another key",
            hint="Put back the key file that was made with it. Nothing was changed.",
        )
    return seal


def _create(db: sqlite3.Connection, seal: Seal | None) -> None:
    for statement in (_OBJECTS + _CHANGES).split(";"):
        db.execute(statement)
    # Revision 0 means "any" on the wire, so the first change is 2 and an empty store 1.
    _begin(db, 1, seal, clean=True)


def _begin(db: sqlite3.Connection, floor: int, seal: Seal | None, *, clean: bool) -> None:
    db.execute("INSERT INTO store VALUES (?,?,?)", (floor, seal.id if seal else b"", clean))


def _upgrade(db: sqlite3.Connection, seal: Seal | None) -> None:
    (newest,) = db.execute("SELECT max(revision) FROM changes").fetchone()
    db.execute("DROP TABLE changes")
    for statement in _CHANGES.split(";"):
        db.execute(statement)
    if seal is not None:
        for resource in SEALED:
            query = "SELECT rowid, namespace, name, revision, data FROM objects WHERE resource=?"
            for row, namespace, name, revision, data in db.execute(query, (resource,)).fetchall():
                sealed = seal.close(Address(resource, namespace, name), revision, data)
                db.execute("UPDATE objects SET data=? WHERE rowid=?", (sealed, row))
    _begin(db, newest or 1, seal, clean=False)


def _clean(db: sqlite3.Connection) -> None:
    """Leave no page behind in which a Secret was written in plain."""
    if db.execute("SELECT clean FROM store").fetchone()[0]:
        return
    for statement in (
        "PRAGMA temp_store = MEMORY",
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "UPDATE store SET clean = 1",
    ):
        db.execute(statement).fetchall()
