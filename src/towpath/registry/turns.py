"""Group commit: writes that wait for their turn go together, in one transaction.

A transaction costs more than the few statements in it: a thread, a connection, its beginning, and
a commit that waits for the disk. Whoever finds nobody writing goes at once, alone. Whoever comes
meanwhile waits, and all who wait go next, led by the first of them. One that fails takes nobody
with it: the transaction is rolled back, and each of the group goes again by itself. When it was the
database that failed, all are told so.

A group keeps the locks of all its works to its end, so two groups that lock the same entities in
two orders wait for each other, until the database ends one of them. So works say what they lock,
and those of a group are done in the order of that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import Connection

from towpath.errors import UnavailableError
from towpath.registry.engines import BusyError

__all__ = ["Turns"]

T = TypeVar("T")

Work: TypeAlias = Callable[[Connection], T]

GROUP: Final = 32
"""Most writes in one transaction: their locks are held until the last of them is done."""


@dataclass(eq=False)
class _Turn:
    """A write that waits: to be done, or to lead."""

    work: Work[Any]
    locks: tuple[str, int]
    woken: anyio.Event = field(default_factory=anyio.Event)
    result: Any = None
    error: Exception | None = None


class Turns:
    """Who writes when.

    Args:
        transact: Does a work in a transaction of its own; it is called in a thread.
        threads: How many groups may write at the same time.
    """

    def __init__(self, transact: Callable[[Work[Any]], Any], threads: CapacityLimiter) -> None:
        self._transact = transact
        self._threads = threads
        self._free = int(threads.total_tokens)
        self._waiting: list[_Turn] = []

    async def take(self, work: Work[T], locks: tuple[str, int] = ("", 0)) -> T:
        """Do a work in a transaction that is committed when this returns; it may be run again.

        Args:
            work: The work.
            locks: What it locks and others may lock too, in an order of all such things.
        """
        turn = _Turn(work, locks)
        self._waiting.append(turn)
        if self._free and self._waiting[0] is turn:
            self._free -= 1
        else:
            await self._woken(turn)
        if turn in self._waiting:
            await self._lead()
        if turn.error is not None:
            raise turn.error
        return cast(T, turn.result)

    async def _woken(self, turn: _Turn) -> None:
        try:
            await turn.woken.wait()
        except BaseException:  # cancelled: nobody waits for it any more
            if turn in self._waiting:
                self._waiting.remove(turn)
                if turn.woken.is_set():
                    self._hand_over()
            raise

    async def _lead(self) -> None:
        group = self._waiting[:GROUP]
        del self._waiting[:GROUP]
        group.sort(key=lambda turn: turn.locks)
        if self._free:  # it was handed the turns of two that ended at once
            self._free -= 1
            self._hand_over()
        try:
            with anyio.CancelScope(shield=True):  # the others do not leave with their leader
                await anyio.to_thread.run_sync(self._together, group, limiter=self._threads)
        except RuntimeError as exc:  # there is no thread to be had
            for turn in group:
                turn.error = UnavailableError(f"no write can begin: {exc}", retry_after=1)
        finally:
            for turn in group:
                turn.woken.set()
            self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting and not self._waiting[0].woken.is_set():
            self._waiting[0].woken.set()
        else:
            self._free += 1

    def _together(self, group: list[_Turn]) -> None:
        if len(group) > 1:
            try:
                results = self._transact(lambda tx: [turn.work(tx) for turn in group])
            except Exception as exc:  # each learns below what it was, if it was theirs
                if isinstance(exc, UnavailableError) and not isinstance(exc, BusyError):
                    for turn in group:  # perhaps while it was committed: that is not repeated
                        turn.error = exc
                    return
            else:
                for turn, result in zip(group, results, strict=True):
                    turn.result = result
                return
        for turn in group:
            try:
                turn.result = self._transact(turn.work)
            except Exception as exc:
                turn.error = exc
