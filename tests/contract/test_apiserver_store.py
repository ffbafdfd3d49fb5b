"""What the API's store promises, in a file and in memory."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from towpath.apiserver import Store
from towpath.apiserver.record import Address, Change, Range, Record, Write
from towpath.errors import ConflictError, DeniedError, NotFoundError, Reason, UnavailableError

pytestmark = pytest.mark.anyio

HISTORY = 50


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store with the namespace ``a``."""
    path = tmp_path / "api.db" if request.param == "file" else None
    async with Store(path, history=HISTORY) as opened:
        await opened.write(Write(Address("namespaces", "", "a"), None, {"metadata": {}}))
        yield opened


def thing(name: str, namespace: str = "a", resource: str = "things") -> Address:
    return Address(resource, namespace, name)


def obj(value: int = 0, *owners: str) -> dict[str, Any]:
    metadata = {"ownerReferences": [{"uid": uid} for uid in owners]} if owners else {}
    return {"metadata": metadata, "value": value}


async def put(store: Store, address: Address, value: int = 0, *owners: str) -> Change:
    before = await store.get(address)
    return await store.write(Write(address, before, obj(value, *owners)))


async def remove(store: Store, address: Address) -> Change:
    return await store.write(Write(address, await store.get(address), None))


async def test_a_write_is_read(store: Store) -> None:
    change = await put(store, thing("x"), 1)
    record = await store.get(thing("x"))
    assert record == change.record
    assert record.object() == {
        "metadata": {"resourceVersion": str(record.revision)},
        "value": 1,
    }
    assert store.revision == record.revision
    assert await store.get(thing("y")) is None


async def test_revisions_grow_over_all_resources(store: Store) -> None:
    first = await put(store, thing("x"))
    second = await put(store, thing("x", resource="others"))
    third = await put(store, thing("x"), 1)
    fourth = await remove(store, thing("x"))
    revisions = [c.record.revision for c in (first, second, third, fourth)]
    assert revisions == list(range(revisions[0], revisions[0] + 4))
    assert [first.type, third.type, fourth.type] == ["ADDED", "MODIFIED", "DELETED"]
    assert fourth.record.object()["value"] == 1
    assert fourth.record.object()["metadata"]["resourceVersion"] == str(revisions[3])


async def test_a_stale_write_is_refused(store: Store) -> None:
    old = (await put(store, thing("x"))).record
    await put(store, thing("x"), 1)
    with pytest.raises(ConflictError) as stale:
        await store.write(Write(thing("x"), old, obj(2)))
    assert stale.value.reason is Reason.CONFLICT
    with pytest.raises(ConflictError) as twice:
        await store.write(Write(thing("x"), None, obj(2)))
    assert twice.value.reason is Reason.ALREADY_EXISTS
    await remove(store, thing("x"))
    with pytest.raises(NotFoundError):
        await store.write(Write(thing("x"), old, None))
    revision = store.revision
    assert await store.get(thing("x")) is None
    assert store.revision == revision


async def test_a_write_may_need_its_namespace(store: Store) -> None:
    await store.write(Write(thing("x"), None, obj(), within="a"))
    with pytest.raises(NotFoundError, match='namespaces "b" not found'):
        await store.write(Write(thing("x", "b"), None, obj(), within="b"))
    with pytest.raises(NotFoundError, match='"things" not found'):
        await store.write(Write(thing("y"), None, obj(), within="a", defined="things"))


@pytest.mark.parametrize(
    ("resource", "needs"),
    [
        ("namespaces", {"within": "holder"}),
        ("customresourcedefinitions.apiextensions.k8s.io", {"defined": "holder"}),
    ],
)
async def test_nothing_is_added_to_what_is_leaving(
    store: Store, resource: str, needs: dict[str, str]
) -> None:
    address = Address(resource, "", "holder")
    told = {"metadata": {}, "spec": {"deletionTimestamp": "only a word"}}
    record = (await store.write(Write(address, None, told))).record
    await store.write(Write(thing("x"), None, obj(), **needs))
    marked = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    async with anyio.create_task_group() as tasks:  # both in one transaction
        tasks.start_soon(store.write, Write(address, record, marked))
        await anyio.lowlevel.checkpoint()
        with pytest.raises(DeniedError):
            await store.write(Write(thing("y"), None, obj(), **needs))
    assert await store.get(thing("y")) is None


async def test_a_namespace_goes_when_it_is_empty(store: Store) -> None:
    await put(store, thing("x"))
    address = Address("namespaces", "", "a")
    before = await store.get(address)
    emptied = Write(address, before, None, emptied=Address("", "a", ""))
    with pytest.raises(ConflictError):
        await store.write(emptied)
    await remove(store, thing("x"))
    await store.write(emptied)
    assert await store.get(address) is None


async def test_concurrent_writes_each_succeed_or_fail_alone(store: Store) -> None:
    outcomes: dict[str, int] = {"made": 0, "refused": 0}

    async def create(name: str) -> None:
        try:
            await store.write(Write(thing(name), None, obj()))
            outcomes["made"] += 1
        except ConflictError:
            outcomes["refused"] += 1

    async with anyio.create_task_group() as tasks:
        for index in range(60):
            tasks.start_soon(create, f"n{index % 20}")
    assert outcomes == {"made": 20, "refused": 40}
    page = await store.page("things")
    assert len(page.records) == 20
    assert len({r.revision for r in page.records}) == 20


async def test_what_is_cancelled_before_its_turn_is_never_made(store: Store) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.write(Write(thing("x"), None, obj()))
    await put(store, thing("y"))
    assert [r.address.name for r in (await store.page("things")).records] == ["y"]


async def test_a_cancelled_writer_lets_the_others_write(store: Store) -> None:
    async def write(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await store.write(Write(thing(name), None, obj()))

    scopes = {f"n{index:02}": anyio.CancelScope() for index in range(30)}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for name, scope in scopes.items():
                tasks.start_soon(write, name, scope)
                if name == "n00":  # it is being made while the others come to wait
                    await anyio.wait_all_tasks_blocked()
            await anyio.lowlevel.checkpoint()
            for name in list(scopes)[1::2]:
                scopes[name].cancel()
    kept = {r.address.name for r in (await store.page("things")).records}
    assert set(list(scopes)[::2]) <= kept
    await put(store, thing("after"))


async def test_pages_come_in_order(store: Store) -> None:
    names = [("a", "x"), ("a", "y"), ("b", "a"), ("b", "x"), ("c", "a")]
    for namespace, name in reversed(names):
        await put(store, thing(name, namespace))
    await put(store, thing("other", resource="others"))
    found, after = [], ("", "")
    while True:
        page = await store.page("things", after=after, limit=2)
        found += [r.address[1:] for r in page.records]
        if not page.more:
            break
        after = found[-1]
    assert found == names
    assert (await store.page("things")).revision == store.revision
    assert await store.count(Range("things")) == 5
    assert await store.count(Range("things", after=("a", "y"))) == 3
    assert await store.count(Range("things", "b", after=("b", "a"))) == 1
    within = await store.page("things", "b", limit=2)
    assert [r.address.name for r in within.records] == ["a", "x"]
    assert not within.more


async def test_a_page_ends_at_its_bytes(store: Store) -> None:
    for name in "abcd":
        await put(store, thing(name))
    size = len((await store.page("things")).records[0].data)
    page = await store.page("things", size=2 * size)
    assert ([r.address.name for r in page.records], page.more) == (["a", "b"], True)
    one = await store.page("things", after=("a", "b"), size=1)
    assert ([r.address.name for r in one.records], one.more) == (["c"], True)
    rest = await store.page("things", after=("a", "b"), size=2 * size)
    assert ([r.address.name for r in rest.records], rest.more) == (["c", "d"], False)


async def test_changes_are_told_in_order(store: Store) -> None:
    start = store.revision
    await put(store, thing("x"), 1)
    await put(store, thing("other", resource="others"))
    await put(store, thing("x"), 2)
    await remove(store, thing("x"))
    changes, cursor = await store.changes("things", start)
    assert [(c.type, c.object["value"]) for c in changes] == [
        ("ADDED", 1),
        ("MODIFIED", 2),
        ("DELETED", 2),
    ]
    assert cursor == store.revision
    assert changes[1].old_object is not None
    assert changes[1].old_object["value"] == 1
    assert await store.changes("things", cursor) == ([], cursor)


async def state(store: Store, at: int, namespace: str = "") -> dict[Address, int]:
    """Values by address, as read page by page."""
    found: dict[Address, int] = {}
    after = ("", "")
    while True:
        page = await store.page("things", namespace, after=after, limit=2, at=at)
        assert page.revision == at
        found |= {record.address: record.object()["value"] for record in page.records}
        if not page.more:
            return found
        after = page.records[-1].address[1:]


async def test_every_state_since_the_floor_can_be_read(store: Store) -> None:
    now: dict[Address, int] = {}
    states = {}
    chance = Random(1)
    for value in range(3 * HISTORY):
        address = thing(f"n{chance.randrange(9)}", chance.choice("ab"))
        if address in now and chance.random() < 0.3:
            del now[address]
            change = await remove(store, address)
        else:
            now[address] = value
            change = await put(store, address, value)
        states[change.record.revision] = dict(now)
    told = []
    for revision, known in states.items():
        if revision >= store.floor:
            told.append(revision)
            assert await state(store, revision) == known
            inside = {a: v for a, v in known.items() if a.namespace == "b"}
            assert await state(store, revision, "b") == inside
            continue
        with pytest.raises(ConflictError) as expired:
            await store.page("things", at=revision)
        assert expired.value.reason is Reason.EXPIRED
    assert len(told) >= HISTORY


async def test_a_change_knows_what_it_changed_however_old(store: Store) -> None:
    await put(store, thing("old"), 1)
    for value in range(2 * HISTORY):
        await put(store, thing("busy"), value)
    cursor = store.revision
    await put(store, thing("old"), 2)
    for value in range(HISTORY // 2):
        await put(store, thing("busy", resource="others"), value)
    assert store.floor > 2
    changes, _ = await store.changes("things", cursor)
    assert [c.old_object and c.old_object["value"] for c in changes] == [1]
    assert (await state(store, cursor))[thing("old")] == 1
    assert (await state(store, cursor + 1))[thing("old")] == 2


async def test_history_is_bounded(store: Store) -> None:
    start = store.revision
    for value in range(3 * HISTORY):
        await put(store, thing("x"), value)
    assert store.revision - store.floor <= HISTORY + HISTORY // 10
    changes, _ = await store.changes("things", store.floor)
    assert changes[-1].object["value"] == 3 * HISTORY - 1
    assert (await store.get(thing("x"))) is not None
    # What the feed still has may be told; once it is reopened, only the history is there.
    with pytest.raises(ConflictError) as ahead:
        await store.changes("things", store.revision + 100)
    assert ahead.value.reason is Reason.EXPIRED
    assert start < store.floor


async def test_waiting_ends_with_a_change(store: Store) -> None:
    cursor = store.revision
    seen: list[Change] = []

    async def follow() -> None:
        nonlocal cursor
        while len(seen) < 3:
            changes, cursor = await store.changes("things", cursor)
            seen.extend(changes)
            await store.wait("things", cursor)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for value in range(3):
                await put(store, thing("x"), value)
            await put(store, thing("x"), 9)
    assert [c.object["value"] for c in seen[:3]] == [0, 1, 2]


async def test_wake_lets_everybody_look(store: Store) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.wait, "things", store.revision)
            await anyio.lowlevel.checkpoint()
            store.wake()


async def test_owners(store: Store) -> None:
    await put(store, thing("x"), 0, "uid-1", "uid-2")
    await put(store, thing("y"), 0, "uid-1")
    assert sorted(await store.dependents("uid-1")) == [thing("x"), thing("y")]
    await put(store, thing("x"), 0, "uid-2")
    assert await store.dependents("uid-1") == [thing("y")]
    await remove(store, thing("x"))
    assert await store.dependents("uid-2") == []
    assert await store.dependents() == [thing("y")]
    assert await store.addresses("a") == [thing("y")]


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.__aexit__(None, None, None)
    with pytest.raises(UnavailableError):
        await store.get(thing("x"))
    with pytest.raises(UnavailableError):
        await store.write(Write(thing("x"), None, obj()))


async def test_records_decode_apart() -> None:
    record = Record(thing("x"), 1, b'{"a":[1]}')
    record.object()["a"].append(2)
    assert record.object() == {"a": [1]}
