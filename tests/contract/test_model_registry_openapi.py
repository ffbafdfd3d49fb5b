"""The model registry's answers, and our wire types, against the specification's own document."""

import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import anyio
import httpx2
import pytest
import yaml

from towpath import web
from towpath.registry import wire
from towpath.registry.api import app
from towpath.registry.database import open_database
from towpath.settings import Registry
from towpath.spec import registry as spec

PREFIX = spec.PREFIXES[0]

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class Document:
    """As much of JSON Schema as this document uses."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.schemas: dict[str, Any] = content["components"]["schemas"]

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in schema:
            return schema
        found: Any = self.content
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return self.resolve(found)

    def properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        schema = self.resolve(schema)
        found = dict(schema.get("properties", {}))
        for part in schema.get("allOf", []):
            found |= self.properties(part)
        return found

    def faults(self, schema: dict[str, Any], value: Any, at: str = "$") -> Iterator[str]:
        """Where a value differs from a schema."""
        schema = self.resolve(schema)
        for part in schema.get("allOf", []):
            yield from self.faults(part, value, at)
        if "discriminator" in schema:
            key = value.get(schema["discriminator"]["propertyName"])
            chosen = schema["discriminator"]["mapping"].get(key)
            if chosen is None:
                yield f"{at}: {key!r} is not in the discriminator"
                return
            yield from self.faults({"$ref": chosen}, value, at)
        kind = schema.get("type")
        if kind and (
            not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
        ):
            yield f"{at}: {value!r} is not of type {kind}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at}: {value!r} is not one of {schema['enum']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"
        if schema.get("format") == "int64" and not re.fullmatch("-?[0-9]{1,19}", str(value)):
            yield f"{at}: {value!r} is not an int64"
        if len(value if isinstance(value, str) else "·" * 9) < schema.get("minLength", 0):
            yield f"{at}: too short"
        if isinstance(value, dict):
            yield from self._object_faults(schema, value, at)
        if isinstance(value, list):
            for n, item in enumerate(value):
                yield from self.faults(schema.get("items", {}), item, f"{at}[{n}]")

    def _object_faults(self, schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}: {name} is missing"
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in known:
                yield from self.faults(known[name], item, f"{at}.{name}")
            elif extra is False:
                yield f"{at}: {name} is unknown"
            elif isinstance(extra, dict):
                yield from self.faults(extra, item, f"{at}.{name}")


@pytest.fixture(scope="module")
def document(shared: Path) -> Document:
    text = (shared / "schemas/model-registry.openapi.yaml").read_text()
    return Document(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.fixture
async def http(registry_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    database = open_database(registry_url)
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app(database, Registry()), sock, drain=1))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            yield client
        tasks.cancel_scope.cancel()
    database.close()


PROPERTIES = {
    name: value.model_dump()
    for name, value in wire({"s": "x", "i": -7, "d": 1.5, "b": True, "large": 2**40}).items()
} | {"o": {"metadataType": "MetadataStructValue", "struct_value": "e30="}}

COMMON = {"description": "d", "customProperties": PROPERTIES}

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "POST",
        "/registered_models",
        {
            **COMMON,
            "name": "m",
            "externalId": "e",
            "owner": "o",
            "state": "ARCHIVED",
            "readme": "# r",
            "maturity": "x",
            "language": ["en", "de"],
            "tasks": [],
            "provider": "p",
            "logo": "data:,",
            "license": "l",
            "licenseLink": "http://l",
            "libraryName": "onnx",
        },
    ),
    ("POST", "/model_versions", {**COMMON, "name": "v", "registeredModelId": "1", "author": "a"}),
    ("POST", "/registered_models/1/versions", {"name": "w", "registeredModelId": "1"}),
    ("POST", "/serving_environments", {**COMMON, "name": "edge"}),
    (
        "POST",
        "/inference_services",
        {"registeredModelId": "1", "servingEnvironmentId": "4", "modelVersionId": "2"},
    ),
    (
        "POST",
        "/serving_environments/4/inference_services",
        {"name": "s", "registeredModelId": "1", "servingEnvironmentId": "4", "runtime": "onnx"},
    ),
    ("POST", "/model_artifacts", {**COMMON, "uri": "u", "modelFormatName": "onnx"}),
    ("POST", "/artifacts", {"artifactType": "doc-artifact", "uri": "u"}),
    (
        "POST",
        "/model_versions/2/artifacts",
        {"artifactType": "model-artifact", "name": "a", "uri": "u", "state": "PENDING"},
    ),
    ("POST", "/model_versions/2/artifacts", {"artifactType": "model-artifact", "id": "1"}),
    ("PATCH", "/registered_models/1", {"state": "LIVE"}),
    ("PATCH", "/model_versions/2", {"state": "ARCHIVED"}),
    ("PATCH", "/serving_environments/4", {}),
    ("PATCH", "/inference_services/5", {"desiredState": "UNDEPLOYED"}),
    ("PATCH", "/model_artifacts/1", {"state": "LIVE"}),
    ("PATCH", "/artifacts/2", {"artifactType": "doc-artifact", "description": "x"}),
    ("GET", "/registered_models", {}),
    ("GET", "/model_versions", {}),
    ("GET", "/serving_environments", {}),
    ("GET", "/inference_services", {}),
    ("GET", "/model_artifacts", {}),
    ("GET", "/artifacts", {}),
    ("GET", "/registered_models/1", {}),
    ("GET", "/model_versions/2", {}),
    ("GET", "/serving_environments/4", {}),
    ("GET", "/inference_services/5", {}),
    ("GET", "/model_artifacts/1", {}),
    ("GET", "/artifacts/2", {}),
    ("GET", "/registered_model?name=m", {}),
    ("GET", "/model_version?name=v&parentResourceId=1", {}),
    ("GET", "/serving_environment?name=edge", {}),
    ("GET", "/inference_service?name=s&parentResourceId=4", {}),
    ("GET", "/model_artifact?name=a&parentResourceId=2", {}),
    ("GET", "/artifact?name=a&parentResourceId=2", {}),
    ("GET", "/registered_models/1/versions", {}),
    ("GET", "/model_versions/2/artifacts?pageSize=1", {}),
    ("GET", "/serving_environments/4/inference_services", {}),
    ("GET", "/inference_services/5/model", {}),
    ("GET", "/inference_services/5/version", {}),
    ("POST", "/experiments", {**COMMON, "name": "e", "owner": "o"}),
    (
        "POST",
        "/experiment_runs",
        {
            **COMMON,
            "experimentId": "7",
            "name": "r",
            "status": "SCHEDULED",
            "startTimeSinceEpoch": "1",
            "endTimeSinceEpoch": "2",
        },
    ),
    ("POST", "/experiments/7/experiment_runs", {"experimentId": "7"}),
    (
        "POST",
        "/experiment_runs/8/artifacts",
        {
            **COMMON,
            "artifactType": "metric",
            "name": "acc",
            "value": 0.5,
            "timestamp": "1",
            "step": 2**40,
        },
    ),
    (
        "POST",
        "/experiment_runs/8/artifacts",
        {"artifactType": "parameter", "value": "1", "parameterType": "number"},
    ),
    (
        "POST",
        "/experiment_runs/8/artifacts",
        {
            "artifactType": "dataset-artifact",
            "uri": "u",
            "digest": "d",
            "sourceType": "s3",
            "source": "s",
            "schema": "{}",
            "profile": "p",
        },
    ),
    ("POST", "/model_versions/2/artifacts", {"artifactType": "metric", "name": "m", "value": -1}),
    ("POST", "/inference_services/5/serves", {**COMMON, "modelVersionId": "2"}),
    ("PATCH", "/experiments/7", {"state": "ARCHIVED"}),
    ("PATCH", "/experiment_runs/8", {"status": "FINISHED"}),
    ("GET", "/experiments", {}),
    ("GET", "/experiment_runs", {}),
    ("GET", "/experiments/7", {}),
    ("GET", "/experiment_runs/8", {}),
    ("GET", "/experiment?name=e", {}),
    ("GET", "/experiment_run?name=r&parentResourceId=7", {}),
    ("GET", "/experiments/7/experiment_runs", {}),
    ("GET", "/experiments/99/experiment_runs", {}),
    ("GET", "/experiment_runs/8/artifacts", {}),
    ("GET", "/experiment_runs/8/metric_history", {}),
    ("GET", "/experiment_runs/99/metric_history", {}),
    ("GET", "/experiment_runs/metric_history?name=acc&stepIds=1,2", {}),
    ("GET", "/inference_services/5/serves", {}),
    ("GET", "/artifacts?artifactType=metric&filterQuery=value%20%3E%200", {}),
    ("GET", "/registered_models/99", {}),
    ("GET", "/artifacts/99", {}),
    ("GET", "/artifacts?artifactType=x", {}),
    ("POST", "/registered_models", {"name": "m"}),
    ("POST", "/model_versions", {"name": "v"}),
    ("POST", "/model_versions/99/artifacts", {"artifactType": "doc-artifact"}),
    ("PATCH", "/registered_models/99", {}),
]

CREATED_SERVICE = ("POST", "/inference_services")
"""The document says 200 here; both generations of servers and clients say 201."""


def operation(document: Document, method: str, path: str) -> dict[str, Any]:
    """The document's entry of a concrete path."""
    bare = PREFIX + path.partition("?")[0]
    for template, entry in document.content["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), bare):
            found: dict[str, Any] = entry[method.lower()]
            return found
    raise AssertionError(f"the document has no {bare}")


@pytest.mark.anyio
async def test_every_answer_is_as_the_document_says(
    document: Document, http: httpx2.AsyncClient
) -> None:
    statuses = set()
    for method, path, body in CALLS:
        content = body if method != "GET" else None
        answer = await http.request(method, PREFIX + path, json=content)
        statuses.add(answer.status_code)
        responses = operation(document, method, path)["responses"]
        status = str(answer.status_code)
        if (method, path) == CREATED_SERVICE:
            assert status == "201"
            status = "200"
        if answer.status_code in (400, 404) and status not in responses:
            response = document.content["components"]["responses"]["NotFound"]
        else:
            assert status in responses, f"{method} {path} answered {answer.status_code}"
            response = document.resolve(responses[status])
        schema = response["content"]["application/json"]["schema"]
        assert list(document.faults(schema, answer.json())) == [], f"{method} {path}"
        assert answer.headers["content-type"].startswith("application/json")
    assert statuses == {200, 201, 400, 404, 409, 422}


@pytest.mark.parametrize(
    "fault",
    [
        {"name": ""},
        {"name": None},
        {"id": 7},
        {"state": "live"},
        {"registeredModelId": "0123"},
        {
            "customProperties": {
                "x": {"metadataType": "MetadataIntValue", "int_value": "1234567890"}
            }
        },
        {"customProperties": {"x": {"metadataType": "None"}}},
    ],
    ids=str,
)
def test_the_check_sees_faults(document: Document, fault: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ModelVersion"}
    good = {"id": "7", "name": "v", "registeredModelId": "1", "customProperties": PROPERTIES}
    assert list(document.faults(schema, good)) == []
    assert list(document.faults(schema, {**good, **fault})) != []
    assert list(document.faults(schema, {"id": "7"})) != []


SHAPES = [
    spec.RegisteredModel,
    spec.ModelVersion,
    spec.ModelArtifact,
    spec.DocArtifact,
    spec.ServingEnvironment,
    spec.InferenceService,
    spec.DataSet,
    spec.Metric,
    spec.Parameter,
    spec.ServeModel,
    spec.Experiment,
    spec.ExperimentRun,
    *get_args(get_args(spec.MetadataValue)[0]),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_wire_types_have_the_documents_fields(document: Document, shape: Any) -> None:
    assert set(shape.model_fields) == set(
        document.properties({"$ref": f"#/components/schemas/{shape.__name__}"})
    )


@pytest.mark.parametrize(
    "name",
    [
        "RegisteredModelState",
        "ArtifactState",
        "InferenceServiceState",
        "ExecutionState",
        "ExperimentRunStatus",
        "ParameterType",
    ],
)
def test_enums_have_the_documents_values(document: Document, name: str) -> None:
    assert list(get_args(getattr(spec, name))) == document.schemas[name]["enum"]
