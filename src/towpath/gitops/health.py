"""How an object is doing, in Argo CD's words: a table of what each kind's status means."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from towpath.kube import conditions, mapping
from towpath.spec import kserve, kube
from towpath.spec.kube import Object

__all__ = ["Health", "health", "worst"]

Status = Literal["Healthy", "Progressing", "Missing", "Degraded"]

_BADNESS: Final = ("Healthy", "Progressing", "Missing", "Degraded")


class Health(NamedTuple):
    """One of Argo CD's health statuses, and what led to it."""

    status: Status
    message: str = ""


_HEALTHY: Final = Health("Healthy")


def health(obj: Object) -> Health | None:
    """The health of a live object; None for a kind that has none, such as a ConfigMap."""
    group = obj.get("apiVersion", "").rpartition("/")[0]
    judge = _JUDGES.get((group, obj.get("kind", "")))
    if judge is None:
        return None
    metadata, status = mapping(obj, "metadata"), mapping(obj, "status")
    if "deletionTimestamp" in metadata:
        return Health("Progressing", "waiting for its deletion")
    observed = status.get("observedGeneration")
    if isinstance(observed, int) and observed < metadata.get("generation", 0):
        return Health("Progressing", "waiting for the newest spec to be observed")
    return judge(status, obj)


def worst(all_of: Iterable[Health | None]) -> Health:
    """The health of a whole: that of its worst part."""
    return max(
        (h for h in all_of if h is not None),
        key=lambda h: _BADNESS.index(h.status),
        default=_HEALTHY,
    )


def _inference_service(status: Mapping[str, Any], _: Object) -> Health:
    ready = conditions.find(status.get("conditions") or (), "Ready")
    if ready is None:
        return Health("Progressing", "waiting for its status")
    message = ready.get("message", "") or ready.get("reason", "")
    if ready.get("status") == "True":
        return _HEALTHY
    transition = mapping(status, "modelStatus").get("transitionStatus")
    if ready.get("status") == "False" and transition != "InProgress":
        return Health("Degraded", message)
    return Health("Progressing", message)


def _deployment(status: Mapping[str, Any], obj: Object) -> Health:
    progressing = conditions.find(status.get("conditions") or (), "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Health("Degraded", progressing.get("message", ""))
    wanted = mapping(obj, "spec").get("replicas", 1)
    if min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) < wanted:
        return Health("Progressing", "waiting for its replicas")
    return _HEALTHY


def _job(status: Mapping[str, Any], obj: Object) -> Health:
    failed = conditions.find(status.get("conditions") or (), "Failed")
    if failed is not None and failed.get("status") == "True":
        return Health("Degraded", failed.get("message", ""))
    if conditions.is_true(obj, "Complete"):
        return _HEALTHY
    return Health("Progressing", "waiting for its completion")


def _crd(_: Mapping[str, Any], obj: Object) -> Health:
    established = conditions.is_true(obj, "Established")
    return _HEALTHY if established else Health("Progressing", "waiting to be established")


_JUDGES: Final[Mapping[tuple[str, str], Callable[[Mapping[str, Any], Object], Health]]] = {
    (kserve.INFERENCE_SERVICE.group, kserve.INFERENCE_SERVICE.kind): _inference_service,
    ("apps", "Deployment"): _deployment,
    ("batch", "Job"): _job,
    (kube.CRD.group, kube.CRD.kind): _crd,
}
