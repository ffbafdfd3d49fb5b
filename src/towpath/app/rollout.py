"""Waiting for clusters to run what was committed, as the hub's mirrors show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio

from towpath.edge.plan import Desired
from towpath.errors import InvalidError, NotFoundError, UnavailableError
from towpath.kube import Reader, annotations, mapping
from towpath.kube.conditions import find, is_true
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import Object
from towpath.spec.towpath import MODEL_VERSION

__all__ = ["Endpoint", "Target", "await_endpoints", "storage_uri"]

LOOK: Final = 0.1
"""Seconds between two looks at the hub: a whole rollout takes about one second on a laptop."""


@dataclass(frozen=True)
class Target:
    """A cluster to run on.

    Args:
        cluster: Its name.
        gateway: Base URL of its gateway.
        namespace: Where on the hub its InferenceServices are seen.
    """

    cluster: str
    gateway: str
    namespace: str


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers."""

    cluster: str
    name: str
    url: str
    ready: bool

    def to_json(self) -> dict[str, Any]:
        """As in ``ship -o json`` and ``status -o json``."""
        return {
            "cluster": self.cluster,
            "name": self.name,
            "url": self.url,
            "ready": self.ready,
        }


async def await_endpoints(
    hub: Reader, targets: Sequence[Target], wanted: Desired, *, patience: float
) -> tuple[Endpoint, ...]:
    """Wait until a model runs on every target as wanted.

    Raises:
        InvalidError: a cluster says that it cannot run it.
        UnavailableError: a cluster did not get there in time; the commit stands, and the cluster
            catches up by itself.
    """
    name = wanted.name
    waiting = dict.fromkeys(targets, "")
    with anyio.move_on_after(patience):
        while True:
            for target in list(waiting):
                service = await _find(hub, target, name)
                if service is not None and runs(service, wanted):
                    del waiting[target]
                else:
                    waiting[target] = _why(service, target, wanted)
            if not waiting:
                break
            await anyio.sleep(LOOK)
    if waiting:
        target, why = next(iter(waiting.items()))
        raise UnavailableError(
            f"{name!r} does not run on {target.cluster} after {patience:g} s: {why}",
            hint="What was committed stays; that cluster runs it as soon as it can. "
            "The same command waits again; 'towpath status' shows how it stands.",
        )
    return tuple(Endpoint(target.cluster, name, target.gateway, True) for target in targets)


def runs(service: Object, wanted: Desired) -> bool:
    """Whether a service answers as wanted, and not as something older.

    A mirror's spec may be newer than its status, so both have to say the same.
    """
    status = service.get("status", {})
    predictor = status.get("components", {}).get("predictor", {})
    return (
        _asks_for(service, wanted)
        and is_true(service)
        and status.get("modelStatus", {}).get("transitionStatus") == "UpToDate"
        and predictor.get("latestReadyRevision") == wanted.revision
    )


def _asks_for(service: Object, wanted: Desired) -> bool:
    version = annotations(service).get(MODEL_VERSION)
    return storage_uri(service) == f"oci://{wanted.image}" and version == wanted.version


def storage_uri(service: Object) -> str:
    """``spec.predictor.model.storageUri``."""
    return str(mapping(service, "spec", "predictor", "model").get("storageUri", ""))


def _why(service: Object | None, target: Target, wanted: Desired) -> str:
    if service is None:
        return "the hub has heard nothing of it; is that cluster running?"
    if not _asks_for(service, wanted):
        return "it still runs an older revision; is that cluster running?"
    failure = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo")
    if failure and failure.get("modelRevisionName") == wanted.revision:
        raise InvalidError(
            f"cluster {target.cluster} cannot run it: {failure.get('message')}",
            hint=f"Its reason is {failure.get('reason')}; what ran there before goes on.",
        )
    ready = find(service.get("status", {}).get("conditions", ()), "Ready")
    return str((ready or {}).get("message") or "it is being started")


async def _find(hub: Reader, target: Target, name: str) -> Object | None:
    try:
        return await hub.get(INFERENCE_SERVICE, name, target.namespace)
    except NotFoundError:
        return None
