"""The API's database file: over restarts, crashes, and other versions."""

import os
import signal
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from towpath.apiserver import Store, _ledger
from towpath.apiserver.builtin import BUILTIN
from towpath.apiserver.record import Address, Change, Write
from towpath.apiserver.selectors import Selector
from towpath.apiserver.watch import Watch, line, stream
from towpath.errors import ConflictError, InvalidError, Reason, UnavailableError

pytestmark = pytest.mark.anyio

WRITER = """
import sys
from pathlib import Path
import anyio
from towpath.apiserver import Store, _ledger
from towpath.apiserver.record import Address, Write

async def main() -> None:
    async with Store(Path(sys.argv[1]), history=300) as store:
        async def write(lane: int) -> None:
            address = Address("secrets" if lane % 2 else "things", "a", f"lane-{lane}")
            record = await store.get(address)
            value = record.object()["value"] if record else 0
            while True:
                value += 1
                gone = value % 5 == 0 and record is not None
                new = None if gone else {"metadata": {}, "value": value, "more": "x" * 500}
                change = await store.write(Write(address, record, new))
                record = None if gone else change.record
                told = "gone" if gone else str(value)
                sys.stdout.write(f"{lane} {change.record.revision} {told}\\n")
                sys.stdout.flush()
        async with anyio.create_task_group() as tasks:
            for lane in range(16):
                tasks.start_soon(write, lane)

anyio.run(main)
"""
Told = tuple[int, str]


def written_until_killed(path: Path, lines: int) -> dict[int, Told]:
    """Let many writers run, kill them in the middle; the last that each was told: (revision, value
    or ``gone``)."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    try:
        told = [writer.stdout.readline() for _ in range(lines)]
    finally:
        os.kill(writer.pid, signal.SIGKILL)
    told += writer.stdout.readlines()
    writer.stdout.close()
    writer.wait()
    whole = [line.split() for line in told if line.endswith("\n")]
    assert len(whole) >= lines
    revisions = [int(revision) for _, revision, _ in whole]
    assert len(set(revisions)) == len(revisions)
    return {int(lane): (int(revision), value) for lane, revision, value in whole}


@pytest.mark.parametrize("lines", [1, 1000, 2500])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "api.db"
    newest = 1
    for _ in range(2):  # the second begins with what the first left
        told = written_until_killed(path, lines)
        async with Store(path, history=300) as store:
            assert store.revision >= max(revision for revision, _ in told.values()) > newest
            newest = store.revision
            for lane, (revision, value) in told.items():
                resource = "secrets" if lane % 2 else "things"
                record = await store.get(Address(resource, "a", f"lane-{lane}"))
                changes = await history(store, resource, revision)
                own = [c for c in changes if c.record.address.name == f"lane-{lane}"]
                assert len(own) <= 1  # at most what was under way
                if own:  # nobody was told, but it is whole
                    assert (record is None) == (own[0].type == "DELETED")
                    assert record is None or record == own[0].record
                elif value == "gone":
                    assert record is None
                else:
                    assert record is not None
                    assert (record.revision, record.object()["value"]) == (revision, int(value))
            await check_history(store)


async def history(store: Store, resource: str, since: int) -> list[Change]:
    found: list[Change] = []
    cursor = since
    while cursor < store.revision:
        changes, cursor = await store.changes(resource, cursor)
        found += changes
    return found


async def check_history(store: Store) -> None:
    """The changes lead from the oldest known state to the newest, without a gap."""
    seen = []
    for resource in ("secrets", "things"):
        page = await store.page(resource, at=store.floor)
        state = {record.address: record for record in page.records}
        for change in await history(store, resource, store.floor):
            before = state.pop(change.record.address, None)
            assert change.before == (before.data if before else None)
            assert (change.type == "ADDED") == (before is None)
            if change.type != "DELETED":
                state[change.record.address] = change.record
            seen.append(change.record.revision)
        now = (await store.page(resource)).records
        assert sorted(state.values(), key=lambda record: record.address) == now
    assert sorted(seen) == list(range(store.floor + 1, store.revision + 1))


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


async def test_a_shorter_history_is_reached_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    async with Store(path, history=10_000) as store:
        async with anyio.create_task_group() as tasks:
            for value in range(3000):
                address = Address("things", "", f"x{value % 100}-{value}")
                tasks.start_soon(store.write, Write(address, None, {"metadata": {}}))
        assert (store.floor, store.revision) == (1, 3001)
    async with Store(path, history=100) as store:
        floors = [store.floor]
        for value in range(5):
            await store.write(Write(Address("things", "", f"y{value}"), None, {"metadata": {}}))
            floors.append(store.floor)
        steps = [after - before for before, after in pairwise(floors)]
        assert max(steps) == 1000  # no write waits for all of it
        assert store.revision - store.floor <= 110
        assert len((await store.page("things", at=store.floor)).records) == store.floor - 1


async def test_a_history_of_large_objects_is_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ledger, "_BYTES", 3_000_000)
    path, address = tmp_path / "api.db", Address("things", "", "x")
    async with Store(path) as store:
        record = None
        for value in range(60):
            new = {"metadata": {}, "large": f"{value:0200000}"}
            record = (await store.write(Write(address, record, new))).record
        assert 10 <= store.revision - store.floor <= 15
        (then,) = (await store.page("things", at=store.floor)).records
        assert then.revision == store.floor
    assert path.stat().st_size < 10_000_000
    async with Store(path) as store:
        floor = store.floor
        await store.write(Write(address, record, {"metadata": {}}))
        assert floor <= store.floor <= floor + 2  # what is kept is counted when it is opened


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
    with pytest.raises(InvalidError, match="schema version 7, this Towpath knows 2"):
        await Store(path).__aenter__()


async def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(InvalidError, match="damaged"):
        await Store(path).__aenter__()
    with pytest.raises(UnavailableError):
        await Store(tmp_path / "nowhere" / "api.db").__aenter__()
