"""What the server itself writes of roles: the default ones, and what gathering roles gather."""

import logging
from collections.abc import Iterable
from typing import Final

import anyio
from anyio import to_thread

from towpath.apiserver.access import defaults
from towpath.apiserver.access.aggregation import MANAGER, gathered
from towpath.apiserver.access.rbac import CLUSTER_BINDINGS, CLUSTER_ROLES
from towpath.apiserver.kinds import Catalogue, Resource
from towpath.apiserver.record import Address
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options
from towpath.apiserver.verbs import Verbs
from towpath.errors import ConflictError, NotFoundError, TowpathError
from towpath.spec._wire import JsonObject
from towpath.telemetry import fields

__all__ = ["Upkeep"]

log = logging.getLogger(__name__)

_BY: Final = Options("kube-apiserver")
_GATHERER: Final = Options(MANAGER, force=True)
_RETRY_SECONDS: Final = 10.0


class Upkeep:
    """Keeps default and gathering roles as they should be.

    Args:
        store: Where roles are.
        catalogue: What is served.
        verbs: How they are written.
    """

    def __init__(self, store: Store, catalogue: Catalogue, verbs: Verbs) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs

    async def prepare(self) -> None:
        """Add what is missing of the default roles and bindings."""
        roles = {role["metadata"]["name"]: role for role in defaults.roles()}
        for name, rules in gathered(roles).items():
            roles[name] = {**roles[name], "rules": rules}
        async with anyio.create_task_group() as tasks:  # together, they share one flush of the disk
            tasks.start_soon(self._complete, CLUSTER_ROLES, roles.values())
            tasks.start_soon(self._complete, CLUSTER_BINDINGS, defaults.bindings())
        await self._gather()

    async def run(self) -> None:
        """Gather anew whenever a ClusterRole changes, until cancelled."""
        while True:
            try:
                seen = await self._gather()
            except TowpathError as error:
                log.warning("failed to gather roles", extra=fields(error=error.message))
                await anyio.sleep(_RETRY_SECONDS)
            else:
                await self._store.wait(CLUSTER_ROLES, seen)

    async def _complete(self, key: str, wanted: Iterable[JsonObject]) -> None:
        resource = self._resource(key)
        async with anyio.create_task_group() as tasks:
            for obj in wanted:
                tasks.start_soon(self._add, resource, obj)

    async def _add(self, resource: Resource, wanted: JsonObject) -> None:
        address = Address(resource.key, "", wanted["metadata"]["name"])
        stored = await self._store.get(address)
        if stored is None:
            await self._verbs.create(resource, "", wanted, _BY)
            return
        new = defaults.completed(stored.object(), wanted)
        if new is None:
            return
        try:
            await self._verbs.change(resource, address, lambda _: new, _BY)
        except (
            TowpathError
        ) as error:  # what others made of it must not keep the server from starting
            about = fields(role=address.name, error=error.message)
            log.warning("failed to complete a default role", extra=about)

    async def _gather(self) -> int:
        """Write what gathering roles lack; the revision that was looked at."""
        listing = await self._store.page(CLUSTER_ROLES)
        roles = {record.address.name: record.object() for record in listing.records}
        resource = self._resource(CLUSTER_ROLES)
        kind = {"apiVersion": resource.kind.api_version, "kind": resource.kind.kind}
        for name, rules in (await to_thread.run_sync(gathered, roles)).items():
            wanted = {**kind, "metadata": {"name": name}, "rules": rules}
            address = Address(CLUSTER_ROLES, "", name)
            try:
                await self._verbs.apply(resource, address, wanted, _GATHERER)
            except (ConflictError, NotFoundError):  # it changed meanwhile: the next look sees it
                continue
            except TowpathError as error:  # one that cannot be written holds up no other
                about = fields(role=name, error=error.message)
                log.warning("failed to gather a role", extra=about)
        return listing.revision

    def _resource(self, key: str) -> Resource:
        resource = self._catalogue.of_key(key)
        assert resource is not None  # noqa: S101 - roles are built in
        return resource
