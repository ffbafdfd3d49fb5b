"""The API's database file: over restarts, crashes, and other versions."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from towpath.apiserver import Store
from towpath.apiserver.builtin import BUILTIN
from towpath.apiserver.record import Address, Write
from towpath.apiserver.selectors import Selector
from towpath.apiserver.watch import Watch, line, stream
from towpath.errors import ConflictError, InvalidError, Reason, UnavailableError

pytestmark = pytest.mark.anyio

WRITER = """
import sys
from pathlib import Path
import anyio
from towpath.apiserver import Store
from towpath.apiserver.record import Address, Write

async def main() -> None:
    async with Store(Path(sys.argv[1])) as store:
        async def write(lane: int) -> None:
            for index in range(100_000):
                name = f"{lane}-{index}"
                change = await store.write(
                    Write(Address("things", "", name), None, {"metadata": {}, "name": name})
                )
                sys.stdout.write(f"{name} {change.record.revision}\\n")
                sys.stdout.flush()
        async with anyio.create_task_group() as tasks:
            for lane in range(8):
                tasks.start_soon(write, lane)

anyio.run(main)
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    told: dict[str, int] = {}
    for _ in range(2):  # the second writer starts on what the first left
        path.unlink(missing_ok=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        try:
            lines = [writer.stdout.readline() for _ in range(400)]
        finally:
            os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
        told = {n: int(r) for n, r in (line.split() for line in lines[:-1] if line.strip())}
        async with Store(path) as store:
            kept = {r.address.name: r for r in (await store.page("things")).records}
            assert told.keys() <= kept.keys()
            assert all(kept[name].revision == revision for name, revision in told.items())
            assert all(record.object()["name"] == name for name, record in kept.items())
            assert len(kept) <= len(told) + 9  # at most what was under way, invented nothing
            revisions = sorted(r.revision for r in kept.values())
            assert revisions == list(range(revisions[0], revisions[-1] + 1))
            assert store.revision == revisions[-1]
    assert len(told) >= 390


async def test_reopened(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    address = Address("things", "", "x")
    async with Store(path, history=20) as store:
        record = (await store.write(Write(address, None, {"metadata": {}}))).record
        for value in range(50):
            new = {"metadata": {}, "value": value}
            record = (await store.write(Write(address, record, new))).record
        newest = store.revision
    async with Store(path, history=20) as store:
        assert store.revision == newest
        assert await store.get(address) == record
        changes, cursor = await store.changes("things", newest - 3)
        assert [c.object["value"] for c in changes] == [47, 48, 49]
        assert [c.old_object and c.old_object["value"] for c in changes] == [46, 47, 48]
        assert cursor == newest
        with pytest.raises(ConflictError) as expired:
            await store.changes("things", 1)
        assert expired.value.reason is Reason.EXPIRED


async def test_large_changes_are_read_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    count, large = 12, "x" * 300_000
    async with Store(path) as store:
        for value in range(count):
            new = {"metadata": {}, "value": value, "large": large}
            await store.write(Write(Address("things", "", f"x{value}"), None, new))
    seen: list[int] = []
    async with Store(path) as store:
        cursor = store.floor
        while cursor < store.revision:
            changes, cursor = await store.changes("things", cursor)
            assert sum(change.size for change in changes) < 2_000_000
            seen += [change.object["value"] for change in changes]
    assert seen == list(range(count))


async def test_a_watch_begins_piece_by_piece() -> None:
    config = next(r for r in BUILTIN if r.kind.plural == "configmaps")
    async with Store() as store:
        for index in range(10):
            new = {"metadata": {}, "large": "x" * 200_000}
            await store.write(Write(Address("configmaps", "a", f"x{index}"), None, new))
        wanted = Watch(config, "", Selector(), None, True, True, 0)
        pieces = [piece async for piece in stream(store, wanted, line, lambda: False)]
    assert max(map(len, pieces)) < 600_000
    assert b"".join(pieces).count(b'"type":"ADDED"') == 10


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path):
        with pytest.raises(ConflictError, match="in use by another process"):
            await Store(path).__aenter__()
    async with Store(path):
        pass


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(InvalidError, match="schema version 7, this Towpath knows 1"):
        await Store(path).__aenter__()


async def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(InvalidError, match="damaged"):
        await Store(path).__aenter__()
    with pytest.raises(UnavailableError):
        await Store(tmp_path / "nowhere" / "api.db").__aenter__()
