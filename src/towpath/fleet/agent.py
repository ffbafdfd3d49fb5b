"""The pull agent: an edge's one link to the hub.

Downwards it mirrors the Applications that the hub keeps for this cluster (hub namespace = cluster
name) into the edge's own API, where the sync takes them over. Upwards it reports their status and
reflects the edge's InferenceServices, read-only, into the same hub namespace. Each direction is a
level-based loop; while the hub is away the edge goes on with what it has.
"""

from dataclasses import dataclass
from typing import Final

import anyio

from towpath.errors import InvalidError, NotFoundError, TowpathError
from towpath.kube import (
    After,
    Controller,
    Reader,
    Request,
    Watch,
    Writer,
    annotations,
    labels,
    write_status,
)
from towpath.spec.argocd import (
    APPLICATION,
    PULL_TO_MANAGED_CLUSTER,
    RESOURCES_FINALIZER,
    SKIP_RECONCILE,
)
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import NAMESPACE, Kind, Object, ObjectMeta
from towpath.spec.towpath import CLUSTER_LABEL, MIRROR, PULLED_FROM

__all__ = ["APPLICATIONS", "PullAgent", "mirror_name"]

APPLICATIONS: Final = "argocd"
"""The edge's namespace that holds its Applications, where Argo CD would look for them."""
RESYNC: Final = 300.0
"""Seconds between two full looks; watches tell everything else at once."""


SWEEP_AGAIN: Final = 5.0
"""Seconds until the next try to reach the hub for what ended while no agent ran."""
PRUNING: Final = After(0.5)
"""Between two looks at a copy that is being deleted."""


@dataclass
class PullAgent:
    """Mirrors one cluster's Applications down and its state up.

    Args:
        cluster: The cluster's name, and its namespace on the hub.
        hub: The hub's API; needs rights in that namespace only.
        edge: The edge's own API.
    """

    cluster: str
    hub: Writer
    edge: Writer

    def __post_init__(self) -> None:
        assigned = Watch(APPLICATION, self.cluster)
        copies = Watch(APPLICATION, APPLICATIONS)
        self._pull = Controller("pull", self.hub, (assigned,), self.pull, resync=RESYNC)
        self._applications = Controller(
            "report-applications", self.edge, (copies,), self.report_application, resync=RESYNC
        )
        self._services = Controller(
            "report-services",
            self.edge,
            (Watch(INFERENCE_SERVICE),),
            self.report_service,
            resync=RESYNC,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with anyio.create_task_group() as tasks:
            for controller in (self._pull, self._applications, self._services):
                tasks.start_soon(controller.run)
            tasks.start_soon(self._sweep)

    async def _sweep(self) -> None:
        """Once the hub answers: look at what may have ended while no agent ran, on either side."""
        while True:
            try:
                for request in await self.leftovers():
                    self._services.ask(request)
            except TowpathError:  # the hub is away; the controllers log that
                await anyio.sleep(SWEEP_AGAIN)
            else:
                return

    async def leftovers(self) -> list[Request]:
        """The originals of the hub's mirrors; copies here are asked for on the spot."""
        for copy in await self.edge.list(APPLICATION, APPLICATIONS):
            if _is_pulled(copy):
                self._pull.ask(Request(self.cluster, copy["metadata"]["name"]))
        mirrors = await self.hub.list(INFERENCE_SERVICE, self.cluster)
        return [origin for mirror in mirrors if (origin := _origin(mirror)) is not None]

    async def pull(self, request: Request) -> After | None:
        """Make the edge's copy of one Application like the hub's."""
        assigned = await _find(self.hub, APPLICATION, request)
        copy = await _find(self.edge, APPLICATION, Request(APPLICATIONS, request.name))
        if assigned is None or "deletionTimestamp" in assigned["metadata"]:
            if copy is not None and _is_pulled(copy):
                await self.edge.delete(APPLICATION, request.name, APPLICATIONS)
            return None
        if copy is not None and "deletionTimestamp" in copy["metadata"]:
            return PRUNING  # the assignment came back while the old copy goes
        desired = _downwards(assigned)
        if copy is None:
            await _ensure_namespace(self.edge, APPLICATIONS)
            await self.edge.create(APPLICATION, desired)
        elif not _same(copy, desired):
            desired["metadata"]["resourceVersion"] = copy["metadata"]["resourceVersion"]
            await self.edge.replace(APPLICATION, {**copy, **desired})
        await self.report_application(Request(APPLICATIONS, request.name))
        return None

    async def report_application(self, request: Request) -> None:
        """Write the status of the edge's copy into the hub's Application."""
        copy = await _find(self.edge, APPLICATION, request)
        assigned = await _find(self.hub, APPLICATION, Request(self.cluster, request.name))
        if copy is None or assigned is None or not _is_pulled(copy):
            return
        if status := copy.get("status"):
            await write_status(self.hub, APPLICATION, assigned, status)

    async def report_service(self, request: Request) -> None:
        """Reflect one InferenceService of the edge in the hub's namespace of this cluster."""
        name = mirror_name(request)
        original = await _find(self.edge, INFERENCE_SERVICE, request)
        mirror = await _find(self.hub, INFERENCE_SERVICE, Request(self.cluster, name))
        if mirror is not None and _origin(mirror) != request:
            raise InvalidError(
                f"InferenceService {name!r} in the hub's namespace {self.cluster!r} is not the "
                f"mirror of {request.namespace}/{request.name}",
                hint="That namespace is for mirrors of the cluster's services; rename one.",
            )
        if original is None:
            if mirror is not None:
                await self.hub.delete(INFERENCE_SERVICE, name, self.cluster)
            return
        desired = _upwards(original, self.cluster, name)
        if mirror is None:
            mirror = await self.hub.create(INFERENCE_SERVICE, desired)
        elif not _same(mirror, desired):
            desired["metadata"]["resourceVersion"] = mirror["metadata"]["resourceVersion"]
            mirror = await self.hub.replace(INFERENCE_SERVICE, {**mirror, **desired})
        if status := original.get("status"):
            await write_status(self.hub, INFERENCE_SERVICE, mirror, status)


def mirror_name(original: Request) -> str:
    """What the hub calls a service of an edge: namespaces other than ``default`` go in front."""
    return (
        original.name
        if original.namespace == "default"
        else f"{original.namespace}-{original.name}"
    )


def _downwards(assigned: Object) -> Object:
    source = assigned["metadata"]
    notes = annotations(assigned)
    notes.pop(SKIP_RECONCILE, None)
    marks = labels(assigned)
    marks.pop(PULL_TO_MANAGED_CLUSTER, None)
    metadata: ObjectMeta = {
        "name": source["name"],
        "namespace": APPLICATIONS,
        "labels": marks,
        "annotations": {**notes, PULLED_FROM: source.get("namespace", "")},
        "finalizers": [RESOURCES_FINALIZER],
    }
    return {"metadata": metadata, "spec": assigned.get("spec", {})}


def _upwards(original: Object, cluster: str, name: str) -> Object:
    source = original["metadata"]
    metadata: ObjectMeta = {
        "name": name,
        "namespace": cluster,
        "labels": {**labels(original), CLUSTER_LABEL: cluster},
        "annotations": {
            **annotations(original),
            MIRROR: f"{cluster}/{source.get('namespace', '')}/{source['name']}",
        },
    }
    return {"metadata": metadata, "spec": original.get("spec", {})}


def _same(found: Object, desired: Object) -> bool:
    return (
        found.get("spec") == desired.get("spec")
        and labels(found) == labels(desired)
        and annotations(found) == annotations(desired)
    )


def _is_pulled(obj: Object) -> bool:
    return PULLED_FROM in annotations(obj)


def _origin(mirror: Object) -> Request | None:
    parts = annotations(mirror).get(MIRROR, "").split("/")
    return Request(parts[1], parts[2]) if len(parts) == 3 else None


async def _find(api: Reader, kind: Kind, request: Request) -> Object | None:
    try:
        return await api.get(kind, request.name, request.namespace)
    except NotFoundError:
        return None


async def _ensure_namespace(api: Writer, name: str) -> None:
    if await _find(api, NAMESPACE, Request("", name)) is None:
        await api.create(NAMESPACE, {"metadata": {"name": name}})
