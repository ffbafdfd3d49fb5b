"""Writes that wait for their turn share a transaction, and none of them suffers from another."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import CapacityLimiter

from towpath.registry.engines import BusyError
from towpath.registry.turns import GROUP, Turns

pytestmark = pytest.mark.anyio


class Ledger:
    """What was committed, transaction by transaction; the first one waits for its gate."""

    def __init__(self) -> None:
        self.committed: list[list[str]] = []
        self.gate = threading.Event()
        self.begun = threading.Event()

    def transact(self, work: Callable[[Any], Any]) -> Any:
        first = not self.begun.is_set()
        self.begun.set()
        if first:
            assert self.gate.wait(10)
        rows: list[str] = []
        result = work(rows)
        self.committed.append(rows)
        return result


def adding(row: str) -> Callable[[Any], str]:
    def work(rows: Any) -> str:
        rows.append(row)
        return row

    return work


def failing(rows: Any) -> str:
    rows.append("wrong")
    raise ValueError("wrong")


async def behind(ledger: Ledger, turns: Turns, works: list[Callable[[Any], Any]]) -> list[Any]:
    """The outcomes of works that all came while a first one was written."""
    outcomes: list[Any] = [None] * len(works)

    async def one(index: int) -> None:
        try:
            outcomes[index] = await turns.take(works[index])
        except ValueError as exc:
            outcomes[index] = exc

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.take, adding("first"))
        await anyio.to_thread.run_sync(ledger.begun.wait)
        for index in range(len(works)):
            tasks.start_soon(one, index)
        await anyio.wait_all_tasks_blocked()
        ledger.gate.set()
    return outcomes


async def test_all_who_wait_go_together_in_their_order() -> None:
    ledger = Ledger()
    rows = [f"row {index}" for index in range(5)]
    outcomes = await behind(
        ledger, Turns(ledger.transact, CapacityLimiter(1)), [adding(row) for row in rows]
    )
    assert outcomes == rows
    assert ledger.committed == [["first"], rows]


async def test_one_that_fails_takes_nobody_with_it() -> None:
    ledger = Ledger()
    works = [adding("a"), failing, adding("b")]
    outcomes = await behind(ledger, Turns(ledger.transact, CapacityLimiter(1)), works)
    assert [str(outcome) for outcome in outcomes] == ["a", "wrong", "b"]
    assert ledger.committed == [["first"], ["a"], ["b"]]


async def test_a_group_whose_locks_were_in_others_way_goes_one_by_one() -> None:
    ledger = Ledger()

    def crowded(work: Callable[[Any], Any]) -> Any:
        result = ledger.transact(work)
        if isinstance(result, list):
            ledger.committed.pop()
            raise BusyError("deadlock")
        return result

    works = [adding("a"), adding("b")]
    outcomes = await behind(ledger, Turns(crowded, CapacityLimiter(1)), works)
    assert outcomes == ["a", "b"]
    assert ledger.committed == [["first"], ["a"], ["b"]]


async def test_a_group_locks_in_one_order() -> None:
    ledger = Ledger()
    turns = Turns(ledger.transact, CapacityLimiter(1))
    locks = [("context", 2), ("artifact", 3), ("", 0), ("context", 1), ("", 0)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.take, adding("first"))
        await anyio.to_thread.run_sync(ledger.begun.wait)
        for index, lock in enumerate(locks):
            tasks.start_soon(turns.take, adding(str(index)), lock)
        await anyio.wait_all_tasks_blocked()
        ledger.gate.set()
    assert ledger.committed[1] == ["2", "4", "1", "3", "0"]


async def test_two_who_end_at_once_leave_room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way: list[int] = []  # how many are, each time that one begins
    ended = anyio.Event()
    now = 0

    async def run_sync(work: Callable[..., None], *args: Any, limiter: CapacityLimiter) -> None:
        nonlocal now
        now += 1
        under_way.append(now)
        await ended.wait()
        work(*args)
        now -= 1

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    turns = Turns(lambda work: work(None), CapacityLimiter(2))

    async def many(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(turns.take, lambda _: None)
            await anyio.wait_all_tasks_blocked()
            ended.set()

    await many(2 + GROUP + 1)
    assert under_way == [1, 2, 1, 2]
    await many(2)
    assert under_way[4:] == [1, 2]


async def test_a_group_has_an_end() -> None:
    ledger = Ledger()
    works = [adding(str(index)) for index in range(2 * GROUP + 1)]
    await behind(ledger, Turns(ledger.transact, CapacityLimiter(1)), works)
    assert [len(rows) for rows in ledger.committed] == [1, GROUP, GROUP, 1]


async def test_who_finds_room_goes_at_once() -> None:
    ledger = Ledger()
    turns = Turns(ledger.transact, CapacityLimiter(2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.take, adding("first"))
        await anyio.to_thread.run_sync(ledger.begun.wait)
        with anyio.fail_after(5):
            assert await turns.take(adding("second")) == "second"
        ledger.gate.set()
    assert ledger.committed == [["second"], ["first"]]


async def test_who_leaves_before_their_turn_is_not_written() -> None:
    ledger = Ledger()
    turns = Turns(ledger.transact, CapacityLimiter(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.take, adding("first"))
        await anyio.to_thread.run_sync(ledger.begun.wait)
        with anyio.move_on_after(0.01):
            await turns.take(adding("gone"))
        tasks.start_soon(turns.take, adding("last"))
        await anyio.wait_all_tasks_blocked()
        ledger.gate.set()
    assert ledger.committed == [["first"], ["last"]]


@pytest.mark.parametrize("leaves", [0, 1, 2])
async def test_the_turn_is_handed_on_when_a_leader_leaves(leaves: int) -> None:
    ledger = Ledger()
    turns = Turns(ledger.transact, CapacityLimiter(1))
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def one(index: int) -> None:
        with scopes[index]:
            await turns.take(adding(str(index)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.take, adding("first"))
        await anyio.to_thread.run_sync(ledger.begun.wait)
        for index in range(3):
            tasks.start_soon(one, index)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(anyio.to_thread.run_sync, ledger.gate.set)
        scopes[leaves].cancel()
    assert ledger.committed[0] == ["first"]
    assert ledger.committed[1] == [str(index) for index in range(3) if index != leaves]
    assert await turns.take(adding("after")) == "after"


async def test_a_leader_who_is_cancelled_takes_nobody_along() -> None:
    """It is cancelled in the moment between its being woken and its leading."""
    ledger = Ledger()
    turns = Turns(ledger.transact, CapacityLimiter(1))
    written: list[str] = []
    scope = anyio.CancelScope()

    async def first() -> None:
        await turns.take(adding("first"))
        scope.cancel()

    async def leader() -> None:
        with scope:
            await turns.take(adding("leader"))

    async def follower() -> None:
        written.append(await turns.take(adding("follower")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.to_thread.run_sync(ledger.begun.wait)
        for one in (leader, follower):
            tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
        ledger.gate.set()
    assert written == ["follower"]
    assert "follower" in ledger.committed[-1]
