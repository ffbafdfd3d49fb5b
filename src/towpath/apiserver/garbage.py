"""Owners and what they own: what has no owner left goes, and an owner waits for what holds it.

Source: Kubernetes documentation, "Garbage Collection" (cascading deletion), "Owners and
Dependents".
"""

import contextlib
from typing import Final, Literal

from towpath.apiserver.deletion import FOREGROUND, ORPHAN, Policy
from towpath.apiserver.kinds import Catalogue, Resource
from towpath.apiserver.record import Address, Record
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options, Preconditions, Removed
from towpath.apiserver.verbs import Verbs
from towpath.errors import NotFoundError
from towpath.spec._wire import JsonObject

__all__ = ["Garbage"]

_BY: Final = "towpath-collector"

State = Literal["there", "gone", "waiting"]
"""Of an owner: ``waiting`` is it that goes once what it owns has gone."""


class Garbage:
    """Collects along owner references.

    Args:
        store: Where objects are.
        catalogue: What is served.
        verbs: How objects are deleted.
    """

    def __init__(self, store: Store, catalogue: Catalogue, verbs: Verbs) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs

    async def look(self, record: Record, removed: Removed | None = None) -> None:
        """Do what is to be done about an object as an owner, and as one that is owned.

        Args:
            record: The object.
            removed: An owner of it that went, even if its kind is no longer served.

        Raises:
            TowpathError: it could not be done now.
        """
        resource = self._catalogue.of_key(record.address.resource)
        if resource is None:
            return
        metadata = record.object()["metadata"]
        if "deletionTimestamp" not in metadata:
            if metadata.get("ownerReferences"):
                await self._disown(resource, record, metadata, removed)
            return
        finalizers = metadata.get("finalizers") or ()
        if ORPHAN in finalizers:
            await self._orphan(resource, record, metadata["uid"])
        if FOREGROUND in finalizers:
            await self._wait_for(resource, record, metadata["uid"])

    async def _orphan(self, resource: Resource, owner: Record, uid: str) -> None:
        """Take an owner off what it owns, and then let it go."""
        for address in await self._store.dependents(uid):
            if address != owner.address:
                await self._forget(address, {uid})
        await self._release(resource, owner.address, ORPHAN)

    async def _wait_for(self, resource: Resource, owner: Record, uid: str) -> None:
        """Have what an owner owns deleted; let it go once nothing holds it by that."""
        holding = []
        for address in await self._store.dependents(uid):
            dependent = None if address == owner.address else await self._store.get(address)
            if dependent is None:
                continue
            references = dependent.object()["metadata"].get("ownerReferences") or ()
            if any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in references):
                holding.append(dependent)
        if not holding:
            await self._release(resource, owner.address, FOREGROUND)
        for dependent in holding:
            of = self._catalogue.of_key(dependent.address.resource)
            metadata = dependent.object()["metadata"]
            if of is not None and "deletionTimestamp" not in metadata:
                await self._disown(of, dependent, metadata)

    async def _release(self, resource: Resource, address: Address, finalizer: str) -> None:
        def rule(obj: JsonObject) -> JsonObject:
            left = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            return {**obj, "metadata": {**obj["metadata"], "finalizers": left}}

        await self._verbs.release(resource, address, rule)

    async def _forget(self, address: Address, uids: set[str]) -> None:
        """Take owners off an object."""

        def rule(obj: JsonObject) -> JsonObject:
            left = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] not in uids]
            return {**obj, "metadata": {**obj["metadata"], "ownerReferences": left}}

        resource = self._catalogue.of_key(address.resource)
        if resource is not None:
            await self._verbs.release(resource, address, rule)

    async def _disown(
        self,
        resource: Resource,
        record: Record,
        metadata: JsonObject,
        removed: Removed | None = None,
    ) -> None:
        """Delete what has no owner left; of several owners, forget those that are gone."""
        owners = metadata.get("ownerReferences") or ()
        namespace = record.address.namespace
        states = {owner["uid"]: await self._state(namespace, owner, removed) for owner in owners}
        lost = {uid for uid, state in states.items() if state != "there"}
        if len(lost) < len(states):
            if lost:
                await self._forget(record.address, lost)
            return
        policy: Policy = "Background"
        if "waiting" in states.values() and await self._owns(record, metadata["uid"]):
            policy = "Foreground"
        elif ORPHAN in (metadata.get("finalizers") or ()):
            policy = "Orphan"
        elif FOREGROUND in (metadata.get("finalizers") or ()):
            policy = "Foreground"
        known = Preconditions(metadata["uid"])
        with contextlib.suppress(NotFoundError):
            await self._verbs.delete(resource, record.address, known, Options(_BY, policy=policy))

    async def _owns(self, record: Record, uid: str) -> bool:
        """Whether an object owns others. Where one of them waits for it in turn, it holds no owner.

        So a circle of owners does not wait for itself forever.
        """
        dependents = [a for a in await self._store.dependents(uid) if a != record.address]
        for address in dependents:
            dependent = await self._store.get(address)
            if dependent is not None and _waits(dependent.object()):
                await self._hold_nobody(record.address)
                break
        return bool(dependents)

    async def _hold_nobody(self, address: Address) -> None:
        def rule(obj: JsonObject) -> JsonObject:
            references = obj["metadata"].get("ownerReferences") or ()
            freed = [
                {**r, "blockOwnerDeletion": False} if r.get("blockOwnerDeletion") else r
                for r in references
            ]
            return {**obj, "metadata": {**obj["metadata"], "ownerReferences": freed}}

        resource = self._catalogue.of_key(address.resource)
        if resource is not None:
            await self._verbs.release(resource, address, rule)

    async def _state(self, namespace: str, owner: JsonObject, removed: Removed | None) -> State:
        """What an owner is; one of a kind not served here may well be there, unless it was removed.

        What is owned looks in its own namespace only; what is in none cannot be owned by what is.
        """
        if removed is not None and owner["uid"] == removed.uid:
            return "there" if removed.address.namespace and not namespace else "gone"
        resource = self._catalogue.of_kind(owner["apiVersion"], owner["kind"])
        if resource is None or (resource.kind.namespaced and not namespace):
            return "there"
        within = namespace if resource.kind.namespaced else ""
        record = await self._store.get(Address(resource.key, within, owner["name"]))
        obj = None if record is None else record.object()
        if obj is None or obj["metadata"]["uid"] != owner["uid"]:
            return "gone"
        return "waiting" if _waits(obj) else "there"


def _waits(obj: JsonObject) -> bool:
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and FOREGROUND in (metadata.get("finalizers") or ())
