"""Secrets at rest: encrypted in every file, and what happens without the right key."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from towpath.apiserver import Store, keyfile
from towpath.apiserver.record import Address, Write
from towpath.errors import DeniedError, InvalidError, UnavailableError

pytestmark = pytest.mark.anyio

MARK = "correct-horse-battery"
SECRET = Address("secrets", "a", "s")
VERSION_1 = """
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
PRAGMA user_version = 1;
"""


def files(folder: Path) -> Iterator[bytes]:
    yield from (path.read_bytes() for path in folder.iterdir() if path.is_file())


def secret(value: str = MARK) -> dict[str, object]:
    return {"metadata": {"name": "s"}, "stringData": {"password": value * 20}}


async def test_no_file_has_a_secret_in_plain(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path, history=10) as store:
        record = (await store.write(Write(SECRET, None, secret("first-" + MARK)))).record
        record = (await store.write(Write(SECRET, record, secret()))).record
        for value in range(30):  # until compaction frees pages
            await store.write(Write(Address("things", "a", f"x{value}"), None, {"metadata": {}}))
        assert not any(MARK.encode() in data for data in files(tmp_path))
        assert any(b'"metadata"' in data for data in files(tmp_path))  # the rest is readable
        gone = (await store.write(Write(SECRET, record, None))).record
        assert MARK.encode() in gone.data
    assert not any(MARK.encode() in data for data in files(tmp_path))
    assert (tmp_path / "api.db.key").stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600
    async with Store(path, history=10) as store:
        changes, _ = await store.changes("secrets", gone.revision - 1)
        assert [change.record for change in changes] == [gone]
        assert changes[0].before == record.data
        (then,) = (await store.page("secrets", at=gone.revision - 1)).records
        assert then == record


async def test_the_same_secret_never_looks_the_same(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path) as store:
        for name in ("s", "t"):
            await store.write(Write(SECRET._replace(name=name), None, secret()))
    db = sqlite3.connect(path)
    rows = [data for (data,) in db.execute("SELECT data FROM objects")]
    db.close()
    assert len({row[:9] for row in rows}) == 1  # format and key id
    assert len({row[9:21] for row in rows}) == 2  # a nonce each


async def test_a_record_opens_only_where_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path) as store:
        first = (await store.write(Write(SECRET, None, secret("one")))).record
        await store.write(Write(SECRET, first, secret("two")))
        await store.write(Write(SECRET._replace(name="t"), None, secret("three")))
    db = sqlite3.connect(path)
    with db:  # the old one put back under the new revision, and a record under another's name
        db.execute(
            "UPDATE objects SET data=(SELECT data FROM changes WHERE revision=?) WHERE name='s'",
            (first.revision,),
        )
        db.execute("UPDATE objects SET data=(SELECT max(data) FROM changes) WHERE name='t'")
        plain = (b'{"metadata":{}}', first.revision)
        db.execute("UPDATE changes SET data=? WHERE revision=?", plain)
    db.close()
    async with Store(path) as store:
        with pytest.raises(InvalidError, match="damaged"):
            await store.get(SECRET)
        with pytest.raises(InvalidError, match="not of this key"):
            await store.changes("secrets", first.revision - 1)


async def test_a_lost_or_wrong_key_destroys_nothing(tmp_path: Path) -> None:
    path, key = tmp_path / "api.db", tmp_path / "api.db.key"
    async with Store(path) as store:
        record = (await store.write(Write(SECRET, None, secret()))).record
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    good = key.read_bytes()
    key.unlink()
    with pytest.raises(InvalidError, match=r"key of the database .* is missing"):
        await Store(path).__aenter__()
    assert not key.exists()
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    with pytest.raises(InvalidError, match="encrypted with another key"):
        await Store(path).__aenter__()
    with pytest.raises(InvalidError, match="has 32 bytes, not 3"):
        await Store(path, key=b"abc").__aenter__()
    key.write_bytes(good[:-1])
    with pytest.raises(InvalidError, match="does not hold a key"):
        await Store(path).__aenter__()
    key.write_bytes(good)
    key.chmod(0o640)
    with pytest.raises(DeniedError, match="mode 640") as told:
        await Store(path).__aenter__()
    assert told.value.hint == f"Run: chmod 600 {key}"
    key.chmod(0o600)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == kept
    async with Store(path) as store:
        assert await store.get(SECRET) == record
    key.unlink()
    async with Store(path, key=good) as store:
        assert await store.get(SECRET) == record
    assert not key.exists()


async def test_a_database_of_version_1_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA secure_delete = OFF;" + VERSION_1)
    thing = Address("things", "a", "x")
    with db:
        for revision in range(2, 400):
            data = orjson.dumps(secret(f"{MARK}-{revision}"))
            row = (revision, "MODIFIED", *SECRET, data, revision - 1)
            db.execute("INSERT INTO changes VALUES (?,?,?,?,?,?,?)", row)
        db.execute("INSERT INTO objects VALUES (?,?,?,?,?)", (*SECRET, 399, data))
        db.execute("INSERT INTO objects VALUES (?,?,?,?,?)", (*thing, 2, b'{"metadata":{}}'))
        db.execute("INSERT INTO owners VALUES (?,?,?,?)", (*thing, "uid-1"))
    with db:
        db.execute("DELETE FROM changes WHERE revision < 200")  # pages that nobody uses any more
    assert any(MARK.encode() in content for content in files(tmp_path))
    db.close()
    async with Store(path) as store:
        assert (store.revision, store.floor) == (399, 399)
        assert not any(MARK.encode() in content for content in files(tmp_path))
        record = await store.get(SECRET)
        assert record is not None
        assert (record.revision, record.object()) == (399, secret(f"{MARK}-399"))
        assert await store.dependents("uid-1") == [thing]
        change = await store.write(Write(SECRET, record, secret()))
        assert change.record.revision == 400
        assert (await store.page("secrets", at=399)).records == [record]
    async with Store(path) as store:
        assert (store.revision, store.floor) == (400, 399)
        changes, _ = await store.changes("secrets", 399)
        assert [c.before for c in changes] == [record.data]
    assert not any(MARK.encode() in content for content in files(tmp_path))


async def test_a_migration_that_was_cut_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path) as store:
        await store.write(Write(SECRET, None, secret()))
    db = sqlite3.connect(path)
    db.execute("PRAGMA secure_delete = OFF")
    with db:  # as a kill between the new tables and the cleaning leaves it
        db.execute("UPDATE store SET clean = 0")
        db.execute("CREATE TABLE t (data)")
        db.executemany("INSERT INTO t VALUES (?)", [(MARK * 50,)] * 100)
    with db:
        db.execute("DROP TABLE t")
    db.close()
    assert any(MARK.encode() in content for content in files(tmp_path))
    async with Store(path) as store:
        assert await store.get(SECRET) is not None
        assert not any(MARK.encode() in content for content in files(tmp_path))


def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "api.db.key"
    assert keyfile.read(path) is None
    key = keyfile.create(path)
    assert keyfile.read(path) == key
    with pytest.raises(UnavailableError, match="cannot write the key file"):
        keyfile.create(path)
    assert keyfile.read(path) == key
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(UnavailableError, match="Is a directory"):
        keyfile.read(tmp_path)
