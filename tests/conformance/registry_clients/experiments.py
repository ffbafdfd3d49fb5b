"""What the official client offers for experiments, called as people call it; version 0.3.14.

`python experiments.py PORT`, run by the interpreter that has the client. Later versions have no
experiments.
"""

import asyncio
import functools
import ssl
import sys
import warnings

from model_registry import ModelRegistry
from model_registry.types import ListOptions
from model_registry.types.artifacts import Metric
from mr_openapi import (
    ApiClient,
    ArtifactTypeQueryParam,
    Configuration,
    ExperimentRunStatus,
    ExperimentRunUpdate,
    ExperimentState,
    ModelRegistryServiceApi,
    OrderByField,
    SortOrder,
)

ssl.create_default_context = functools.cache(ssl.create_default_context)

warnings.simplefilter("ignore")
ADDRESS, PORT = "http://127.0.0.1", int(sys.argv[1])
registry = ModelRegistry(ADDRESS, PORT, author="me", is_secure=False)
core = registry._api
wait = asyncio.new_event_loop().run_until_complete

LOSSES = [0.9, 0.5, 0.25, -1e-300, 1e300]


def experiments() -> None:
    made = registry.create_experiment("tuning")
    assert registry.create_experiment("tuning").id == made.id
    assert (made.name, made.state) == ("tuning", ExperimentState.LIVE)
    assert wait(core.get_experiment_by_name("tuning")).id == made.id
    assert wait(core.get_experiment_by_id(made.id)).id == made.id
    assert wait(core.get_experiment_by_name("tunin_")) is None
    assert wait(core.get_experiment_by_id("999999999")) is None
    changed = made.model_copy(
        update={
            "description": "d",
            "owner": "o",
            "external_id": "e",
            "state": ExperimentState.ARCHIVED,
            "custom_properties": {"i": 1, "s": "x", "b": True, "d": 1.5},
        }
    )
    wait(core.upsert_experiment(changed))
    kept = wait(core.get_experiment_by_name("tuning"))
    assert (kept.description, kept.owner, kept.external_id) == ("d", "o", "e")
    assert (kept.state, kept.custom_properties) == (
        ExperimentState.ARCHIVED,
        {"i": 1, "s": "x", "b": True, "d": 1.5},
    )
    for name in ("a:b", "100%", "ünï 漢字"):
        registry.create_experiment(name)
    every = [one.name for one in registry.get_experiments().page_size(2)]
    assert every == ["tuning", "a:b", "100%", "ünï 漢字"]
    down = registry.get_experiments().page_size(3).order_by_creation_time().descending()
    assert [one.name for one in down] == every[::-1]


def a_run_that_finishes() -> str:
    with registry.start_experiment_run(experiment_name="training", run_description="first") as run:
        run.log_param("rate", 0.01)
        run.log_param("layers", 7)
        run.log_param("deep", True)
        run.log_param("name", "adam's %")
        for step, loss in enumerate(LOSSES):
            run.log_metric("loss", loss, step=step, description=f"step {step}")
        run.log_metric("val_loss", 1)
        run.log_metric("100%", 0, timestamp="1700000000000")
        run.log_dataset(
            "rows",
            "s3://bucket/rows",
            source_type="s3",
            source="bucket",
            schema='{"a": "int"}',
            profile='{"n": 3}',
        )
    assert run.get_log("metrics", "loss").value == LOSSES[-1]
    assert run.get_log("params", "rate").value == 0.01

    kept = registry.get_experiment_run(run.info.id)
    assert (kept.name, kept.description) == (run.info.name, "first")
    assert kept.experiment_id == run.info.experiment_id
    logs = list(registry.get_experiment_run_logs(run_id=run.info.id))
    assert [type(one).__name__ for one in logs] == ["Parameter"] * 4 + ["Metric"] * 3 + ["DataSet"]
    assert {one.experiment_run_id for one in logs} == {run.info.id}
    assert {one.experiment_id for one in logs} == {run.info.experiment_id}
    found = {one.name: one for one in logs}
    values = {name: found[name].value for name in ("rate", "layers", "deep", "name")}
    assert values == {"rate": 0.01, "layers": 7, "deep": True, "name": "adam's %"}
    loss = found["loss"]
    assert (loss.value, loss.step, loss.description) == (LOSSES[-1], 4, "step 4")
    assert loss.state.value == "LIVE"
    assert (found["100%"].value, found["100%"].timestamp) == (0, "1700000000000")
    rows = found["rows"]
    assert (rows.uri, rows.source_type, rows.source) == ("s3://bucket/rows", "s3", "bucket")
    assert (rows.schema, rows.profile) == ('{"a": "int"}', '{"n": 3}')
    for key in ({"experiment_name": "training"}, {"experiment_id": run.info.experiment_id}):
        same = registry.get_experiment_run_logs(run_name=run.info.name, **key)
        assert list(same.page_size(3)) == logs
    assert [one.name for one in registry.get_experiment_run_logs(run_id=run.info.id).page_size(1)]
    return run.info.id


def a_run_that_fails() -> None:
    try:
        with registry.start_experiment_run(experiment_name="training") as run:
            run.log_param("rate", 0.5)
            raise KeyError("in the middle")
    except KeyError:
        pass
    assert [one.name for one in registry.get_experiment_run_logs(run_id=run.info.id)] == ["rate"]
    again = registry.start_experiment_run(experiment_name="training", run_id=run.info.id)
    with again as same:
        same.log_param("rate", 0.75)
        same.log_metric("loss", 0.125, step=1)
    assert same.info.id == run.info.id
    logs = list(registry.get_experiment_run_logs(run_id=run.info.id))
    assert {one.name: one.value for one in logs} == {"rate": 0.75, "loss": 0.125}


def runs_in_runs() -> None:
    with registry.start_experiment_run(experiment_name="nested") as outer:
        with registry.start_experiment_run(nested=True) as inner:
            inner.log_metric("loss", 1.0)
        assert inner.info.experiment_id == outer.info.experiment_id
    kept = registry.get_experiment_run(inner.info.id)
    assert kept.custom_properties == {"kubeflow.parent_run_id": outer.info.id}
    by_name = list(registry.get_experiment_runs(experiment_name="nested").page_size(1))
    assert [one.id for one in by_name] == [outer.info.id, inner.info.id]
    ident = outer.info.experiment_id
    by_id = registry.get_experiment_runs(experiment_id=ident).order_by_id().descending()
    assert [one.id for one in by_id] == [inner.info.id, outer.info.id]
    assert list(registry.get_experiment_runs(experiment_name="no such")) == []
    assert registry.get_experiment_run("999999999") is None


async def history(run: str) -> None:
    """Points of a metric over the steps: what `start_experiment_run` keeps only the last of."""
    async with ApiClient(Configuration(host=f"{ADDRESS}:{PORT}")) as client:
        api = ModelRegistryServiceApi(client)
        for step, value in enumerate(LOSSES):
            log = point("accuracy", value, step)
            await core.upsert_experiment_run_artifact(run, log)
        await core.upsert_experiment_run_artifact(run, point("val_accuracy", 9, 0))

        found = await api.get_experiment_run_metric_history(run, name="accuracy")
        assert [(one.step, one.value) for one in found.items] == list(enumerate(LOSSES))
        assert {(one.name, one.artifact_type) for one in found.items} == {("accuracy", "metric")}
        found = await api.get_experiment_run_metric_history(run, name="accuracy", step_ids="1,3")
        assert [one.step for one in found.items] == [1, 3]
        down = await api.get_experiment_run_metric_history(
            run, name="accuracy", page_size="2", order_by=OrderByField.ID, sort_order=SortOrder.DESC
        )
        assert [one.step for one in down.items] == [4, 3]
        assert (down.size, down.page_size) == (2, 2)
        down = await api.get_experiment_run_metric_history(
            run,
            name="accuracy",
            page_size="2",
            order_by=OrderByField.ID,
            sort_order=SortOrder.DESC,
            next_page_token=down.next_page_token,
        )
        assert [one.step for one in down.items] == [2, 1]
        found = await api.get_experiment_runs_metric_history(name="loss", filter_query="value <= 1")
        assert found.items
        assert {one.name for one in found.items} == {"loss"}
        assert len({one.experiment_run_id for one in found.items}) > 1

        metrics = await api.get_experiment_run_artifacts(
            run, artifact_type=ArtifactTypeQueryParam.METRIC, name="accuracy"
        )
        assert [one.actual_instance.step for one in metrics.items] == [len(LOSSES) - 1]

        update = ExperimentRunUpdate(
            status=ExperimentRunStatus.FINISHED, end_time_since_epoch="99999999999999"
        )
        await api.update_experiment_run(run, update)
        kept = await api.get_experiment_run(run)
        assert (kept.status, kept.end_time_since_epoch) == (
            ExperimentRunStatus.FINISHED,
            "99999999999999",
        )
        done = await api.get_experiment_runs(filter_query="status = 'FINISHED'")
        assert [one.id for one in done.items] == [run]


def point(name: str, value: float, step: int) -> Metric:
    return Metric(name=name, value=value, step=step, timestamp=str(1_700_000_000_000 + step))


def filtered(run: str) -> None:
    found = wait(core.get_artifacts(f"experimentRunId = '{run}' AND value > 1", "metric"))
    assert {one.name for one in found} == {"loss", "accuracy", "val_accuracy"}
    found = wait(core.get_artifacts(artifact_type="parameter", options=ListOptions(limit=100)))
    assert {one.name for one in found} == {"rate", "layers", "deep", "name"}
    datasets = ListOptions.artifact_type(ArtifactTypeQueryParam.DATASET_MINUS_ARTIFACT)
    assert [one.name for one in wait(core.get_artifacts(options=datasets))] == ["rows"]


experiments()
finished = a_run_that_finishes()
a_run_that_fails()
runs_in_runs()
wait(history(finished))
filtered(finished)
sys.stdout.write("done\n")
