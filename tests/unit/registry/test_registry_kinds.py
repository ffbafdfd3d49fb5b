"""The table of entities: what filters reach, what creates and updates may hold."""

from typing import Any

import pytest

from towpath.errors import ConflictError, InvalidError, Reason
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    KINDS,
    METRIC,
    METRIC_POINT,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    PARAMETER,
    REGISTERED_MODEL,
    RUN_LINKS,
    SERVE_MODEL,
    Kind,
)
from towpath.registry.records import accept, check_seen, document, drafted, merged, require

COMMON = {"id", "name", "externalId", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"}
FILTERED = {
    "RegisteredModel": {"state", "owner"},
    "ModelVersion": {"registeredModelId", "state", "author"},
    "Experiment": {"state", "owner"},
    "ExperimentRun": {
        *("experimentId", "startTimeSinceEpoch", "endTimeSinceEpoch", "status", "state", "owner"),
    },
    "ServingEnvironment": set(),
    "InferenceService": {
        *("registeredModelId", "modelVersionId", "servingEnvironmentId", "runtime"),
        "desiredState",
    },
    "ServeModel": {
        *("lastKnownState", "modelVersionId", "inferenceServiceId", "registeredModelId"),
        "servingEnvironmentId",
    },
    "ModelArtifact": {
        *("uri", "state", "modelFormatName", "modelFormatVersion", "storageKey", "storagePath"),
        *("serviceAccountName", "modelSourceKind", "modelSourceClass", "modelSourceGroup"),
        *("modelSourceId", "modelSourceName", *RUN_LINKS),
    },
    "DocArtifact": {"uri", "state", *RUN_LINKS},
    "DataSet": {
        *("uri", "state", "digest", "sourceType", "source", "schema", "profile", *RUN_LINKS),
    },
    "Metric": {"value", "timestamp", "step", "state", *RUN_LINKS},
    "MetricPoint": {"value", "timestamp", "step", "state", *RUN_LINKS},
    "Parameter": {"value", "parameterType", "state", *RUN_LINKS},
}


def draft(kind: Kind, **fields: Any) -> Any:
    return drafted(kind, accept(kind, fields, kind.creatable), 1000, parent=4, spare="spare")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.type)
def test_filters_reach_what_the_specification_names(kind: Kind) -> None:
    assert kind.properties.keys() >= COMMON | FILTERED[kind.type] | {"description"}
    for name in ("create_time_since_epoch", "external_id"):
        assert name in kind.properties
    columns = {known.column for known in kind.properties.values()} - {None}
    assert columns - {"id", "name", "external_id", "created", "updated", "parent_id"} == set()


def test_what_fields_compare_as() -> None:
    typed = {
        (INFERENCE_SERVICE, "registeredModelId"): ("int", None),
        (INFERENCE_SERVICE, "servingEnvironmentId"): ("int", "parent_id"),
        (SERVE_MODEL, "inferenceServiceId"): ("int", "parent_id"),
        (EXPERIMENT_RUN, "endTimeSinceEpoch"): ("int", None),
        (METRIC, "value"): ("double", None),
        (METRIC, "timestamp"): ("int", None),
        (PARAMETER, "value"): ("string", None),
        (MODEL_ARTIFACT, "experimentRunId"): ("int", None),
        (MODEL_VERSION, "name"): ("string", "name"),
    }
    for (kind, name), expected in typed.items():
        found = kind.properties[name]
        assert (found.type, found.column) == expected


def test_searched_values_have_the_type_they_compare_as() -> None:
    metric = draft(METRIC, artifactType="metric", value=2, step="3", timestamp="0004")
    assert METRIC.searched(metric.body) == {
        "state": "UNKNOWN",
        "value": 2.0,
        "step": 3,
        "timestamp": 4,
    }
    assert METRIC.searched({"description": "", "step": None}) == {"description": ""}


def test_points_of_a_metric_are_no_artifacts() -> None:
    assert METRIC_POINT not in ARTIFACTS
    assert METRIC_POINT.type != METRIC.type
    assert KINDS[METRIC_POINT.type] is METRIC_POINT
    assert draft(METRIC_POINT, name="n", value=1).scope == "spare"
    assert draft(METRIC, name="n", value=1).scope == "4"


def test_only_the_server_tells_which_run_an_artifact_is_from() -> None:
    for kind in ARTIFACTS:
        assert not kind.creatable & set(RUN_LINKS)
    assert "experimentId" in EXPERIMENT_RUN.creatable - EXPERIMENT_RUN.updatable


def test_what_a_deployment_takes_over_is_not_told() -> None:
    found = drafted(
        SERVE_MODEL,
        {"modelVersionId": "2", "inferenceServiceId": "4", "registeredModelId": "1"},
        1000,
        parent=4,
        spare="spare",
    )
    assert SERVE_MODEL.searched(found.body)["registeredModelId"] == 1
    assert set(document(found)) >= {"modelVersionId", "lastKnownState"}
    assert not {"registeredModelId", "inferenceServiceId"} & set(document(found))


@pytest.mark.parametrize(
    ("step", "stored"), [(5, 5), ("5", 5), ("-7", -7), ("+08", 8), (2**62, 2**62)]
)
def test_a_step_is_a_number_however_it_comes(step: Any, stored: int) -> None:
    assert draft(METRIC, value=1, step=step).body["step"] == stored


@pytest.mark.parametrize("step", ["", "1.0", "x", " 1", "٣", 1.0, True, 2**63, str(-(2**63) - 1)])
def test_a_step_that_is_none(step: Any) -> None:
    with pytest.raises(InvalidError, match="field 'step"):
        draft(METRIC, value=1, step=step)


def test_zero_is_a_value_and_an_empty_text_is_one() -> None:
    require(METRIC, {"value": 0})
    require(PARAMETER, {"value": ""})
    for kind in (METRIC, PARAMETER, MODEL_ARTIFACT):
        with pytest.raises(InvalidError, match="is required: bad request"):
            require(kind, {})


@pytest.mark.parametrize(("begin", "end", "good"), [("5", "5", True), ("5", "4", False)])
def test_a_run_does_not_end_before_it_began(begin: str, end: str, good: bool) -> None:
    run = draft(EXPERIMENT_RUN, startTimeSinceEpoch=begin)
    for change in (
        lambda: draft(EXPERIMENT_RUN, startTimeSinceEpoch=begin, endTimeSinceEpoch=end),
        lambda: merged(run, {"endTimeSinceEpoch": end}, 2000),
    ):
        if good:
            assert change().body["endTimeSinceEpoch"] == end
        else:
            with pytest.raises(InvalidError, match="endTimeSinceEpoch is before"):
                change()


def test_a_uri_is_not_emptied() -> None:
    artifact = draft(MODEL_ARTIFACT, uri="u")
    with pytest.raises(InvalidError, match="uri is required"):
        merged(artifact, {"uri": ""}, 2000)
    assert merged(artifact, {}, 2000).body["uri"] == "u"


def test_only_who_has_seen_an_entity_as_it_is_changes_it() -> None:
    record = draft(REGISTERED_MODEL, name="m")
    check_seen(record, None)
    check_seen(record, '"0-1000"')
    for seen in ('"0-999"', '"1-1000"', "0-1000", 'W/"0-1000"', ""):
        with pytest.raises(ConflictError) as caught:
            check_seen(record, seen)
        assert caught.value.reason is Reason.PRECONDITION_FAILED
