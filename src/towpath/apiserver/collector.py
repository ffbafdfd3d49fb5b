"""What goes because something else went: a namespace's contents, a definition's objects, and
objects whose owners are all gone.

One level-based task: it is told where to look, looks, and does what is still to do; at the start it
looks everywhere, so nothing is forgotten over a crash.
"""

import contextlib
import logging
from collections import deque
from typing import Final

import anyio

from towpath.apiserver.builtin import DEFINITION, NAMESPACES
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.record import Address, Write
from towpath.apiserver.store import Store
from towpath.apiserver.verbs import Options, Preconditions, Removed, Verbs
from towpath.errors import NotFoundError, TowpathError
from towpath.spec._wire import JsonObject
from towpath.telemetry import fields

__all__ = ["Collector", "Orders"]

log = logging.getLogger(__name__)

_BY: Final = Options("towpath-collector")
_RETRY_SECONDS: Final = 10.0


class Orders:
    """Where to look, in the order told."""

    def __init__(self) -> None:
        self._waiting: deque[Address | Removed] = deque()
        self._arrived = anyio.Event()

    def add(self, order: Address | Removed) -> None:
        """Look there: at an address, or at what something removed owned."""
        self._waiting.append(order)
        self._arrived.set()

    async def take(self) -> Address | Removed:
        """The next order; waits for one."""
        while not self._waiting:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()


class Collector:
    """The task that collects.

    Args:
        store: Where objects are.
        catalogue: What is served.
        verbs: How objects are deleted.
        orders: Where to look.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        verbs: Verbs,
        orders: Orders,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs
        self._orders = orders
        self._failed: list[Address | Removed] = []

    async def run(self) -> None:
        """Look everywhere once, then wherever told, until cancelled."""
        for key in (NAMESPACES.key, DEFINITION.key):
            for record in (await self._store.page(key)).records:
                await self._safely(record.address)
        for address in await self._store.dependents():
            await self._safely(address)
        while True:
            order = None
            with anyio.move_on_after(_RETRY_SECONDS if self._failed else None):
                order = await self._orders.take()
            again, self._failed = (self._failed, []) if order is None else ([order], self._failed)
            for each in again:
                await self._safely(each)

    async def _safely(self, order: Address | Removed) -> None:
        try:
            if isinstance(order, Removed):
                await self._removed(order)
            else:
                await self._look(order)
        except TowpathError as error:
            log.warning("failed to collect", extra=fields(order=order, error=error.message))
            self._failed.append(order)

    async def _removed(self, removed: Removed) -> None:
        for dependent in await self._store.dependents(removed.uid):
            await self._look(dependent)
        address = removed.address
        if address.namespace:
            await self._look(Address(NAMESPACES.key, "", address.namespace))
        if "." in address.resource:
            await self._look(Address(DEFINITION.key, "", address.resource))

    async def _look(self, address: Address) -> None:
        record = await self._store.get(address)
        if record is None:
            return
        obj = record.object()
        if address.resource in (NAMESPACES.key, DEFINITION.key):
            if "deletionTimestamp" in obj["metadata"]:
                await self._empty(address)
        elif obj["metadata"].get("ownerReferences"):
            await self._disown(address, obj)

    async def _empty(self, address: Address) -> None:
        if address.resource == NAMESPACES.key:
            where, resource = Address("", address.name, ""), NAMESPACES
            contents = await self._store.addresses(address.name)
        else:
            where, resource = Address(address.name, "", ""), DEFINITION
            contents = [r.address for r in (await self._store.page(address.name)).records]
        for content in contents:
            await self._delete(content)
        await self._verbs.vacate(resource, address, where)

    async def _delete(self, address: Address, uid: str = "") -> None:
        resource = self._catalogue.of_key(address.resource)
        with contextlib.suppress(NotFoundError):
            if resource is None:
                await self._discard(address)
            else:
                await self._verbs.delete(resource, address, Preconditions(uid), _BY)

    async def _discard(self, address: Address) -> None:
        """Remove an object of a kind that is not served: nobody else can."""
        record = await self._store.get(address)
        if record is not None:
            await self._store.write(Write(address, record, None))
            self._orders.add(Removed(address, record.object()["metadata"].get("uid", "")))

    async def _disown(self, address: Address, obj: JsonObject) -> None:
        """Delete what has no owner left; of several owners, forget those who are gone."""
        resource = self._catalogue.of_key(address.resource)
        if resource is None:
            return
        metadata = obj["metadata"]
        owners = metadata["ownerReferences"]
        left = [o for o in owners if await self._alive(metadata.get("namespace", ""), o)]
        if not left:
            await self._delete(address, metadata["uid"])
        if len(left) in (0, len(owners)):
            return

        def rule(now: JsonObject) -> JsonObject:
            kept = [o for o in now["metadata"].get("ownerReferences") or () if o in left]
            return {**now, "metadata": {**now["metadata"], "ownerReferences": kept}}

        await self._verbs.change(resource, address, rule, _BY)

    async def _alive(self, namespace: str, owner: JsonObject) -> bool:
        """Whether an owner is there; one of a kind not served here may well be."""
        resource = self._catalogue.of_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return True
        within = namespace if resource.kind.namespaced else ""
        record = await self._store.get(Address(resource.key, within, owner["name"]))
        return record is not None and record.object()["metadata"]["uid"] == owner["uid"]
