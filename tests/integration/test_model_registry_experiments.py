"""Experiments, their runs, and what the runs report, over real HTTP."""

from typing import Any

import anyio
import pytest

from towpath.spec.registry import PREFIXES

pytestmark = pytest.mark.anyio

V1 = PREFIXES[1]
TYPES = ("model-artifact", "doc-artifact", "dataset-artifact", "metric", "parameter")


async def run_of(book: Any, name: str = "r", experiment: str = "e") -> dict[str, Any]:
    parent = await book.made("/experiments", name=experiment)
    run: dict[str, Any] = await book.made("/experiment_runs", experimentId=parent["id"], name=name)
    return run


def artifact(kind: str, **fields: Any) -> dict[str, Any]:
    need: dict[str, Any] = {"metric": {"value": 0.5}, "parameter": {"value": "x"}}
    return {"artifactType": kind, **need.get(kind, {"uri": "s3://b/k"}), **fields}


async def test_experiments_and_runs(book: Any) -> None:
    experiment = await book.made("/experiments", name="e", owner="o", externalId="x")
    assert (experiment["state"], experiment["customProperties"]) == ("LIVE", {})
    top = await book.made("/experiment_runs", experimentId=experiment["id"])
    assert (top["state"], top["status"], len(top["name"])) == ("LIVE", "RUNNING", 36)
    below = f"/experiments/{experiment['id']}/experiment_runs"
    run = await book.made(below, name="r:1", experimentId="999", status="SCHEDULED")
    assert (run["experimentId"], run["status"]) == (experiment["id"], "SCHEDULED")
    assert len({entity["id"] for entity in (experiment, top, run)}) == 3

    assert await book.read(f"/experiments/{experiment['id']}") == experiment
    assert await book.read(f"/experiment_runs/{run['id']}") == run
    assert await book.read("/experiment", name="e") == experiment
    assert await book.read("/experiment", externalId="x") == experiment
    of = {"parentResourceId": experiment["id"]}
    assert await book.read("/experiment_run", name="r:1", **of) == run
    assert await book.names("/experiments") == ["e"]
    assert await book.names(below) == await book.names("/experiment_runs") == [top["name"], "r:1"]
    assert await book.names(below, name="r:1") == ["r:1"]
    assert await book.names("/experiment_runs", filterQuery="status = 'SCHEDULED'") == ["r:1"]

    changed = await book.patched(f"/experiments/{experiment['id']}", description="d")
    assert (changed["owner"], changed["description"]) == ("o", "d")
    await book.refused(409, "experiment with name e", "POST", "/experiments", json={"name": "e"})
    again = {"name": "r:1", "experimentId": experiment["id"]}
    await book.refused(409, "experiment run with name r:1", "POST", below, json=again)


async def test_a_run_needs_its_experiment(book: Any) -> None:
    gone = {"experimentId": "999", "name": "r"}
    await book.refused(404, "no experiment found", "POST", "/experiment_runs", json=gone)
    below = "/experiments/999/experiment_runs"
    await book.refused(404, "no experiment found for id 999: not found", "POST", below, json=gone)
    await book.refused(404, "no experiment found for id 999: not found", "GET", below)
    for path in ("/experiment_runs", below):
        await book.refused(422, "'experimentId' is zero value.", "POST", path, json={"name": "r"})
    assert await book.names("/experiment_runs") == []


async def test_a_whole_run_is_created_or_updated_below_its_experiment(book: Any) -> None:
    run = await run_of(book)
    below = f"/experiments/{run['experimentId']}/experiment_runs"
    whole = {**run, "name": "other", "status": "FINISHED"}
    answer = await book.call("POST", below, json=whole)
    assert answer.status_code == 201
    assert (answer.json()["id"], answer.json()["name"]) == (run["id"], "r")
    assert answer.json()["status"] == "FINISHED"
    other = (await book.made("/experiments", name="other"))["id"]
    path = f"/experiments/{other}/experiment_runs"
    await book.refused(400, "does not belong to experiment", "POST", path, json=whole)
    missing = {**whole, "id": "999"}
    await book.refused(404, "no experiment run found for id 999", "POST", below, json=missing)


async def test_times_of_a_run(book: Any) -> None:
    run = await run_of(book)
    at = {"experimentId": run["experimentId"]}
    timed = await book.made("/experiment_runs", **at, startTimeSinceEpoch="0100")
    assert timed["startTimeSinceEpoch"] == "100"
    path = f"/experiment_runs/{timed['id']}"
    early = {"endTimeSinceEpoch": "99"}
    await book.refused(400, "endTimeSinceEpoch is before", "PATCH", path, json=early)
    both = {**at, "startTimeSinceEpoch": "2", "endTimeSinceEpoch": "1"}
    await book.refused(400, "endTimeSinceEpoch is before", "POST", "/experiment_runs", json=both)
    for bad in ("x", "1.5", "", str(2**63)):
        await book.refused(400, "64-bit", "PATCH", path, json={"endTimeSinceEpoch": bad})
    await book.refused(400, "field 'endTime", "PATCH", path, json={"endTimeSinceEpoch": 200})
    fixed = {"startTimeSinceEpoch": "1"}
    await book.refused(400, 'unknown field "startTime', "PATCH", path, json=fixed)
    ended = await book.patched(path, endTimeSinceEpoch="100", status="FINISHED")
    assert (ended["startTimeSinceEpoch"], ended["endTimeSinceEpoch"]) == ("100", "100")


async def test_an_edited_run_keeps_status_and_state(book: Any) -> None:
    run = await run_of(book)
    path = f"/experiment_runs/{run['id']}"
    await book.patched(path, status="KILLED", state="ARCHIVED")
    edited = await book.patched(path, description="d")
    assert (edited["status"], edited["state"]) == ("KILLED", "ARCHIVED")
    path = f"/experiments/{run['experimentId']}"
    await book.patched(path, state="ARCHIVED")
    assert (await book.patched(path, owner="o"))["state"] == "ARCHIVED"


async def test_a_run_has_artifacts_of_all_types(book: Any) -> None:
    run = await run_of(book)
    below = f"/experiment_runs/{run['id']}/artifacts"
    for kind in TYPES:
        answer = await book.call("POST", below, json=artifact(kind, name=kind, externalId=kind))
        created = kind in ("model-artifact", "doc-artifact")
        assert answer.status_code == (201 if created else 200), answer.text
        found = answer.json()
        assert (found["artifactType"], found["state"]) == (kind, "UNKNOWN")
        links = {"experimentId": run["experimentId"], "experimentRunId": run["id"]}
        assert {field: found[field] for field in links} == links
        assert await book.read(f"/artifacts/{found['id']}") == found
        for path in (below, "/artifacts"):
            assert await book.names(path, artifactType=kind) == [kind]
        assert await book.names(below, name=kind) == [kind]
        assert await book.names(below, externalId=kind) == [kind]
        query = f"experimentRunId = {run['id']} AND name = '{kind}'"
        assert await book.names("/artifacts", artifactType=kind, filterQuery=query) == [kind]
        of = {"parentResourceId": run["id"]}
        assert await book.read("/artifact", name=kind, **of) == found
    assert sorted(await book.names(below)) == sorted(TYPES)
    parameter = await book.read("/artifact", externalId="parameter")
    assert (parameter["value"], parameter["parameterType"]) == ("x", "string")
    gone = "/experiment_runs/999/artifacts"
    await book.refused(404, "no experiment run", "POST", gone, json=artifact("doc-artifact"))
    assert await book.names(gone) == []


async def test_an_edited_artifact_keeps_its_run(book: Any) -> None:
    run = await run_of(book)
    for kind in TYPES:
        made = await book.made(f"/experiment_runs/{run['id']}/artifacts", **artifact(kind))
        edited = await book.patched(
            f"/artifacts/{made['id']}", artifactType=kind, description="d", experimentRunId="77"
        )
        assert edited["experimentRunId"] == run["id"]
        assert edited["experimentId"] == run["experimentId"]


async def test_the_run_of_an_artifact_is_the_first_it_was_given_to(book: Any) -> None:
    first = await run_of(book)
    second = await run_of(book, experiment="f")
    alone = await book.made("/model_artifacts", name="m", uri="u")
    assert "experimentRunId" not in alone
    for run in (first, second, second):
        given = await book.made(
            f"/experiment_runs/{run['id']}/artifacts", artifactType="model-artifact", id=alone["id"]
        )
        assert given["experimentRunId"] == first["id"]
        assert await book.names(f"/experiment_runs/{run['id']}/artifacts") == ["m"]
    unknown = {"name": "n", "uri": "u", "experimentRunId": first["id"]}
    await book.refused(400, "unknown field", "POST", "/model_artifacts", json=unknown)
    claimed = await book.made("/artifacts", artifactType="doc-artifact", experimentRunId="999")
    assert "experimentRunId" not in claimed


@pytest.mark.parametrize("below", ["experiment_runs", "model_versions"])
async def test_metrics_and_parameters_are_updated_by_name(book: Any, below: str) -> None:
    parent = await run_of(book)
    if below == "model_versions":
        model = await book.made("/registered_models", name="m")
        parent = await book.made("/model_versions", name="1", registeredModelId=model["id"])
    path = f"/{below}/{parent['id']}/artifacts"
    metric = await book.made(path, **artifact("metric", name="acc", step=1, description="d"))
    again = await book.made(path, **artifact("metric", name="acc", value=0, step=2))
    assert (again["id"], again["value"], again["step"]) == (metric["id"], 0, 2)
    assert again["description"] == "d"
    setting = await book.made(path, **artifact("parameter", name="acc", parameterType="number"))
    again = await book.made(path, **artifact("parameter", name="acc", value=""))
    assert (again["id"], again["value"]) == (setting["id"], "")
    assert again["parameterType"] == "number"
    assert await book.names(path) == ["acc", "acc"]
    clash = artifact("dataset-artifact", name="acc")
    await book.made(path, **clash)
    await book.refused(409, "dataset artifact with name acc", "POST", path, json=clash)


async def test_a_metric_needs_a_value(book: Any) -> None:
    run = await run_of(book)
    for path in ("/artifacts", f"/experiment_runs/{run['id']}/artifacts"):
        for kind in ("metric", "parameter"):
            none = {"artifactType": kind, "name": "n"}
            await book.refused(400, f"{kind} value is required", "POST", path, json=none)
        for field, bad in (("value", "1"), ("value", True), ("step", "x"), ("step", 1.5)):
            body = artifact("metric", **{field: bad})
            await book.refused(400, f"field '{field}", "POST", path, json=body)
        bad = artifact("metric", timestamp="yesterday")
        await book.refused(400, "field 'timestamp' is not", "POST", path, json=bad)
    assert await book.names("/artifacts") == []


async def test_every_report_of_a_metric_is_in_its_history(book: Any) -> None:
    run = await run_of(book)
    path = f"/experiment_runs/{run['id']}/artifacts"
    history = f"/experiment_runs/{run['id']}/metric_history"
    for step in (1, 2, 3):
        for name in ("acc", "val_acc"):
            body = artifact("metric", name=name, value=step / 10, step=step, timestamp="1700")
            await book.made(path, **body)
    points = (await book.read(history, name="acc"))["items"]
    assert [point["value"] for point in points] == [0.1, 0.2, 0.3]
    assert {point["artifactType"] for point in points} == {"metric"}
    assert {point["timestamp"] for point in points} == {"1700"}
    assert {point["experimentRunId"] for point in points} == {run["id"]}
    assert len({point["id"] for point in points}) == 3
    assert await book.names(history) == ["acc", "val_acc"] * 3

    steps = [p["step"] for p in (await book.read(history, stepIds="1, 3"))["items"]]
    assert steps == [1, 1, 3, 3]
    chosen = await book.read(history, filterQuery="value > 0.15", stepIds="1,2", name="val_acc")
    assert [point["step"] for point in chosen["items"]] == [2]
    for bad in ("x", "1,,2", "1.5"):
        await book.refused(400, "stepIds", "GET", history, params={"stepIds": bad})
    missing = "/experiment_runs/999/metric_history"
    await book.refused(404, "no experiment run found for id 999", "GET", missing)

    first = await book.read(history, pageSize="4")
    rest = await book.read(history, pageSize="4", nextPageToken=first["nextPageToken"])
    assert (first["size"], rest["size"], rest["nextPageToken"]) == (4, 2, "")
    assert sorted(await book.names("/artifacts")) == ["acc", "val_acc"]
    assert sorted(await book.names(path)) == ["acc", "val_acc"]
    await book.refused(404, "no artifact", "GET", f"/artifacts/{points[0]['id']}")
    at = {"name": "acc", "parentResourceId": run["id"]}
    assert (await book.read("/artifact", **at))["value"] == 0.3


async def test_the_history_of_all_runs(book: Any) -> None:
    first, second = await run_of(book), await run_of(book, experiment="f")
    for run in (first, second):
        await book.made(f"/experiment_runs/{run['id']}/artifacts", **artifact("metric", name="m"))
    everywhere = "/experiment_runs/metric_history"
    assert await book.names(everywhere, name="m") == ["m", "m"]
    both = f"experimentRunId IN ('{first['id']}', '{second['id']}')"
    assert await book.names(everywhere, filterQuery=both) == ["m", "m"]
    one = f"experimentRunId = {second['id']}"
    found = (await book.read(everywhere, filterQuery=one))["items"]
    assert [point["experimentRunId"] for point in found] == [second["id"]]


async def test_reports_at_one_time_are_one_metric_and_all_points(book: Any) -> None:
    run = await run_of(book)
    path = f"/experiment_runs/{run['id']}/artifacts"

    async def report(step: int) -> None:
        await book.made(path, **artifact("metric", name="loss", step=step, timestamp="5"))

    async with anyio.create_task_group() as tasks:
        for step in range(20):
            tasks.start_soon(report, step)

    assert await book.names(path) == ["loss"]
    points = (await book.read(f"/experiment_runs/{run['id']}/metric_history"))["items"]
    assert sorted(point["step"] for point in points) == list(range(20))


async def test_what_a_report_leaves_out_is_not_told_of_its_point(book: Any) -> None:
    run = await run_of(book)
    path = f"/experiment_runs/{run['id']}/artifacts"
    await book.made(path, **artifact("metric", name="m", step=1, timestamp="5", state="LIVE"))
    await book.made(path, **artifact("metric", name="m"))
    points = (await book.read(f"/experiment_runs/{run['id']}/metric_history"))["items"]
    assert [point.get("step") for point in points] == [1, None]
    assert [point.get("timestamp") for point in points] == ["5", None]
    assert [point["state"] for point in points] == ["LIVE", "LIVE"]


async def test_the_second_generation_has_no_experiments(book: Any) -> None:
    run = await run_of(book)
    below = f"/experiment_runs/{run['id']}/artifacts"
    made = await book.made(below, **artifact("metric", name="m", step="7"))
    assert made["step"] == 7
    new = book.at(V1)
    for path in (
        "/experiments",
        "/experiment",
        "/experiment_runs",
        "/experiment_run",
        f"/experiments/{run['experimentId']}",
        f"/experiments/{run['experimentId']}/experiment_runs",
        f"/experiment_runs/{run['id']}",
        f"/experiment_runs/{run['id']}/metric_history",
        "/experiment_runs/metric_history",
        below,
    ):
        await new.refused(404, "Not Found", "GET", path)
    shown = await new.read(f"/artifacts/{made['id']}")
    old = {k: v for k, v in made.items() if k not in ("experimentId", "experimentRunId")}
    assert shown == {**old, "step": "7"}
    assert (await new.read("/artifacts"))["items"] == [shown]
    for step in (8, "8"):
        answer = await new.patched(f"/artifacts/{made['id']}", artifactType="metric", step=step)
        assert answer["step"] == "8"
    assert (await book.read(f"/artifacts/{made['id']}"))["step"] == 8
