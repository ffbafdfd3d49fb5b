"""The status of an InferenceService, as KServe writes it: a pure function of how things stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from towpath.edge.plan import Desired, Instance
from towpath.kube.conditions import merge
from towpath.spec.kube import Condition, Object

__all__ = ["Failure", "Standing", "status_of"]


@dataclass(frozen=True)
class Failure:
    """Why the wanted revision does not run: KServe's reason, and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True)
class Standing:
    """How a service stands.

    Args:
        wanted: What it asks for; None when that cannot be read.
        routed: The instance that answers requests, if any.
        url: Base URL of the gateway.
        runtime: Name of the runtime.
        failure: Set when the wanted revision cannot run.
        progress: What is being waited for while it does not run yet.
    """

    wanted: Desired | None
    routed: Instance | None
    url: str
    runtime: str
    failure: Failure | None = None
    progress: str = "the model is being fetched and loaded"

    @property
    def settled(self) -> bool:
        """Whether the wanted revision itself answers."""
        return (
            self.wanted is not None
            and self.routed is not None
            and self.routed.revision == self.wanted.revision
        )


def status_of(service: Object, standing: Standing, now: str) -> dict[str, Any]:
    """The whole ``status`` (serving.kserve.io/v1beta1).

    Args:
        service: As read; its old conditions keep their times where nothing changed.
        standing: How it stands now.
        now: RFC 3339 time.
    """
    old: Mapping[str, Any] = service.get("status", {})
    generation = service["metadata"].get("generation", 1)
    conditions = merge(old.get("conditions", ()), _conditions(standing), now)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions,
        "components": {"predictor": _predictor(old, standing)},
        "modelStatus": _model_status(standing),
        "servingRuntimeName": standing.runtime,
        "deploymentMode": "RawDeployment",
    }
    if standing.routed is not None:
        status["url"] = standing.url
        status["address"] = {"url": standing.url}
    return status


def _conditions(standing: Standing) -> Sequence[Condition]:
    answering = standing.routed is not None
    healthy = answering and standing.failure is None
    if standing.failure is not None:
        reason, message = standing.failure.reason, standing.failure.message
    elif not answering:
        reason, message = "Loading", standing.progress
    else:
        reason, message = "", ""
    why: Condition = {"reason": reason, "message": message} if reason else {}
    return (
        {"type": "IngressReady", "status": _word(answering), **({} if answering else why)},
        {"type": "PredictorReady", "status": _word(healthy), **why},
        {"type": "Ready", "status": _word(healthy), **why},
    )


def _word(true: bool) -> str:
    return "True" if true else "False"


def _predictor(old: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    before = old.get("components", {}).get("predictor", {})
    predictor: dict[str, Any] = {}
    created = standing.wanted.revision if standing.wanted else before.get("latestCreatedRevision")
    ready = standing.routed.revision if standing.routed else before.get("latestReadyRevision")
    if created:
        predictor["latestCreatedRevision"] = created
    if ready:
        predictor["latestReadyRevision"] = ready
        predictor["latestRolledoutRevision"] = ready
    if standing.routed is not None:
        predictor["url"] = predictor["restUrl"] = standing.url
    return predictor


def _model_status(standing: Standing) -> dict[str, Any]:
    if standing.failure is not None:
        invalid = standing.failure.reason in ("InvalidPredictorSpec", "NoSupportingRuntime")
        transition, target = ("InvalidSpec" if invalid else "BlockedByFailedLoad"), "FailedToLoad"
    elif standing.settled:
        transition, target = "UpToDate", "Loaded"
    else:
        transition, target = "InProgress", "Loading"
    active = "Loaded" if standing.routed is not None else target
    status: dict[str, Any] = {
        "transitionStatus": transition,
        "states": {"activeModelState": active, "targetModelState": target},
        "copies": {
            "failedCopies": int(standing.failure is not None),
            "totalCopies": int(standing.routed is not None),
        },
    }
    if standing.failure is not None:
        status["lastFailureInfo"] = {
            "reason": standing.failure.reason,
            "message": standing.failure.message,
        }
        if standing.wanted is not None:
            status["lastFailureInfo"]["modelRevisionName"] = standing.wanted.revision
    return status
