"""Waiting for clusters to run what was committed, as the hub's mirrors show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx2

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


@dataclass(frozen=True)
class Lookout:
    """Sees how a service stands: by the hub's mirror, and by asking the cluster's gateway itself.

    A mirror may be older than the truth, for a cluster that is starting or away.

    Args:
        hub: The hub's API.
        http: For the gateways.
    """

    hub: Reader
    http: httpx2.AsyncClient

    async def service(self, target: Target, name: str) -> Object | None:
        """The hub's view of a target's service."""
        try:
            return await self.hub.get(INFERENCE_SERVICE, name, target.namespace)
        except NotFoundError:
            return None

    async def answers(self, gateway: str, name: str, namespace: str) -> bool:
        """Whether the gateway has somebody who is ready to answer for a service."""
        return await self._ask(f"{gateway}/v2/models/{name}/ready", name, namespace) is not None

    async def version(self, gateway: str, name: str, namespace: str) -> str | None:
        """The version of the model that answers for a service; None when none does."""
        answer = await self._ask(f"{gateway}/v2/models/{name}", name, namespace)
        return answer.json()["versions"][-1] if answer is not None else None

    async def _ask(self, url: str, name: str, namespace: str) -> httpx2.Response | None:
        try:
            answer = await self.http.get(url, headers={"Host": f"{name}-{namespace}"})
        except httpx2.HTTPError:
            return None
        return answer if answer.status_code == 200 else None


async def await_endpoints(
    lookout: Lookout, targets: Sequence[Target], wanted: Desired, patience: float
) -> tuple[Endpoint, ...]:
    """Wait until a model runs on every target as wanted; look at least once.

    Raises:
        InvalidError: a cluster says that it cannot run it.
        UnavailableError: a cluster did not get there in time; the commit stands, and the cluster
            catches up by itself.
    """
    name = wanted.name
    deadline = anyio.current_time() + patience
    while True:
        waiting = {}
        for target in targets:
            service = await lookout.service(target, name)
            if service is None or not runs(service, wanted):
                waiting[target] = _why(service, target, wanted)
            elif not await lookout.answers(target.gateway, name, wanted.namespace):
                waiting[target] = "its gateway does not answer for it; is that cluster running?"
        if not waiting:
            return tuple(Endpoint(target.cluster, name, target.gateway, True) for target in targets)
        if anyio.current_time() >= deadline:
            break
        await anyio.sleep(LOOK)
    target, why = next(iter(waiting.items()))
    raise UnavailableError(
        f"{name!r} does not run on {target.cluster} after {patience:g} s: {why}",
        hint="What was committed stays; that cluster runs it as soon as it can. "
        "The same command waits again; 'towpath status' shows how it stands.",
    )


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


def _final(failure: Mapping[str, Any]) -> bool:
    """Whether waiting does not help: a runtime that ended or was slow is started again."""
    return failure.get("reason") != "RuntimeUnhealthy"


def _why(service: Object | None, target: Target, wanted: Desired) -> str:
    if service is None:
        return "the hub has heard nothing of it; is that cluster running?"
    if not _asks_for(service, wanted):
        return "it still runs an older revision; is that cluster running?"
    failure = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo")
    if failure and failure.get("modelRevisionName") == wanted.revision and _final(failure):
        raise InvalidError(
            f"cluster {target.cluster} cannot run it: {failure.get('message')}",
            hint=f"Its reason is {failure.get('reason')}; what ran there before goes on.",
        )
    ready = find(service.get("status", {}).get("conditions", ()), "Ready")
    return str((ready or {}).get("message") or "it is being started")
