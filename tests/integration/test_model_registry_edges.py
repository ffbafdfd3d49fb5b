"""Where something of the model registry ends: ids, names, what another server has left out."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from towpath.auth import Identity
from towpath.registry.api.surface import stamp

pytestmark = pytest.mark.anyio

Serving = Callable[..., Any]
TIMES = {"created": 1, "updated": 1}
EXPERIMENT = {"kind": "Experiment", "id": 1, "name": "e", "body": {}, **TIMES}
RUN = {"kind": "ExperimentRun", "id": 2, "name": "r", "parent": 1, "body": {}, **TIMES}


@pytest.fixture
async def http(registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(registry_url) as client:
        yield client


async def took_in(http: httpx2.AsyncClient, *lines: dict[str, Any]) -> None:
    """Import these, each the only one of its kind."""
    counts = {line["kind"]: 1 for line in lines}
    header = {"format": "towpath-registry", "version": 1, "at": "1", "counts": counts}
    file = b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines))
    answer = await http.post("/import", content=file, headers={"Content-Type": "application/jsonl"})
    assert answer.status_code == 201, answer.text


async def test_no_id_is_given_that_clients_cannot_read(http: httpx2.AsyncClient) -> None:
    last = 999_999_999
    model = {"kind": "RegisteredModel", "id": last, "name": "m", "body": {}, **TIMES}
    await took_in(http, model)
    for path, body in (
        ("/registered_models", {"name": "n"}),
        ("/model_versions", {"name": "v", "registeredModelId": str(last)}),
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 507
        assert "every id up to 999999999" in answer.json()["message"]
    changed = await http.patch(f"/registered_models/{last}", json={"description": "still here"})
    assert changed.status_code == 200
    assert (await http.get("/registered_models")).json()["size"] == 1
    assert (await http.get("/model_versions")).json()["size"] == 0
    assert (await http.post("/artifacts", json={"artifactType": "doc-artifact"})).json()[
        "id"
    ] == "1"


async def test_what_another_server_left_out_is_its_default(http: httpx2.AsyncClient) -> None:
    metric = {"kind": "Metric", "id": 1, "name": "m", "scope": "2", "body": {"value": 1}, **TIMES}
    belongs = {"kind": "Attribution", "context": 2, "artifact": 1}
    await took_in(http, EXPERIMENT, RUN, metric, belongs)
    run = (await http.get("/experiment_runs/2")).json()
    assert (run["state"], run["status"]) == ("LIVE", "RUNNING")
    report = {"artifactType": "metric", "name": "m", "value": 2}
    answer = await http.post("/experiment_runs/2/artifacts", json=report)
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (
        200,
        "1",
        "UNKNOWN",
    )
    points = (await http.get("/experiment_runs/2/metric_history")).json()["items"]
    assert [point["value"] for point in points] == [2]


async def test_a_report_of_what_had_no_value_is_no_failure(http: httpx2.AsyncClient) -> None:
    metric = {"kind": "Metric", "id": 1, "name": "m", "scope": "2", "body": {}, **TIMES}
    await took_in(
        http, EXPERIMENT, RUN, metric, {"kind": "Attribution", "context": 2, "artifact": 1}
    )
    report = {"artifactType": "metric", "id": "1", "description": "d"}
    answer = await http.post("/experiment_runs/2/artifacts", json=report)
    assert (answer.status_code, answer.json()["description"]) == (200, "d")


async def test_a_metric_with_the_longest_name_is_given_to_a_run(http: httpx2.AsyncClient) -> None:
    experiment = (await http.post("/experiments", json={"name": "e"})).json()["id"]
    body = {"name": "r", "experimentId": experiment}
    run = (await http.post("/experiment_runs", json=body)).json()["id"]
    name = "n" * 255
    body = {"artifactType": "metric", "name": name, "value": 1}
    metric = (await http.post("/artifacts", json=body)).json()["id"]
    body = {"artifactType": "metric", "id": metric, "value": 2}
    assert (await http.post(f"/experiment_runs/{run}/artifacts", json=body)).status_code == 200
    points = (await http.get(f"/experiment_runs/{run}/metric_history?name={name}")).json()["items"]
    assert [point["value"] for point in points] == [2]


async def test_who_changes_something_may_have_a_long_name() -> None:
    caller = Identity("system:serviceaccount:" + "n" * 300)
    told = stamp(Request({"type": "http", "headers": [], "state": {"identity": caller}}))
    assert told.actor == caller.user[:255]
