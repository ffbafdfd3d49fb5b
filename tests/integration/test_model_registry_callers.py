"""The calls of those who live with the upstream server, replayed as they send them.

The dashboards' back end, the controller that follows InferenceServices, and what the upstream
project's own end-to-end tests expect.
"""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.anyio

Serving = Callable[..., Any]
Json = dict[str, Any]


@pytest.fixture
async def http(registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(registry_url) as client:
        client.headers["Accept"] = "application/json"
        yield client


async def said(
    http: httpx2.AsyncClient, method: str, path: str, body: Json | None = None, status: int = 200
) -> Any:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"].startswith("application/json")
    return answer.json()


LABEL = {"string_value": "", "metadataType": "MetadataStringValue"}


async def test_the_dashboard(http: httpx2.AsyncClient) -> None:
    """Registers a model, a version and its artifact in three calls; labels, archives, restores."""
    http.headers.update({"kubeflow-userid": "user@example.com", "User-Agent": "Go-http-client/1.1"})
    listing = "?pageSize=&orderBy=&sortOrder=&nextPageToken=&filterQuery="
    empty = {"items": [], "nextPageToken": "", "pageSize": 0, "size": 0}
    assert await said(http, "GET", f"/registered_models{listing}") == empty

    form = {"description": "", "customProperties": {}, "state": "LIVE"}
    model = await said(
        http, "POST", "/registered_models", {"name": "fraud", "owner": "me", **form}, 201
    )
    assert model["customProperties"] == {}
    body = {
        "name": "v1",
        "author": "me",
        "registeredModelId": model["id"],
        "customProperties": {"_registeredFrom": LABEL},
        "state": "LIVE",
    }
    version = await said(http, "POST", f"/registered_models/{model['id']}/versions", body, 201)
    body = {
        "name": "fraud-v1",
        "artifactType": "model-artifact",
        "author": "me",  # no field of an artifact; its form sends it
        "uri": "s3://bucket/path?endpoint=http%3A%2F%2Fminio%3A9000&defaultRegion=us-east-1",
        "modelFormatName": "onnx",
        "modelFormatVersion": "1",
        "state": "LIVE",
        "customProperties": {},
    }
    artifact = await said(http, "POST", f"/model_versions/{version['id']}/artifacts", body, 201)
    assert "author" not in artifact
    assert (artifact["state"], artifact["uri"]) == ("LIVE", body["uri"])

    # labels are text properties without a text; the whole map is sent back
    labels = {"gpu": LABEL, "100% ready": LABEL, **version["customProperties"]}
    at = f"/model_versions/{version['id']}"
    changed = await said(http, "PATCH", at, {"customProperties": labels})
    assert changed["customProperties"] == labels
    assert (await said(http, "GET", at)) == changed
    without = {name: value for name, value in labels.items() if name != "gpu"}
    changed = await said(http, "PATCH", at, {"customProperties": without})
    assert changed["customProperties"] == without
    assert (await said(http, "PATCH", at, {"description": "d"}))["customProperties"] == without

    # a table of versions, newest first, and the latest of each model
    latest = (
        f"/registered_models/{model['id']}/versions?orderBy=CREATE_TIME&sortOrder=DESC&pageSize=1"
    )
    assert [one["id"] for one in (await said(http, "GET", latest))["items"]] == [version["id"]]
    versions = await said(http, "GET", f"/model_versions{listing}")
    assert [one["id"] for one in versions["items"]] == [version["id"]]
    artifacts = await said(http, "GET", f"/model_versions/{version['id']}/artifacts{listing}")
    assert artifacts["items"] == [artifact]
    patch = {"artifactType": "model-artifact", "modelFormatName": "pytorch"}
    for path in ("model_artifacts", "artifacts"):
        patched = await said(http, "PATCH", f"/{path}/{artifact['id']}", patch)
        assert (patched["modelFormatName"], patched["state"]) == ("pytorch", "LIVE")

    # archive, edit in the archive, restore; the archive's page filters by itself
    at = f"/registered_models/{model['id']}"
    assert (await said(http, "PATCH", at, {"state": "ARCHIVED"}))["state"] == "ARCHIVED"
    assert (await said(http, "PATCH", at, {"owner": "you"}))["state"] == "ARCHIVED"
    listed = (await said(http, "GET", f"/registered_models{listing}"))["items"]
    assert [one["state"] for one in listed] == ["ARCHIVED"]
    archived = "/registered_models?filterQuery=state%3D%22ARCHIVED%22"
    assert (await said(http, "GET", archived))["size"] == 1
    assert (await said(http, "PATCH", at, {"state": "LIVE"}))["owner"] == "you"
    refused = await said(
        http, "POST", "/registered_models", {"name": "fraud", "owner": "me", **form}, 409
    )
    assert refused["code"] == "Conflict"
    assert "fraud already exists" in refused["message"]


async def test_the_controller_of_inference_services(http: httpx2.AsyncClient) -> None:
    """Finds or makes an environment for a namespace and a record for each service, by its uid."""
    http.headers["User-Agent"] = "OpenAPI-Generator/1.0.0/go"
    model = await said(http, "POST", "/registered_models", {"name": "m"}, 201)
    of = {"registeredModelId": model["id"]}
    version = await said(http, "POST", "/model_versions", {"name": "1", **of}, 201)

    uid = "6f0f3b1c-0f62-4b6f-9a3e-1d6f2d7a3b11"
    for _ in range(2):  # it starts over after a restart, and finds what it made
        environment = await http.get("/serving_environment", params={"name": "team-a"})
        if environment.status_code == 404:
            body = {"name": "team-a", "externalId": "team-a-uid"}
            environment = await http.post("/serving_environments", json=body)
            assert environment.status_code == 201
        place = environment.json()
        service = await http.get("/inference_service", params={"externalId": uid})
        if service.status_code == 404:
            assert service.json()["code"] == "Not Found"
            body = {
                "name": "sklearn-iris",
                "externalId": uid,
                "desiredState": "DEPLOYED",
                "modelVersionId": version["id"],
                "runtime": "kserve-sklearnserver",
                "servingEnvironmentId": place["id"],
                **of,
            }
            service = await http.post("/inference_services", json=body)
            assert service.status_code == 201
        found = service.json()
    services = await said(http, "GET", f"/serving_environments/{place['id']}/inference_services")
    assert services["items"] == [found]
    query = f"?name=sklearn-iris&parentResourceId={place['id']}"
    assert await said(http, "GET", f"/inference_service{query}") == found
    assert (await said(http, "GET", f"/inference_services/{found['id']}/version")) == version
    assert (await said(http, "GET", f"/inference_services/{found['id']}/model"))["name"] == "m"

    # the service goes: it says so, and edits of others do not deploy it again
    at = f"/inference_services/{found['id']}"
    assert (await said(http, "PATCH", at, {"desiredState": "UNDEPLOYED"}))["runtime"]
    url = {"string_value": "http://iris", "metadataType": "MetadataStringValue"}
    kept = await said(http, "PATCH", at, {"customProperties": {"url": url}})
    assert (kept["desiredState"], kept["externalId"]) == ("UNDEPLOYED", uid)
    # it comes again under the same name, with another uid
    again = await said(http, "PATCH", at, {"externalId": "other", "desiredState": "DEPLOYED"})
    assert again["id"] == found["id"]
    assert (await http.get("/inference_service", params={"externalId": uid})).status_code == 404

    serve = {"modelVersionId": version["id"], "lastKnownState": "RUNNING", "name": "s"}
    made = await said(http, "POST", f"{at}/serves", serve, 201)
    assert (await said(http, "GET", f"{at}/serves"))["items"] == [made]


async def test_what_the_robot_suite_stores(http: httpx2.AsyncClient) -> None:
    """Each story of the upstream suite: a field of an entity is stored and told again."""
    model = await said(http, "POST", "/registered_models", {"name": "m"}, 201)
    within = {"registeredModelId": model["id"]}
    version = await said(http, "POST", "/model_versions", {"name": "v1.2", **within}, 201)
    stories: list[tuple[str, Json]] = [
        ("/registered_models", {"name": "n", "description": "Lorem ipsum"}),
        ("/registered_models", {"name": "long", "description": "x" * 70_000}),
        (
            "/registered_models",
            {"name": "lang", "language": ["it", "en", "de"], "tasks": ["b", "a"]},
        ),
        ("/registered_models", {"name": "docs", "readme": "# Title\n\ntext", "maturity": "Prod"}),
        ("/model_versions", {"name": "model:latest", **within}),
        ("/model_versions", {"name": "v" * 250, **within}),
        ("/model_versions", {"name": "with author", "author": "John Doe", **within}),
        ("/model_artifacts", {"name": "a", "uri": "s3://12345", "modelFormatName": "onnx"}),
        ("/model_artifacts", {"name": "b", "uri": "s3://1", "storageKey": "k", "storagePath": "p"}),
        ("/model_artifacts", {"name": "c", "uri": "oci://x", "serviceAccountName": "sa"}),
        ("/artifacts", {"artifactType": "doc-artifact", "name": "card", "uri": "https://x/README"}),
        ("/serving_environments", {"name": "edge"}),
    ]
    for path, body in stories:
        made = await said(http, "POST", path, body, 201)
        again = await said(http, "GET", f"{path}/{made['id']}")
        assert again == made
        assert body.items() <= again.items()
        assert re.fullmatch("[1-9][0-9]{0,8}", made["id"])
        assert re.fullmatch("[0-9]{13}", made["createTimeSinceEpoch"])
    properties = {
        "label": LABEL,
        "my-accuracy": {"double_value": 3.14, "metadataType": "MetadataDoubleValue"},
        "count": {"int_value": "42", "metadataType": "MetadataIntValue"},
        "on": {"bool_value": True, "metadataType": "MetadataBoolValue"},
        "bag": {"struct_value": "eyJhIjogMX0=", "metadataType": "MetadataStructValue"},
    }
    for path in ("/registered_models/1", f"/model_versions/{version['id']}"):
        stored = await said(http, "PATCH", path, {"customProperties": properties})
        assert stored["customProperties"] == properties
        echoed = await said(http, "PATCH", path, {"customProperties": stored["customProperties"]})
        assert echoed["customProperties"] == properties
        assert int(echoed["lastUpdateTimeSinceEpoch"]) > int(stored["lastUpdateTimeSinceEpoch"])


async def test_what_the_type_tests_refuse(http: httpx2.AsyncClient) -> None:
    body = {"name": "m", "externalId": "e"}
    model = await said(http, "POST", "/registered_models", body, 201)
    within = {"registeredModelId": model["id"]}
    unknown = await said(http, "POST", "/registered_models", {"name": "n", "ext": "x"}, 400)
    assert unknown == {"code": "Bad Request", "message": 'json: unknown field "ext"'}
    missing = await said(http, "POST", "/registered_models", {"description": "d"}, 422)
    assert missing == {"code": "Bad Request", "message": "required field 'name' is zero value."}
    too_long = {"name": "v" * 255, **within}
    assert "longer" in (await said(http, "POST", "/model_versions", too_long, 400))["message"]
    for path in ("/registered_models?name=a%00b", "/registered_model?name=%00"):
        assert (await said(http, "GET", path, status=400))["code"] == "Bad Request"
    zero = await http.post(
        "/registered_models",
        content=b'{"name": "a\\u0000b"}',
        headers={"Content-Type": "application/json"},
    )
    assert zero.status_code == 400
    artifact = await said(http, "POST", "/model_artifacts", {"name": "a", "uri": "u"}, 201)
    for wrong in ("doc-artifact", "metric", None):
        patch = {"description": "d", **({"artifactType": wrong} if wrong else {})}
        told = await said(http, "PATCH", f"/artifacts/{artifact['id']}", patch, 400)
        assert "'model-artifact'" in told["message"]
        assert (wrong or "unknown") in told["message"]
    taken = await said(http, "POST", "/registered_models", {"name": "n", "externalId": "e"}, 409)
    assert "externalId" in taken["message"]
    gone = await said(http, "GET", "/registered_models/9", status=404)
    assert gone == {
        "code": "Not Found",
        "message": "no registered model found for id 9: not found",
    }


async def test_what_the_filter_tests_find(http: httpx2.AsyncClient) -> None:
    """The queries of the upstream suite: quoted ids, escapes, patterns, types of properties."""
    experiment = await said(http, "POST", "/experiments", {"name": "e"}, 201)
    of = {"experimentId": experiment["id"]}
    runs = [
        await said(http, "POST", "/experiment_runs", {"name": f"r{n}", **of}, 201) for n in range(3)
    ]
    for n, run in enumerate(runs):
        at = f"/experiment_runs/{run['id']}/artifacts"
        for body in (
            {"artifactType": "metric", "name": "accuracy", "value": 0.5 + n / 10},
            {"artifactType": "parameter", "name": "lr", "value": "1", "parameterType": "number"},
            {"artifactType": "model-artifact", "name": f"m{n}", "uri": f"s3://b/{n}"},
        ):
            assert (await http.post(at, json=body)).status_code in (200, 201)
    for n in range(4):
        body = {
            "name": f"it's-{n}",
            "customProperties": {
                "framework": {"string_value": "torch", "metadataType": "MetadataStringValue"},
                "accuracy": {"double_value": n / 4, "metadataType": "MetadataDoubleValue"},
                "epochs": {"int_value": str(n), "metadataType": "MetadataIntValue"},
                "odd name": {"bool_value": n > 1, "metadataType": "MetadataBoolValue"},
            },
        }
        await said(http, "POST", "/registered_models", body, 201)
    first, second = runs[0]["id"], runs[1]["id"]
    for path, query, wanted in (
        ("/artifacts?artifactType=model-artifact", f"experimentRunId IN ('{first}','{second}')", 2),
        ("/artifacts?artifactType=metric", f"experimentRunId = {first}", 1),
        ("/artifacts?artifactType=metric", "value > 0.55", 2),
        ("/artifacts?artifactType=parameter", "parameterType = 'number'", 3),
        ("/experiment_runs?", "name = 'r1' OR name = 'r2'", 2),
        ("/experiment_runs?", f"experimentId = '{experiment['id']}' AND status = \"RUNNING\"", 3),
        ("/registered_models?", r"name = 'it\'s-1'", 1),
        ("/registered_models?", 'name = "it\'s-1"', 1),
        ("/registered_models?", "name LIKE 'it%'", 4),
        ("/registered_models?", "name LIKE 'IT%'", 0),
        ("/registered_models?", "name ILIKE 'IT%'", 4),
        ("/registered_models?", "framework = 'torch' and accuracy >= 0.5", 2),
        ("/registered_models?", "accuracy.double_value > 0.5", 1),
        ("/registered_models?", "epochs <> 2", 3),
        ("/registered_models?", "epochs IN (0, 3)", 2),
        ("/registered_models?", "epochs IN ()", 0),
        ("/registered_models?", "`odd name` = TRUE", 2),
        ("/registered_models?", "(epochs < 1 OR epochs > 2) AND state = 'LIVE'", 2),
        ("/registered_models?", "framework != 'onnx'", 4),
        ("/registered_models?", "no_such_property = 1", 0),
    ):
        answer = await http.get(path.rstrip("?"), params={**_query(path), "filterQuery": query})
        assert answer.status_code == 200, (query, answer.text)
        assert answer.json()["size"] == wanted, (query, answer.text)


def _query(path: str) -> dict[str, str]:
    return dict(httpx2.URL(path).params)
