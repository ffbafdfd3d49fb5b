"""Status and health of an Application: tables of what follows from what."""

from typing import Any, cast

import pytest

from towpath.gitops.health import Health, health, worst
from towpath.gitops.status import HISTORY, Outcome, Resource, status
from towpath.spec.kube import Object


def service(ready: str | None = None, **status: Any) -> Object:
    if ready is not None:
        condition = {"type": "Ready", "status": ready, "reason": "R", "message": "why"}
        status["conditions"] = [condition]
    return cast(
        Object,
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "fraud", "generation": 2},
            "status": status,
        },
    )


def workload(kind: str, status: dict[str, Any], **spec: Any) -> Object:
    group = {"Deployment": "apps/v1", "Job": "batch/v1"}.get(kind, "apiextensions.k8s.io/v1")
    return cast(
        Object,
        {"apiVersion": group, "kind": kind, "metadata": {}, "spec": spec, "status": status},
    )


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service(), Health("Progressing", "waiting for its status")),
        (service("True", observedGeneration=2), Health("Healthy")),
        (service("True"), Health("Healthy")),
        (
            service("True", observedGeneration=1),
            Health("Progressing", "waiting for the newest spec to be observed"),
        ),
        (service("Unknown"), Health("Progressing", "why")),
        (service("False"), Health("Degraded", "why")),
        (
            service("False", modelStatus={"transitionStatus": "InProgress"}),
            Health("Progressing", "why"),
        ),
        (
            workload("Deployment", {"updatedReplicas": 1, "availableReplicas": 1}, replicas=1),
            Health("Healthy"),
        ),
        (
            workload("Deployment", {"updatedReplicas": 1}, replicas=1),
            Health("Progressing", "waiting for its replicas"),
        ),
        (
            workload("Job", {"conditions": [{"type": "Complete", "status": "True"}]}),
            Health("Healthy"),
        ),
        (
            workload("Job", {"conditions": [{"type": "Failed", "status": "True", "message": "m"}]}),
            Health("Degraded", "m"),
        ),
        (
            workload("CustomResourceDefinition", {}),
            Health("Progressing", "waiting to be established"),
        ),
        (cast(Object, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}), None),
    ],
)
def test_health_of_a_kind(obj: Object, expected: Health | None) -> None:
    assert health(obj) == expected


def test_the_worst_part_decides() -> None:
    assert worst([]) == worst([None, Health("Healthy")]) == Health("Healthy")
    parts = [Health("Missing"), Health("Degraded", "x"), Health("Progressing"), None]
    assert worst(parts) == Health("Degraded", "x")


APP: dict[str, Any] = {
    "spec": {
        "source": {"repoURL": "http://127.0.0.1/x.git", "path": "a", "targetRevision": "main"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "models"},
    }
}
FRAUD = Resource("serving.kserve.io", "v1beta1", "InferenceService", "models", "fraud")


def outcome(revision: str, **more: Any) -> Outcome:
    facts = {"resources": (FRAUD,), "operated": True, **more}
    return Outcome("Synced", revision, **facts)


def test_nothing_new_writes_nothing() -> None:
    first = status(APP, outcome("1" * 40), "2024-01-01T00:00:00Z")
    again = status({**APP, "status": first}, outcome("1" * 40), "2024-01-02T00:00:00Z")
    assert again == first


def test_history_numbers_go_on() -> None:
    app = dict(APP)
    for n in range(HISTORY + 3):
        app["status"] = status(app, outcome(f"{n:040}"), f"2024-01-01T00:00:{n:02}Z")
    history = app["status"]["history"]
    assert [entry["id"] for entry in history] == list(range(3, HISTORY + 3))
    assert history[-1]["revision"] == app["status"]["sync"]["revision"] == f"{HISTORY + 2:040}"


def test_a_failed_sync_is_not_history() -> None:
    failed = status(APP, outcome("1" * 40, failures=("no",)), "2024-01-01T00:00:00Z")
    assert failed["operationState"]["phase"] == "Failed"
    assert "history" not in failed
    mended = status({**APP, "status": failed}, outcome("1" * 40), "2024-01-01T00:00:01Z")
    assert [entry["id"] for entry in mended["history"]] == [0]


def test_an_unreachable_repository_changes_only_what_is_unknown() -> None:
    first = status(APP, outcome("1" * 40), "2024-01-01T00:00:00Z")
    lost = Outcome("Unknown", conditions={"ComparisonError": "gone"})
    then = status({**APP, "status": first}, lost, "2024-01-01T00:01:00Z")
    assert then["sync"] == {**first["sync"], "status": "Unknown"}
    assert then["resources"] == first["resources"]
    assert then["conditions"] == [
        {
            "type": "ComparisonError",
            "message": "gone",
            "lastTransitionTime": "2024-01-01T00:01:00Z",
        }
    ]
    later = status({**APP, "status": then}, lost, "2024-01-01T00:02:00Z")
    assert later == then
    back = status({**APP, "status": later}, outcome("1" * 40), "2024-01-01T00:03:00Z")
    assert "conditions" not in back


def test_a_resource_is_read_as_it_was_written() -> None:
    core = Resource("", "v1", "Namespace", "", "models")
    for resource in (FRAUD, core):
        assert Resource.of(resource.entry()) == resource
