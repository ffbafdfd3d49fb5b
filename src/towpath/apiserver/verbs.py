"""Create, change and delete: a request's wish, the rules, and one write.

Writes to one object take turns; the store checks the revision once more.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import anyio
import orjson

from towpath.apiserver import definitions, failures, lifecycle
from towpath.apiserver.apply import Manager, apply, tracked
from towpath.apiserver.builtin import DEFINITION, NAMESPACES, PROTECTED
from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.apiserver.record import Address, Record, Write
from towpath.apiserver.store import Store
from towpath.errors import ConflictError, DeniedError, InvalidError, NotFoundError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["Options", "Outcome", "Preconditions", "Removed", "Verbs"]

_NAME_ATTEMPTS: Final = 8


@dataclass(frozen=True)
class Options:
    """What every write can be told.

    Attributes:
        manager: Who writes, for managedFields.
        dry_run: Answer as if, and write nothing.
        force: Server-side apply: take over fields that others manage.
        orphan: Deletion: leave what the object owns, without it as an owner.
    """

    manager: str
    dry_run: bool = False
    force: bool = False
    orphan: bool = False


class Preconditions(NamedTuple):
    """What a deletion insists on; empty is anything."""

    uid: str = ""
    revision: str = ""


class Outcome(NamedTuple):
    """What became of a write.

    Attributes:
        record: The object, as it is now or was last.
        new: Whether it was created.
        gone: Whether it is no longer there.
    """

    record: Record
    new: bool = False
    gone: bool = False


class Removed(NamedTuple):
    """An object that went: whoever it owned may have to go as well."""

    address: Address
    uid: str


class Verbs:
    """The writing verbs over a store.

    Args:
        store: Where objects are.
        catalogue: What is served; kept up to date with the definitions.
        clock: The time.
        collect: Told what the collector should look at: an address, or what was removed.
        limit: Most bytes of one object.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        *,
        clock: Callable[[], datetime],
        collect: Callable[[Address | Removed], None],
        limit: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._collect = collect
        self._limit = limit
        self._turns: WeakValueDictionary[Address, anyio.Lock] = WeakValueDictionary()

    def _turn(self, address: Address) -> anyio.Lock:
        turn = self._turns.get(address)
        if turn is None:
            turn = self._turns[address] = anyio.Lock()
        return turn

    def _now(self) -> str:
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _by(self, resource: Resource, options: Options, subresource: str = "") -> Manager:
        api_version = resource.kind.api_version
        return Manager(options.manager, api_version, self._now(), subresource)

    async def get(self, resource: Resource, address: Address) -> Record:
        """The object at an address. Raises NotFoundError."""
        record = await self._store.get(address)
        if record is None:
            raise failures.not_found(resource, address.name)
        return record

    async def create(
        self, resource: Resource, namespace: str, obj: JsonObject, options: Options
    ) -> Outcome:
        """Create an object.

        Raises:
            ConflictError: it is there already.
            DeniedError: its namespace is being deleted.
            InvalidError: it is not legal, or its definition is being deleted (reason
                ``MethodNotAllowed``).
            NotFoundError: its namespace or its definition is not there.
        """
        metadata = dict(obj["metadata"])
        if metadata.get("resourceVersion"):
            raise failures.bad_request("resourceVersion should not be set on objects to be created")
        metadata.pop("managedFields", None)
        prefix = "" if metadata.get("name") else str(metadata.get("generateName") or "")
        for attempt in range(_NAME_ATTEMPTS):
            if prefix:
                metadata["name"] = lifecycle.generated_name(prefix, os.urandom(5))
            new = self._born(resource, namespace, {**obj, "metadata": metadata})
            new = tracked({}, new, self._by(resource, options), resource.topology)
            try:
                return await self._add(resource, new, options)
            except ConflictError:
                if not prefix or attempt == _NAME_ATTEMPTS - 1:
                    raise
        raise AssertionError  # the loop returns or raises

    def _born(self, resource: Resource, namespace: str, obj: JsonObject) -> JsonObject:
        new = lifecycle.created(
            resource, obj, lifecycle.Birth(namespace, str(uuid.uuid4()), self._now())
        )
        return self._defined(resource, new)

    def _defined(self, resource: Resource, obj: JsonObject) -> JsonObject:
        if resource.custom and resource.stored:
            obj["apiVersion"] = f"{resource.kind.group}/{resource.stored}"
        if resource.key != DEFINITION.key:
            return obj
        served = self._catalogue.of_key(obj["metadata"]["name"])
        if served is not None and not served.custom:
            problem = "Forbidden: this resource is built in"
            raise failures.invalid(resource, served.key, "metadata.name", problem)
        return definitions.established(resource, obj, self._now())

    async def _add(self, resource: Resource, new: JsonObject, options: Options) -> Outcome:
        metadata = new["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        address = Address(resource.key, namespace, name)
        if options.dry_run:
            await self._check_holders(resource, name, namespace)
            if await self._store.get(address):
                raise failures.already_exists(resource, name)
            return Outcome(Record(address, 0, self._encoded(new)), new=True)
        self._encoded(new)
        defined = resource.key if resource.custom else ""
        try:
            change = await self._store.write(
                Write(address, None, new, within=namespace, defined=defined)
            )
        except (DeniedError, NotFoundError):
            await self._check_holders(resource, name, namespace)
            raise
        except ConflictError as exc:
            raise failures.already_exists(resource, name) from exc
        self._written(resource, new, metadata.get("ownerReferences"))
        return Outcome(change.record, new=True)

    async def _check_holders(self, resource: Resource, name: str, namespace: str) -> None:
        """Say why nothing can be created where the namespace or the definition does not stay."""
        if namespace:
            holder = await self.get(NAMESPACES, Address(NAMESPACES.key, "", namespace))
            if "deletionTimestamp" in holder.object()["metadata"]:
                why = (
                    f"unable to create new content in namespace {namespace} "
                    "because it is being terminated"
                )
                causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]
                raise failures.forbidden(resource, name, why, causes=causes)
        if resource.custom:
            found = await self._store.get(Address(DEFINITION.key, "", resource.key))
            if found is None:
                raise unknown()
            if "deletionTimestamp" in found.object()["metadata"]:
                raise InvalidError(
                    "create not allowed while custom resource definition is terminating",
                    reason=Reason.METHOD_NOT_ALLOWED,
                )

    def _encoded(self, obj: JsonObject) -> bytes:
        try:
            data = orjson.dumps(obj)
        except TypeError as exc:
            raise failures.bad_request(f"the object cannot be written as JSON: {exc}") from exc
        if len(data) > self._limit:
            raise InvalidError(
                f"Request entity too large: limit is {self._limit}", reason=Reason.TOO_LARGE
            )
        return data

    def _written(self, resource: Resource, obj: JsonObject, owned: Json) -> None:
        if resource.key == DEFINITION.key:
            self._catalogue.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
            self._catalogue.add(definitions.served(obj))
        metadata = obj["metadata"]
        if owned or (_container(resource) and "deletionTimestamp" in metadata):
            self._collect(Address(resource.key, metadata.get("namespace", ""), metadata["name"]))

    async def change(
        self,
        resource: Resource,
        address: Address,
        rule: Callable[[JsonObject], JsonObject],
        options: Options,
        subresource: str = "",
    ) -> Outcome:
        """Change an object by a rule: its present state in, the wanted one out.

        Raises:
            ConflictError: the rule's result is of another revision or uid than the object.
            InvalidError: the result is not legal.
            NotFoundError: the object is not there.
        """
        async with self._turn(address):
            before = await self.get(resource, address)
            wanted = rule(before.object())
            metadata = wanted.get("metadata")
            if not isinstance(metadata, dict):
                raise failures.bad_request("the patched object has no metadata")
            old = before.object()
            if not metadata.get("managedFields") and "managedFields" in old["metadata"]:
                kept = {**metadata, "managedFields": old["metadata"]["managedFields"]}
                wanted = {**wanted, "metadata": kept}
            new = lifecycle.updated(resource, old, wanted, subresource)
            new = self._defined(resource, new)
            by = self._by(resource, options, subresource)
            new = tracked(old, new, by, resource.topology)
            return await self._replace(resource, before, new, options)

    async def apply(
        self,
        resource: Resource,
        address: Address,
        wanted: JsonObject,
        options: Options,
        subresource: str = "",
    ) -> Outcome:
        """Server-side apply.

        Raises:
            ConflictError: another manages a field with another value, and ``force`` is not set.
            DeniedError: the namespace is being deleted.
            InvalidError: the result is not legal.
            NotFoundError: the namespace is not there, or, for a subresource, the object.
        """
        if wanted["metadata"].get("managedFields"):
            raise failures.bad_request("metadata.managedFields must be nil")
        by, topology = self._by(resource, options, subresource), resource.topology
        aside = {"status"} if resource.status and not subresource else set()
        if subresource:
            aside = wanted.keys() - {"apiVersion", "kind", "metadata", subresource}
        metadata = {**wanted["metadata"], "name": address.name}
        if subresource:
            metadata = {
                k: v for k, v in metadata.items() if k in ("name", "uid", "resourceVersion")
            }
        wanted = {k: v for k, v in wanted.items() if k not in aside} | {"metadata": metadata}
        async with self._turn(address):
            before = await self._store.get(address)
            if before is None:
                if subresource:
                    raise failures.not_found(resource, address.name)
                base = {**wanted, "metadata": {"name": address.name}}
                new = apply(
                    {k: base[k] for k in ("apiVersion", "kind", "metadata")},
                    wanted,
                    by,
                    topology,
                    force=options.force,
                )
                if metadata.get("uid") or metadata.get("resourceVersion"):
                    raise failures.modified(resource, address.name)
                return await self._add(
                    resource, self._born(resource, address.namespace, new), options
                )
            old = before.object()
            new = apply(before.object(), wanted, by, topology, force=options.force)
            new = lifecycle.updated(resource, old, new, subresource)
            return await self._replace(resource, before, self._defined(resource, new), options)

    async def _replace(
        self, resource: Resource, before: Record, new: JsonObject, options: Options
    ) -> Outcome:
        old = before.object()
        if lifecycle.same(old, new):
            return Outcome(before)
        leaving = lifecycle.leaving(new) and not _container(resource)
        if options.dry_run:
            return Outcome(Record(before.address, before.revision, self._encoded(new)))
        if leaving:
            return await self._remove(resource, before)
        self._encoded(new)
        try:
            change = await self._store.write(Write(before.address, before, new))
        except ConflictError as exc:
            raise failures.modified(resource, before.address.name) from exc
        owners = new["metadata"].get("ownerReferences")
        moved = owners != old["metadata"].get("ownerReferences")
        self._written(resource, new, owners if moved else None)
        return Outcome(change.record)

    async def delete(
        self,
        resource: Resource,
        address: Address,
        preconditions: Preconditions,
        options: Options,
    ) -> Outcome:
        """Delete an object, or mark it as to be deleted where finalizers or contents hold it.

        What it owns is released before it goes, and only once nothing stands against its going.

        Raises:
            ConflictError: it is not the object of the preconditions.
            DeniedError: it is a namespace that is always there.
            NotFoundError: it is not there.
        """
        if options.orphan and not options.dry_run:
            before = await self._deletable(resource, address, preconditions)
            await self._release(before)  # outside its turn: those it owns take theirs
        async with self._turn(address):
            before = await self._deletable(resource, address, preconditions)
            obj = before.object()
            if not obj["metadata"].get("finalizers") and not _container(resource):
                if options.dry_run:
                    return Outcome(before, gone=True)
                return await self._remove(resource, before)
            new = lifecycle.marked(obj, self._now())
            if resource.key == NAMESPACES.key:
                new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
            return await self._replace(resource, before, new, options)

    async def _deletable(
        self, resource: Resource, address: Address, preconditions: Preconditions
    ) -> Record:
        before = await self.get(resource, address)
        for field, wanted, found in (
            ("UID", preconditions.uid, before.object()["metadata"]["uid"]),
            ("ResourceVersion", preconditions.revision, str(before.revision)),
        ):
            if wanted and wanted != found:
                raise failures.precondition(resource, address.name, field, wanted, found)
        if resource.key == NAMESPACES.key and address.name in PROTECTED:
            raise failures.forbidden(resource, address.name, "this namespace may not be deleted")
        return before

    async def _release(self, owner: Record) -> None:
        """Take an object's uid off those it owns, so that they stay when it goes."""
        uid = owner.object()["metadata"]["uid"]

        def rule(obj: JsonObject) -> JsonObject:
            references = obj["metadata"].get("ownerReferences") or ()
            left = [r for r in references if r["uid"] != uid]
            return {**obj, "metadata": {**obj["metadata"], "ownerReferences": left}}

        for dependent in await self._store.dependents(uid):
            kind = self._catalogue.of_key(dependent.resource)
            if kind is not None and dependent != owner.address:
                with contextlib.suppress(NotFoundError):
                    await self.change(kind, dependent, rule, Options("towpath-collector"))

    async def vacate(self, resource: Resource, address: Address, emptied: Address) -> bool:
        """Remove a namespace or definition that is to go, if nothing is left in it."""
        async with self._turn(address):
            before = await self._store.get(address)
            if before is None:
                return True
            if before.object()["metadata"].get("finalizers"):
                return False
            try:
                await self._remove(resource, before, emptied)
            except ConflictError:
                return False
            return True

    async def _remove(
        self, resource: Resource, before: Record, emptied: Address | None = None
    ) -> Outcome:
        change = await self._store.write(Write(before.address, before, None, emptied=emptied))
        obj = before.object()
        if resource.key == DEFINITION.key:
            self._catalogue.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
        self._collect(Removed(before.address, obj["metadata"]["uid"]))
        return Outcome(change.record, gone=True)


def _container(resource: Resource) -> bool:
    """Whether objects of this kind hold others, and go only when these have gone."""
    return resource.key in (NAMESPACES.key, DEFINITION.key)
