"""The status of a service: as KServe's clients read it."""

from typing import Any

from towpath.edge.plan import Desired, Instance
from towpath.edge.status import Failure, Standing, status_of
from towpath.kube.conditions import find, is_true
from towpath.spec.names import Digest, ImageRef

DIGEST = Digest("sha256:" + "a" * 64)
WANTED = Desired("default", "fraud", "onnx", ImageRef(f"h/fraud@{DIGEST}"), DIGEST)
RUNS = Instance(WANTED.process, WANTED.revision, "127.0.0.1:1", True)
OLD = Instance("default.fraud-old", "fraud-old", "127.0.0.1:2", True)
URL = "http://127.0.0.1:6606"


def service(status: dict[str, Any] | None = None) -> Any:
    return {"metadata": {"name": "fraud", "generation": 3}, "status": status or {}}


def standing(routed: Instance | None, failure: Failure | None = None) -> Standing:
    return Standing(WANTED, routed, URL, "towpath-onnx", failure)


def test_it_runs() -> None:
    status = status_of(service(), standing(RUNS), "now")

    assert is_true({"status": status})
    assert status["observedGeneration"] == 3
    assert status["url"] == status["address"]["url"] == URL
    assert status["components"]["predictor"]["latestReadyRevision"] == WANTED.revision
    assert status["modelStatus"]["transitionStatus"] == "UpToDate"
    assert status["modelStatus"]["states"] == {
        "activeModelState": "Loaded",
        "targetModelState": "Loaded",
    }


def test_it_loads() -> None:
    status = status_of(service(), standing(None), "now")

    ready = find(status["conditions"], "Ready")
    assert ready is not None
    assert ready["status"] == "False"
    assert ready["reason"] == "Loading"
    assert "url" not in status
    assert status["modelStatus"]["transitionStatus"] == "InProgress"


def test_the_old_revision_answers_while_the_new_one_fails() -> None:
    failure = Failure("ModelLoadFailed", "not an ONNX model")

    status = status_of(service(), standing(OLD, failure), "now")

    assert not is_true({"status": status})
    assert is_true({"status": status}, "IngressReady")
    assert status["url"] == URL
    assert status["components"]["predictor"]["latestReadyRevision"] == "fraud-old"
    assert status["components"]["predictor"]["latestCreatedRevision"] == WANTED.revision
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "message": "not an ONNX model",
        "modelRevisionName": WANTED.revision,
    }


def test_a_state_that_lasts_changes_nothing() -> None:
    before = status_of(service(), standing(RUNS), "yesterday")

    assert status_of(service(before), standing(RUNS), "today") == before
