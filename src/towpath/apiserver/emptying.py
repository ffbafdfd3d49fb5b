"""Namespaces and definitions: what is in them goes before they go, and a namespace that stays has
its ServiceAccount.

Source: Kubernetes documentation, "Namespaces", "Managing Service Accounts"; API reference,
NamespaceCondition.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from towpath.apiserver import deletion
from towpath.apiserver.builtin import DEFINITION, NAMESPACES
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.record import Address, Record, Write
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options, Preconditions, Removed
from towpath.apiserver.verbs import Verbs
from towpath.errors import ConflictError, DeniedError, NotFoundError, TowpathError
from towpath.spec._wire import JsonObject

__all__ = ["Emptying", "conditions"]

_BACKGROUND: Final = Options("towpath-collector", policy="Background")
_BY: Final = Options("towpath-collector")
_ACCOUNTS: Final = "serviceaccounts"
_ACCOUNT: Final = "default"


class _Remains(NamedTuple):
    """A condition of a namespace that goes: its type, and what it says when all is well."""

    type: str
    reason: str
    message: str


_CONDITIONS: Final = (
    _Remains(
        "NamespaceDeletionDiscoveryFailure",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    _Remains(
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    _Remains(
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    _Remains("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    _Remains("NamespaceFinalizersRemaining", "ContentRemoved", "All content successfully removed"),
)


def conditions(
    known: list[JsonObject],
    now: str,
    kinds: Mapping[str, int],
    finalizers: Mapping[str, int],
    failures: list[str],
) -> list[JsonObject]:
    """The conditions of a namespace that goes.

    Args:
        known: Those it has.
        now: RFC 3339 time.
        kinds: How many objects are left, by kind.
        finalizers: How many each finalizer holds.
        failures: Why something could not be deleted.
    """
    wrong = {}
    if failures:
        told = ", ".join(sorted(failures))
        text = f"Failed to delete all resource types, {len(failures)} remaining: {told}"
        wrong["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", text)
    if kinds:
        each = (
            f"{key if '.' in key else f'{key}.'} has {count} resource instances"
            for key, count in sorted(kinds.items())
        )
        text = f"Some resources are remaining: {', '.join(each)}"
        wrong["NamespaceContentRemaining"] = ("SomeResourcesRemain", text)
    if finalizers:
        each = (
            f"{name} in {count} resource instances" for name, count in sorted(finalizers.items())
        )
        text = f"Some content in the namespace has finalizers remaining: {', '.join(each)}"
        wrong["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", text)
    before = {condition.get("type"): condition for condition in known}
    found = [c for c in known if c.get("type") not in {each.type for each in _CONDITIONS}]
    for type_, reason, message in _CONDITIONS:
        status = "True" if type_ in wrong else "False"
        reason, message = wrong.get(type_, (reason, message))  # noqa: PLW2901 - what is so now
        old = before.get(type_) or {}
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        found.append(
            {
                "type": type_,
                "status": status,
                "lastTransitionTime": since or now,
                "reason": reason,
                "message": message,
            }
        )
    return found


class Emptying:
    """Empties what is to go.

    Args:
        store: Where objects are.
        catalogue: What is served.
        verbs: How objects are deleted.
        collect: Told what went without the verbs.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        verbs: Verbs,
        collect: Callable[[Address | Removed], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs
        self._collect = collect
        self._clock = clock

    async def look(self, record: Record) -> None:
        """Do what is to be done about a namespace or a definition.

        Raises:
            TowpathError: it could not be done now.
        """
        going = "deletionTimestamp" in record.object()["metadata"]
        if record.address.resource == DEFINITION.key:
            if going:
                await self._definition(record.address)
        elif going:
            await self._namespace(record.address)
        else:
            await self._account(record.address.name)

    async def _account(self, namespace: str) -> None:
        """The ServiceAccount of a namespace, made anew whenever it is not there."""
        resource = self._catalogue.of_key(_ACCOUNTS)
        if resource is None or await self._store.get(Address(_ACCOUNTS, namespace, _ACCOUNT)):
            return
        kind = {"apiVersion": resource.kind.api_version, "kind": resource.kind.kind}
        account = {**kind, "metadata": {"name": _ACCOUNT}}
        with contextlib.suppress(ConflictError, DeniedError, NotFoundError):  # it goes, or is made
            await self._verbs.create(resource, namespace, account, _BY)

    async def _definition(self, address: Address) -> None:
        """Empty a definition; once it is empty, let it go.

        Whatever goes has this looked at again, after what it owned: that is told apart from what
        nobody serves only as long as its kind is served.
        """
        if left := (await self._store.page(address.name)).records:
            for record in left:
                await self._delete(record.address)
            return
        with contextlib.suppress(ConflictError):  # something came meanwhile: it will be told
            where = Address(address.name, "", "")
            await self._verbs.release(DEFINITION, address, _released_definition, where)

    async def _namespace(self, address: Address) -> None:
        failures = []
        for content in await self._store.addresses(address.name):
            try:
                await self._delete(content)
            except TowpathError as error:
                failures.append(error.message)
        kinds: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for content in await self._store.addresses(address.name):
            if left := await self._store.get(content):
                kinds[content.resource] += 1
                finalizers.update(left.object()["metadata"].get("finalizers") or ())
        if not kinds:
            with contextlib.suppress(ConflictError):  # something came meanwhile: it will be told
                where = Address("", address.name, "")
                await self._verbs.release(NAMESPACES, address, _released_namespace, where)
            return

        def rule(obj: JsonObject) -> JsonObject:
            status = obj.get("status") or {}
            now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
            known = status.get("conditions") or []
            found = conditions(known, now, kinds, finalizers, failures)
            return {**obj, "status": {**status, "conditions": found}}

        await self._verbs.release(NAMESPACES, address, rule)
        if failures:
            raise ConflictError(f"namespace {address.name} could not be emptied: {failures[0]}")

    async def _delete(self, address: Address) -> None:
        resource = self._catalogue.of_key(address.resource)
        with contextlib.suppress(NotFoundError):
            if resource is None:
                await self._discard(address)
            else:
                await self._verbs.delete(resource, address, Preconditions(), _BACKGROUND)

    async def _discard(self, address: Address) -> None:
        """Remove an object of a kind that is not served: nobody else can."""
        record = await self._store.get(address)
        if record is not None:
            await self._store.write(Write(address, record, None))
            self._collect(Removed(address, record.object()["metadata"].get("uid", "")))


def _released_namespace(obj: JsonObject) -> JsonObject:
    return deletion.released(NAMESPACES, obj)


def _released_definition(obj: JsonObject) -> JsonObject:
    return deletion.released(DEFINITION, obj)
