"""What is done after a write was answered: things go because others went, old events go, and every
namespace has its account.

One level-based task: it is told where to look, looks, and does what is still to do; at the start it
looks everywhere, so nothing is forgotten over a crash.
"""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

import anyio

from towpath.apiserver.builtin import DEFINITION, NAMESPACES
from towpath.apiserver.emptying import Emptying
from towpath.apiserver.garbage import Garbage
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.record import Address, Record
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options, Preconditions, Removed
from towpath.apiserver.verbs import Verbs
from towpath.errors import ConflictError, NotFoundError, TowpathError
from towpath.telemetry import fields

__all__ = ["Collector", "Orders"]

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 300.0
"""Time between two looks for old events."""
_EVENTS: Final = "events"
_EVENT_AGE: Final = timedelta(hours=1)
_SWEPT: Final = 1000
"""Most events that go in one sweep."""
_PAGE: Final = 500
_MARKS: Final = (b'"foregroundDeletion"', b'"orphan"')
"""What the bytes of an object hold that waits for the collector."""

Order = Address | Removed


class Orders:
    """Where to look, in the order told; what is told twice is looked at once."""

    def __init__(self) -> None:
        self._waiting: dict[Order, None] = {}
        self._arrived = anyio.Event()

    def add(self, order: Order) -> None:
        """Look there: at an address, or at what something removed owned."""
        self._waiting[order] = None
        self._arrived.set()

    async def take(self) -> Order:
        """The next order; waits for one."""
        while not self._waiting:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        order = next(iter(self._waiting))
        del self._waiting[order]
        return order


class Collector:
    """The task that collects.

    Args:
        store: Where objects are.
        catalogue: What is served.
        verbs: How objects are deleted.
        orders: Where to look.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        verbs: Verbs,
        orders: Orders,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs
        self._orders = orders
        self._clock = clock
        self._garbage = Garbage(store, catalogue, verbs)
        self._emptying = Emptying(store, catalogue, verbs, orders.add, clock)
        self._failed: dict[Order, None] = {}

    async def run(self) -> None:
        """Look everywhere once, then wherever told, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sweep)
            await self._everywhere()
            while True:
                order = None
                with anyio.move_on_after(_RETRY_SECONDS if self._failed else None):
                    order = await self._orders.take()
                if order is not None:
                    await self._safely(order)
                    continue
                again, self._failed = self._failed, {}
                for each in again:
                    await self._safely(each)

    async def _everywhere(self) -> None:
        async for record in self._all(NAMESPACES.key):
            await self._safely(record.address)
        for address in await self._store.dependents():
            await self._safely(address)
        async for record in self._all(DEFINITION.key):  # not before: it takes owners' kinds away
            await self._safely(record.address)
        for key in sorted({resource.key for resource in self._catalogue}):
            async for record in self._all(key):
                if any(mark in record.data for mark in _MARKS):
                    await self._safely(record.address)

    async def _all(self, key: str) -> AsyncIterator[Record]:
        after = ("", "")
        while True:
            page = await self._store.page(key, after=after, limit=_PAGE)
            for record in page.records:
                yield record
            if not page.more:
                return
            after = page.records[-1].address[1:]

    async def _safely(self, order: Order) -> None:
        try:
            if isinstance(order, Removed):
                await self._removed(order)
            else:
                await self._look(order)
        except TowpathError as error:
            log.warning("failed to collect", extra=fields(order=order, error=error.message))
            self._failed[order] = None

    async def _removed(self, removed: Removed) -> None:
        for dependent in await self._store.dependents(removed.uid):
            await self._look(dependent, removed)
        address = removed.address
        if address.namespace:
            self._orders.add(Address(NAMESPACES.key, "", address.namespace))
        if "." in address.resource:
            self._orders.add(Address(DEFINITION.key, "", address.resource))

    async def _look(self, address: Address, removed: Removed | None = None) -> None:
        record = await self._store.get(address)
        if record is None:
            return
        if address.resource in (NAMESPACES.key, DEFINITION.key):
            await self._emptying.look(record)
        await self._garbage.look(record, removed)

    async def _sweep(self) -> None:
        """Let events go that nobody has written for an hour, now and then."""
        while True:
            try:
                await self._drop_events()
            except TowpathError as error:
                log.warning("failed to drop old events", extra=fields(error=error.message))
            await anyio.sleep(_SWEEP_SECONDS)

    async def _drop_events(self) -> None:
        resource = self._catalogue.of_key(_EVENTS)
        if resource is None:
            return
        eldest = (self._clock() - _EVENT_AGE).strftime("%Y-%m-%dT%H:%M:%SZ")
        dropped = 0
        async for record in self._all(_EVENTS):
            metadata = record.object()["metadata"]
            written = [entry.get("time") or "" for entry in metadata.get("managedFields") or ()]
            if max(metadata.get("creationTimestamp", ""), *written, "") >= eldest:
                continue
            known = Preconditions(metadata["uid"], str(record.revision))
            try:
                await self._verbs.delete(
                    resource, record.address, known, Options("towpath-collector")
                )
            except (ConflictError, NotFoundError):  # somebody has just written or deleted it
                continue
            dropped += 1
            if dropped == _SWEPT:
                return
