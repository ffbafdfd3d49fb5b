"""Every call of the generated client below the official one; either generation.

`python generated.py PORT`, run by the interpreter that has the client. Each answer is compared
with what the client's strict models make of it: a field they do not know, or one they had to fill
in, is an error.
"""

import asyncio
import inspect
import json
import sys
from typing import Any

import mr_openapi as mr
from mr_openapi import ModelRegistryServiceApi
from mr_openapi.exceptions import (
    ApiException,
    BadRequestException,
    ConflictException,
    NotFoundException,
    UnprocessableEntityException,
)

HAS_EXPERIMENTS = hasattr(ModelRegistryServiceApi, "create_experiment")
EMPTY = {
    "get_registered_model_versions",
    "get_model_version_artifacts",
    "get_experiment_run_artifacts",
    "get_environment_inference_services",
    "get_inference_service_serves",
}
"""Lists that are empty where what they are of is not there."""
CALLS = {
    name
    for name, found in inspect.getmembers(ModelRegistryServiceApi, inspect.iscoroutinefunction)
    if not name.startswith("_") and not name.endswith(("_http_info", "_preload_content"))
}
SERVER_SETS = {"createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"}
"""Read only for the client, which drops them when it writes an entity as JSON."""

PROPERTIES = {
    name: mr.MetadataValue.from_dict({"metadataType": f"Metadata{kind}Value", **value})
    for name, kind, value in (
        ("s", "String", {"string_value": "x"}),
        ("i", "Int", {"int_value": "-7"}),
        ("d", "Double", {"double_value": 0.5}),
        ("b", "Bool", {"bool_value": False}),
        ("o", "Struct", {"struct_value": "eyJhIjpbMV19"}),
    )
}
"""One of each kind that is stored; the struct is the base64 of an object."""
COMMON = {"description": "d", "customProperties": PROPERTIES}


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: stripped(v) for k, v in value.items() if k not in SERVER_SETS}
    return [stripped(one) for one in value] if isinstance(value, list) else value


def without_empty(value: Any) -> Any:
    """The client leaves an empty map of properties out where it writes an entity as JSON."""
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items() if (k, v) != ("customProperties", {})}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


class Client:
    """Calls by name; remembers which, and checks each answer."""

    def __init__(self, api: ModelRegistryServiceApi) -> None:
        self.api = api
        self.called: set[str] = set()

    async def __call__(self, call: str, *args: Any, status: int = 200, **more: Any) -> Any:
        self.called.add(call)
        said = await getattr(self.api, f"{call}_with_http_info")(*args, **more)
        raw = json.loads(said.raw_data)
        assert said.status_code == status, f"{call} answered {said.status_code}"
        if said.data is None:  # a status that the older document does not have
            assert (call, status, HAS_EXPERIMENTS) == ("create_inference_service", 201, True)
            return mr.InferenceService.from_dict(raw)
        parsed = json.loads(json.dumps(said.data.to_dict(), default=str))
        assert without_empty(parsed) == without_empty(stripped(raw)), f"{call}: {raw}"
        for one in raw.get("items", [raw]):
            assert one.keys() >= {"id", "name", "customProperties", *SERVER_SETS}, one
        if "items" in raw:
            assert raw.keys() == {"items", "nextPageToken", "pageSize", "size"}
            assert raw["size"] == len(raw["items"])
        return said.data

    async def refused(self, kind: type[ApiException], call: str, *args: Any, **more: Any) -> None:
        told = None
        try:
            await getattr(self.api, call)(*args, **more)
        except ApiException as error:
            told = error
        assert type(told) is kind, f"{call}: {told}"
        assert json.loads(told.body).keys() == {"code", "message"}, told.body


async def listed(client: Client, call: str, *args: Any, wanted: list[str], **more: Any) -> None:
    """A list: whole, in pages of one, largest first, by a filter."""
    whole = await client(call, *args, **more)
    assert [ident(one) for one in whole.items] == wanted, call
    seen, token = [], None
    while token != "":
        page = await client(
            call,
            *args,
            page_size="1",
            order_by=mr.OrderByField.CREATE_TIME,
            sort_order=mr.SortOrder.DESC,
            next_page_token=token,
            **more,
        )
        seen += [ident(one) for one in page.items]
        token = page.next_page_token
    assert seen == wanted[::-1], call
    known = inspect.signature(getattr(client.api, call)).parameters
    one = await client(call, *args, filter_query=f"id = {wanted[0]}", **more)
    assert [ident(one) for one in one.items] == wanted[:1], call
    if "external_id" in known and "name" not in more:
        assert not (await client(call, *args, **{**more, "external_id": "no such"})).items, call


def ident(entity: Any) -> str:
    return (getattr(entity, "actual_instance", None) or entity).id


async def contexts(client: Client) -> tuple[str, str]:
    model = await client(
        "create_registered_model",
        mr.RegisteredModelCreate(
            name="m", externalId="m", owner="o", readme="# r", maturity="x", language=["en", "de"],
            tasks=["t"], provider="p", logo="l", license="l", licenseLink="ll", libraryName="n",
            **COMMON,
        ),
        status=201,
    )  # fmt: skip
    assert model.language == ["en", "de"]
    assert await client("get_registered_model", model.id) == model
    assert await client("find_registered_model", name="m") == model
    assert await client("find_registered_model", external_id="m") == model
    await listed(client, "get_registered_models", wanted=[model.id])
    changed = await client(
        "update_registered_model", model.id, mr.RegisteredModelUpdate(description="e", state=None)
    )
    assert (changed.description, changed.owner) == ("e", "o")
    assert changed.custom_properties == model.custom_properties

    of = {"registeredModelId": model.id}
    one = await client(
        "create_model_version",
        mr.ModelVersionCreate(name="1", author="a", externalId="v", **of, **COMMON),
        status=201,
    )
    two = await client(
        "create_registered_model_version", model.id, mr.ModelVersion(name="2", **of), status=201
    )
    assert await client("get_model_version", one.id) == one
    assert await client("find_model_version", name="1", parent_resource_id=model.id) == one
    await listed(client, "get_model_versions", wanted=[one.id, two.id])
    await listed(client, "get_registered_model_versions", model.id, wanted=[one.id, two.id])
    only = {"name": "2"}
    await listed(client, "get_registered_model_versions", model.id, wanted=[two.id], **only)
    archived = mr.ModelVersionUpdate(state=mr.ModelVersionState.ARCHIVED)
    assert (await client("update_model_version", two.id, archived)).state.value == "ARCHIVED"
    return model.id, one.id


async def artifacts(client: Client, version: str) -> None:
    model = await client(
        "create_model_artifact",
        mr.ModelArtifactCreate(
            name="a", uri="u", externalId="a", modelFormatName="onnx", modelFormatVersion="1",
            storageKey="k", storagePath="p", serviceAccountName="s", modelSourceKind="k",
            modelSourceClass="c", modelSourceGroup="g", modelSourceId="i", modelSourceName="n",
            state=mr.ArtifactState.PENDING, **COMMON,
        ),
        status=201,
    )  # fmt: skip
    assert await client("get_model_artifact", model.id) == model
    assert await client("find_model_artifact", external_id="a") == model
    live = mr.ModelArtifactUpdate(state=mr.ArtifactState.LIVE)
    assert (await client("update_model_artifact", model.id, live)).state.value == "LIVE"
    document = await client(
        "create_artifact",
        mr.ArtifactCreate(mr.DocArtifactCreate(name="d", uri="u", **COMMON)),
        status=201,
    )
    attached = await client(
        "upsert_model_version_artifact",
        version,
        mr.Artifact(mr.ModelArtifact(id=model.id, uri="v", state=None)),
    )
    assert attached.actual_instance.uri == "v"
    made = await client(
        "upsert_model_version_artifact",
        version,
        mr.Artifact(mr.DocArtifact(name="under", uri="u", **COMMON)),
        status=201,
    )
    under = [model.id, ident(made)]
    await listed(client, "get_model_version_artifacts", version, wanted=under)
    await listed(
        client,
        "get_model_version_artifacts",
        version,
        wanted=under[1:],
        artifact_type=mr.ArtifactTypeQueryParam.DOC_MINUS_ARTIFACT,
        name="under",
    )
    found = await client("find_model_artifact", name="a", parent_resource_id=version)
    assert found.id == model.id
    found = await client("find_artifact", name="under", parent_resource_id=version)
    assert ident(found) == ident(made)
    await listed(client, "get_model_artifacts", wanted=[model.id])
    assert await client("get_artifact", ident(document)) == document
    every = [model.id, ident(document), ident(made)]
    await listed(client, "get_artifacts", wanted=every)
    only = {"artifact_type": mr.ArtifactTypeQueryParam.DOC_MINUS_ARTIFACT}
    await listed(client, "get_artifacts", wanted=every[1:], **only)
    update = mr.ArtifactUpdate(mr.DocArtifactUpdate(description="e", state=None))
    changed = await client("update_artifact", ident(document), update)
    assert (changed.actual_instance.description, changed.actual_instance.uri) == ("e", "u")
    wrong = mr.ArtifactUpdate(mr.ModelArtifactUpdate(description="e"))
    await client.refused(BadRequestException, "update_artifact", ident(document), wrong)


async def serving(client: Client, model: str, version: str) -> None:
    place = await client(
        "create_serving_environment",
        mr.ServingEnvironmentCreate(name="edge", externalId="edge", **COMMON),
        status=201,
    )
    assert await client("get_serving_environment", place.id) == place
    assert await client("find_serving_environment", name="edge") == place
    update = mr.ServingEnvironmentUpdate(description="e")
    assert (await client("update_serving_environment", place.id, update)).description == "e"
    await listed(client, "get_serving_environments", wanted=[place.id])

    of = {"registeredModelId": model, "servingEnvironmentId": place.id}
    one = await client(
        "create_inference_service",
        mr.InferenceServiceCreate(name="s", externalId="s", runtime="onnx", **of, **COMMON),
        status=201,
    )
    two = await client(
        "create_environment_inference_service",
        place.id,
        mr.InferenceServiceCreate(name="t", modelVersionId=version, **of),
        status=201,
    )
    assert await client("get_inference_service", one.id) == one
    query = {"name": "s", "parent_resource_id": place.id}
    assert await client("find_inference_service", **query) == one
    await listed(client, "get_inference_services", wanted=[one.id, two.id])
    here = ("get_environment_inference_services", place.id)
    await listed(client, *here, wanted=[one.id, two.id])
    await listed(client, *here, wanted=[two.id], name="t")
    update = mr.InferenceServiceUpdate(desiredState=mr.InferenceServiceState.UNDEPLOYED)
    changed = await client("update_inference_service", one.id, update)
    assert (changed.desired_state.value, changed.runtime) == ("UNDEPLOYED", "onnx")
    assert (await client("get_inference_service_model", one.id)).id == model
    assert (await client("get_inference_service_version", two.id)).id == version

    served = await client(
        "create_inference_service_serve",
        one.id,
        mr.ServeModelCreate(name="n", modelVersionId=version, externalId="serve", **COMMON),
        status=201,
    )
    assert (served.model_version_id, served.last_known_state.value) == (version, "UNKNOWN")
    await listed(client, "get_inference_service_serves", one.id, wanted=[served.id])


async def experiments(client: Client) -> None:
    experiment = await client(
        "create_experiment",
        mr.ExperimentCreate(name="e", externalId="e", owner="o", **COMMON),
        status=201,
    )
    assert await client("get_experiment", experiment.id) == experiment
    assert await client("find_experiment", name="e") == experiment
    await listed(client, "get_experiments", wanted=[experiment.id])
    update = mr.ExperimentUpdate(description="f", state=None)
    assert (await client("update_experiment", experiment.id, update)).owner == "o"

    of = {"experimentId": experiment.id}
    one = await client(
        "create_experiment_run",
        mr.ExperimentRunCreate(
            name="r", externalId="r", startTimeSinceEpoch="5", owner="o", **of, **COMMON
        ),
        status=201,
    )
    two = await client(
        "create_experiment_experiment_run",
        experiment.id,
        mr.ExperimentRun(name="s", **of),
        status=201,
    )
    assert await client("get_experiment_run", one.id) == one
    query = {"name": "r", "parent_resource_id": experiment.id}
    assert await client("find_experiment_run", **query) == one
    await listed(client, "get_experiment_runs", wanted=[one.id, two.id])
    here = ("get_experiment_experiment_runs", experiment.id)
    await listed(client, *here, wanted=[one.id, two.id])
    await listed(client, *here, wanted=[two.id], name="s")
    update = mr.ExperimentRunUpdate(status=mr.ExperimentRunStatus.FAILED, endTimeSinceEpoch="9")
    changed = await client("update_experiment_run", one.id, update)
    assert (changed.status.value, changed.end_time_since_epoch) == ("FAILED", "9")
    assert changed.start_time_since_epoch == "5"
    backwards = mr.ExperimentRunUpdate(endTimeSinceEpoch="4", status=None, state=None)
    await client.refused(BadRequestException, "update_experiment_run", one.id, backwards)

    logs = [
        mr.Metric(name="loss", value=0.5, step=1, timestamp="7", state=mr.ArtifactState.LIVE),
        mr.Parameter(name="rate", value="1", parameterType=mr.ParameterType.NUMBER),
        mr.DataSet(
            name="rows", uri="u", digest="d", sourceType="s", source="x", schema="y", profile="z"
        ),
        mr.ModelArtifact(name="model", uri="u"),
    ]
    under = []
    for log in logs:
        call = client.api.upsert_experiment_run_artifact_with_http_info
        said = await call(one.id, mr.Artifact(log))
        assert said.status_code in (200, 201)
        under.append(ident(said.data))
        made = said.data.actual_instance
        assert (made.experiment_run_id, made.experiment_id) == (one.id, experiment.id)
    again = mr.Artifact(mr.Metric(name="loss", value=0.25, step=2, state=None))
    assert ident(await client("upsert_experiment_run_artifact", one.id, again)) == under[0]
    await listed(client, "get_experiment_run_artifacts", one.id, wanted=under)
    await listed(
        client,
        "get_experiment_run_artifacts",
        one.id,
        wanted=under[1:2],
        artifact_type=mr.ArtifactTypeQueryParam.PARAMETER,
        name="rate",
    )
    points = await client("get_experiment_run_metric_history", one.id, name="loss")
    assert [(point.step, point.value) for point in points.items] == [(1, 0.5), (2, 0.25)]
    points = await client("get_experiment_runs_metric_history", name="loss", step_ids="2")
    assert [(point.step, point.value) for point in points.items] == [(2, 0.25)]
    await client.refused(
        BadRequestException, "get_experiment_run_metric_history", one.id, step_ids="x"
    )
    await client.refused(NotFoundException, "get_experiment_run_metric_history", "999999999")
    alone = mr.ArtifactUpdate(mr.MetricUpdate(value=0.125, state=None))
    changed = (await client("update_artifact", under[0], alone)).actual_instance
    assert (changed.value, changed.step, changed.experiment_run_id) == (0.125, 2, one.id)


async def metrics(client: Client, version: str) -> None:
    """Steps are texts in the newer generation, numbers in the older one."""
    step = 3 if HAS_EXPERIMENTS else "3"
    made = await client(
        "create_artifact",
        mr.ArtifactCreate(mr.MetricCreate(name="m", value=1.5, step=step, timestamp="7")),
        status=201,
    )
    assert (made.actual_instance.step, made.actual_instance.value) == (step, 1.5)
    again = await client("get_artifact", ident(made))
    assert again == made
    parameter = mr.ParameterCreate(name="p", value="{}", parameterType=mr.ParameterType.OBJECT)
    await client("create_artifact", mr.ArtifactCreate(parameter), status=201)
    rows = mr.DataSet(name="rows", uri="u", schema="s")
    call = client.api.upsert_model_version_artifact_with_http_info
    said = await call(version, mr.Artifact(rows))
    assert said.status_code in (200, 201)
    assert said.data.actual_instance.var_schema == "s"


async def refusals(client: Client, model: str) -> None:
    """Each status arrives as the exception that the client has for it."""
    twin = mr.RegisteredModelCreate(name="m")
    await client.refused(ConflictException, "create_registered_model", twin)
    nobody = {"registeredModelId": model}
    nameless = mr.ModelVersionCreate.model_construct(name="", **nobody)
    await client.refused(UnprocessableEntityException, "create_model_version", nameless)
    dangling = mr.ModelVersionCreate(name="x", registeredModelId="999999999")
    await client.refused(NotFoundException, "create_model_version", dangling)
    for call in sorted(client.called):
        first = next(iter(inspect.signature(getattr(client.api, call)).parameters))
        if call.startswith("get_") and first.endswith("id") and call not in EMPTY:
            await client.refused(NotFoundException, call, "999999999")
    for call in sorted(client.called):
        if call.startswith("find_"):
            await client.refused(NotFoundException, call, external_id="no such")
            await client.refused(BadRequestException, call)
    broken = {"filter_query": "name = "}
    await client.refused(BadRequestException, "get_registered_models", **broken)
    await client.refused(BadRequestException, "get_registered_models", next_page_token="!")


async def main() -> None:
    host = f"http://127.0.0.1:{sys.argv[1]}"
    async with mr.ApiClient(mr.Configuration(host=host)) as connection:
        client = Client(ModelRegistryServiceApi(connection))
        model, version = await contexts(client)
        await artifacts(client, version)
        await serving(client, model, version)
        await metrics(client, version)
        if HAS_EXPERIMENTS:
            await experiments(client)
        await refusals(client, model)
    assert client.called == CALLS, CALLS - client.called


asyncio.run(main())
sys.stdout.write("done\n")
