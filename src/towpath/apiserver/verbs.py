"""Create, change and delete: a request's wish, the rules, and one write.

Every kind takes the same way: what its schema does not know is dropped, defaults come in, the
server's own part is added, what is illegal is refused, the account of fields is kept, and then one
write is made. Writes to one object take turns; the store checks the revision once more.
"""

import contextlib
import os
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio
import orjson
from anyio import to_thread

from towpath.apiserver import definitions, deletion, failures, intake, lifecycle
from towpath.apiserver.apply import Manager, apply, tracked
from towpath.apiserver.builtin import DEFINITION, NAMESPACES, PROTECTED
from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.apiserver.record import Address, Record, Write
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options, Outcome, Preconditions, Removed
from towpath.errors import ConflictError, DeniedError, InvalidError, NotFoundError, Reason
from towpath.spec._wire import JsonObject

__all__ = ["Verbs"]

T = TypeVar("T")

_LARGE: Final = 256 * 1024
"""Bytes from which on an object is worked on beside the event loop."""
_NAME_ATTEMPTS: Final = 8
_BORN_BY_UPDATE: Final = frozenset(
    {
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "endpoints",
        "events",
        "leases.coordination.k8s.io",
        "limitranges",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
    }
)
"""Kinds of which an update creates what is not there."""


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
        if obj["metadata"].get("resourceVersion"):
            raise failures.bad_request("resourceVersion should not be set on objects to be created")
        size = len(self._encoded(obj))
        obj, found = await _beside(size, partial(intake.pruned, resource, obj))
        warnings = options.scrutiny.judge(resource, obj, found)
        by = self._by(resource, options)
        metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
        prefix = "" if metadata.get("name") else metadata.get("generateName") or ""
        for attempt in range(_NAME_ATTEMPTS):
            if prefix:
                metadata["name"] = lifecycle.generated_name(prefix, os.urandom(5))
            wanted = {**obj, "metadata": metadata}
            new = await _beside(size, partial(self._born, resource, namespace, wanted))
            new = await _beside(size, partial(tracked, {}, new, by, resource.topology))
            try:
                outcome = await self._add(resource, new, options)
            except ConflictError as error:
                if not prefix:
                    raise
                if attempt == _NAME_ATTEMPTS - 1:
                    why = ", the server was not able to generate a unique name for the object"
                    raise failures.already_exists(resource, metadata["name"], why) from error
            else:
                return outcome._replace(warnings=warnings)
        raise AssertionError  # the loop returns or raises

    def _born(self, resource: Resource, namespace: str, obj: JsonObject) -> JsonObject:
        birth = lifecycle.Birth(namespace, str(uuid.uuid4()), self._now())
        new = lifecycle.created(resource, intake.completed(resource, obj), birth)
        return self._checked(resource, new, None)

    def _grown(
        self, resource: Resource, old: JsonObject, wanted: JsonObject, subresource: str
    ) -> JsonObject:
        new = intake.completed(resource, wanted)
        return self._checked(resource, lifecycle.updated(resource, old, new, subresource), old)

    def _checked(self, resource: Resource, new: JsonObject, old: JsonObject | None) -> JsonObject:
        """A legal object as it is stored."""
        intake.check(resource, new, old)
        if resource.custom and resource.stored:
            return {**new, "apiVersion": f"{resource.kind.group}/{resource.stored}"}
        if resource.key != DEFINITION.key:
            return new
        served = self._catalogue.of_key(new["metadata"]["name"])
        if served is not None and not served.custom:
            problem = "Forbidden: this resource is built in"
            raise failures.invalid(resource, served.key, "metadata.name", problem)
        return definitions.established(resource, new, self._now(), old, self._catalogue)

    async def _add(self, resource: Resource, new: JsonObject, options: Options) -> Outcome:
        metadata = new["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        address = Address(resource.key, namespace, name)
        if options.admit is not None:
            options.admit(resource, None, new)
        data = self._encoded(new)
        if options.dry_run:
            await self._check_holders(resource, name, namespace)
            if await self._store.get(address):
                raise failures.already_exists(resource, name)
            return Outcome(Record(address, 0, data), new=True)
        defined = resource.key if resource.custom else ""
        try:
            change = await self._store.write(
                Write(address, None, new, within=namespace, defined=defined, size=len(data))
            )
        except (DeniedError, NotFoundError):
            await self._check_holders(resource, name, namespace)
            raise
        except ConflictError as exc:
            there = await self._store.get(address)
            going = there is not None and "deletionTimestamp" in there.object()["metadata"]
            raise failures.already_exists(resource, name, going=going) from exc
        self._written(resource, new, None)
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
                cause = {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
                raise failures.forbidden(resource, name, why, causes=[cause])
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

    def _written(self, resource: Resource, new: JsonObject, old: JsonObject | None) -> None:
        """Serve what a definition now says; have looked at what may have to be collected."""
        if resource.key == DEFINITION.key:
            self._catalogue.remove(new["spec"]["group"], new["spec"]["names"]["plural"])
            self._catalogue.add(definitions.served(new))
        metadata = new["metadata"]
        owners = metadata.get("ownerReferences")
        before = old["metadata"].get("ownerReferences") if old else None
        owned = owners and owners != before
        if before and owners != before:
            self._collect_owners(metadata.get("namespace", ""), before)
        held = "deletionTimestamp" in metadata and metadata.get("finalizers")
        if owned or held or resource.key == NAMESPACES.key:
            self._collect(Address(resource.key, metadata.get("namespace", ""), metadata["name"]))

    def _collect_owners(self, namespace: str, owners: list[JsonObject]) -> None:
        """Have owners looked at, which may wait for what they own."""
        for owner in owners:
            resource = self._catalogue.of_kind(owner["apiVersion"], owner["kind"])
            if resource is not None:
                within = namespace if resource.kind.namespaced else ""
                self._collect(Address(resource.key, within, owner["name"]))

    async def change(
        self,
        resource: Resource,
        address: Address,
        rule: Callable[[JsonObject], JsonObject],
        options: Options,
        subresource: str = "",
    ) -> Outcome:
        """Change an object by a rule: its present state in, the wanted one out.

        The rule is given the object in the version asked for, and does not change what it is given.

        Raises:
            ConflictError: the rule's result is of another revision or uid than the object.
            InvalidError: the result is not legal.
            NotFoundError: the object is not there.
        """
        async with self._turn(address):
            before = await self.get(resource, address)
            old = before.object()
            wanted = rule(intake.converted(resource, old))
            size = len(self._encoded(wanted))
            wanted, found = await _beside(size, partial(intake.pruned, resource, wanted))
            warnings = options.scrutiny.judge(resource, wanted, found)
            grow = partial(self._grown, resource, old, wanted, subresource)
            new = await _beside(size, grow)
            by = self._by(resource, options, subresource)
            new = await _beside(size, partial(tracked, old, new, by, resource.topology))
            outcome = await self._replace(resource, before, old, new, options)
            return outcome._replace(warnings=warnings)

    async def put(
        self,
        resource: Resource,
        address: Address,
        obj: JsonObject,
        options: Options,
        subresource: str = "",
    ) -> Outcome:
        """Replace an object; of some kinds, create the one that is not there.

        Raises:
            As :meth:`change` and :meth:`create` do.
        """
        try:
            return await self.change(resource, address, lambda _: obj, options, subresource)
        except NotFoundError:
            metadata = obj["metadata"]
            known = metadata.get("uid") or metadata.get("resourceVersion")
            if subresource or known or resource.key not in _BORN_BY_UPDATE:
                raise
            return await self.create(resource, address.namespace, obj, options)

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
            InvalidError: the result is not legal, or names fields that its kind does not know.
            NotFoundError: the namespace is not there, or, for a subresource, the object.
        """
        if wanted["metadata"].get("managedFields"):
            raise failures.bad_request("metadata.managedFields must be nil")
        size = len(self._encoded(wanted))
        declare = partial(intake.declared, resource, wanted, address.namespace)
        wanted = await _beside(size, declare)
        wanted = _of_subresource(resource, wanted, address.name, subresource)
        warnings = options.scrutiny.judge(resource, wanted, [])
        by, topology = self._by(resource, options, subresource), resource.topology
        metadata = wanted["metadata"]
        async with self._turn(address):
            before = await self._store.get(address)
            if before is None:
                if subresource:
                    raise failures.not_found(resource, address.name)
                if metadata.get("uid"):
                    raise failures.vanished(resource, address.name, metadata["uid"])
                if metadata.get("resourceVersion"):
                    raise failures.modified(resource, address.name)
                kind = {k: wanted[k] for k in ("apiVersion", "kind")}
                base = {**kind, "metadata": {"name": address.name}}
                merge = partial(apply, base, wanted, by, topology, force=options.force)
                new = await _beside(size, merge)
                new = await _beside(size, partial(self._born, resource, address.namespace, new))
                outcome = await self._add(resource, new, options)
            else:
                old = before.object()
                live = intake.converted(resource, old)
                yielding = definitions.PROVIDER if resource.key == DEFINITION.key else ""
                merge = partial(
                    apply, live, wanted, by, topology, force=options.force, yielding=yielding
                )
                new = await _beside(size, merge)
                new = await _beside(size, partial(self._grown, resource, old, new, subresource))
                outcome = await self._replace(resource, before, old, new, options)
            return outcome._replace(warnings=warnings)

    async def _replace(
        self,
        resource: Resource,
        before: Record,
        old: JsonObject,
        new: JsonObject,
        options: Options,
    ) -> Outcome:
        if lifecycle.same(old, new):
            return Outcome(before)
        if options.admit is not None:
            options.admit(resource, old, new)
        data = self._encoded(new)
        if options.dry_run:
            return Outcome(Record(before.address, before.revision, data))
        if lifecycle.leaving(resource, new):
            removed = await self._remove(resource, before)
            return removed._replace(record=removed.record._replace(data=data))
        try:
            change = await self._store.write(Write(before.address, before, new, size=len(data)))
        except ConflictError as exc:
            raise failures.modified(resource, before.address.name) from exc
        self._written(resource, new, old)
        return Outcome(change.record)

    async def delete(
        self,
        resource: Resource,
        address: Address,
        preconditions: Preconditions,
        options: Options,
    ) -> Outcome:
        """Delete an object, or mark it as to be deleted where something holds it.

        Raises:
            ConflictError: it is not the object of the preconditions.
            DeniedError: it is a namespace that is always there.
            NotFoundError: it is not there.
        """
        async with self._turn(address):
            before = await self._deletable(resource, address, preconditions)
            old = before.object()
            new = deletion.ended(resource, old, options.policy, self._now())
            if deletion.held(resource, new):
                marking = Options(options.manager, options.dry_run)
                return await self._replace(resource, before, old, new, marking)
            if options.dry_run:
                return Outcome(before, gone=True)
            return await self._remove(resource, before)

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

    async def release(
        self,
        resource: Resource,
        address: Address,
        rule: Callable[[JsonObject], JsonObject],
        emptied: Address | None = None,
    ) -> None:
        """Take off what the server itself holds an object by, and let it go if nothing else does.

        Args:
            resource: Its kind.
            address: Where it is; it may have gone.
            rule: The object in, the object without that hold out.
            emptied: Nothing may lie there when it goes.

        Raises:
            ConflictError: something does lie there.
        """
        async with self._turn(address):
            before = await self._store.get(address)
            if before is None:
                return
            old = before.object()
            new = rule(old)
            if lifecycle.leaving(resource, new):
                await self._remove(resource, before, emptied)
            elif new != old:
                new = {**new, "metadata": lifecycle.tidied(new["metadata"])}
                change = await self._store.write(Write(address, before, new))
                self._written(resource, change.object, old)

    async def _remove(
        self, resource: Resource, before: Record, emptied: Address | None = None
    ) -> Outcome:
        with contextlib.suppress(NotFoundError):  # what is gone is gone
            change = await self._store.write(Write(before.address, before, None, emptied=emptied))
            before = change.record
        obj = before.object()
        if resource.key == DEFINITION.key:
            self._catalogue.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
        metadata = obj["metadata"]
        self._collect_owners(before.address.namespace, metadata.get("ownerReferences") or [])
        self._collect(Removed(before.address, metadata["uid"]))
        return Outcome(before, gone=True)


async def _beside(size: int, work: Callable[[], T]) -> T:
    """The result of pure work; for an object of many bytes, worked out beside the event loop."""
    return work() if size < _LARGE else await to_thread.run_sync(work)


def _of_subresource(
    resource: Resource, wanted: JsonObject, name: str, subresource: str
) -> JsonObject:
    """What is to be applied, without what the path does not reach."""
    metadata = {**wanted["metadata"], "name": name}
    if subresource == "status":
        reached = {"apiVersion", "kind", "status"}
        wanted = {k: v for k, v in wanted.items() if k in reached}
        metadata = {k: v for k, v in metadata.items() if k in ("name", "uid", "resourceVersion")}
    elif resource.status:
        wanted = {k: v for k, v in wanted.items() if k != "status"}
    return {**wanted, "metadata": metadata}
