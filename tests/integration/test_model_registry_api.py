"""The model registry over real HTTP: every route, status and message."""

import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx2
import pytest
from sqlalchemy import Engine, event

from towpath.registry import health
from towpath.settings import Registry

pytestmark = pytest.mark.anyio

ALPHA = "/api/model_registry/v1alpha3"
PREFIXES = (ALPHA, "/api/model_registry/v1")
KNOBS = Registry(body_bytes=300_000, page=20)


@pytest.fixture
async def http(
    registry_url: str, registry_at: Callable[..., Any]
) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(registry_url, KNOBS) as client:
        yield client


async def made(http: httpx2.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    entity: dict[str, Any] = answer.json()
    return entity


async def road(http: httpx2.AsyncClient) -> tuple[str, str, str]:
    """Ids of a model, its version, its artifact."""
    model = await made(http, "/registered_models", name="fraud")
    version = await made(http, "/model_versions", name="1", registeredModelId=model["id"])
    artifact = await made(
        http,
        f"/model_versions/{version['id']}/artifacts",
        artifactType="model-artifact",
        name="fraud",
        uri="file:///m.onnx",
    )
    return model["id"], version["id"], artifact["id"]


def refused(answer: httpx2.Response, status: int, message: str) -> None:
    phrases = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 422: "Bad Request"}
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == phrases[status]
    assert message in answer.json()["message"]


@contextmanager
def counting() -> Iterator[list[str]]:
    """Every statement sent to any database meanwhile."""
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_every_collection_creates_reads_lists_finds_and_updates(
    http: httpx2.AsyncClient, prefix: str
) -> None:
    http.base_url = httpx2.URL(str(http.base_url).replace(ALPHA, prefix))
    model = await made(http, "/registered_models", name="m", owner="o", externalId="x1")
    version = await made(
        http, "/model_versions", name="model:latest", registeredModelId=model["id"], author="a"
    )
    place = await made(http, "/serving_environments", name="edge")
    service = await made(
        http,
        "/inference_services",
        registeredModelId=model["id"],
        servingEnvironmentId=place["id"],
        runtime="onnx",
    )
    artifact = await made(http, "/model_artifacts", name="a", uri="s3://b/k")
    document = await made(http, "/artifacts", artifactType="doc-artifact", name="d", uri="u")
    assert (model["state"], version["state"], artifact["state"]) == ("LIVE", "LIVE", "UNKNOWN")
    assert (document["state"], service["desiredState"]) == ("UNKNOWN", "DEPLOYED")
    assert service["name"]
    assert len({entity["id"] for entity in (model, version, place, service)}) == 4

    for collection, entity, extra in (
        ("registered_models", model, {}),
        ("model_versions", version, {}),
        ("serving_environments", place, {}),
        ("inference_services", service, {}),
        ("model_artifacts", artifact, {}),
        ("artifacts", document, {"artifactType": "doc-artifact"}),
    ):
        at = f"/{collection}/{entity['id']}"
        assert (await http.get(at)).json() == entity
        patched = await http.patch(at, json={"description": "new", "externalId": at, **extra})
        assert patched.status_code == 200
        changed = patched.json()
        assert int(changed.pop("lastUpdateTimeSinceEpoch")) > int(entity["createTimeSinceEpoch"])
        before = {k: v for k, v in entity.items() if k != "lastUpdateTimeSinceEpoch"}
        assert changed == {**before, "description": "new", "externalId": at}
        found = await http.get(f"/{collection[:-1]}", params={"externalId": at})
        assert found.json()["id"] == entity["id"]
        listed = (await http.get(f"/{collection}")).json()
        assert (listed["nextPageToken"], listed["pageSize"]) == ("", 0)
        assert listed["size"] == len(listed["items"])
        assert [item for item in listed["items"] if item["id"] == entity["id"]]


async def test_nested_routes(http: httpx2.AsyncClient) -> None:
    model, version, artifact = await road(http)
    other = (await made(http, "/registered_models", name="other"))["id"]
    under = f"/registered_models/{model}/versions"
    nested = await made(http, under, name="2", registeredModelId=other)
    assert nested["registeredModelId"] == model

    updated = await http.post(
        under, json={"id": nested["id"], "name": "x", "registeredModelId": model, "author": "me"}
    )
    assert updated.status_code == 201
    assert (updated.json()["name"], updated.json()["author"]) == ("2", "me")
    foreign = {"id": nested["id"], "name": "2", "registeredModelId": other}
    refused(await http.post(f"/registered_models/{other}/versions", json=foreign), 400, "belong")

    listed = (await http.get(under, params={"name": "2"})).json()
    assert [item["id"] for item in listed["items"]] == [nested["id"]]
    assert (await http.get("/registered_models/999/versions")).json()["items"] == []

    await made(http, f"/model_versions/{version}/artifacts", artifactType="doc-artifact", name="d")
    here = f"/model_versions/{version}/artifacts"
    assert (await http.get(here)).json()["size"] == 2
    only = (await http.get(here, params={"artifactType": "model-artifact"})).json()
    assert [item["id"] for item in only["items"]] == [artifact]
    refused(await http.get(here, params={"artifactType": "nonsense"}), 400, "artifactType")
    assert (await http.get(f"/model_versions/{nested['id']}/artifacts")).json()["items"] == []

    place = (await made(http, "/serving_environments", name="edge"))["id"]
    at = f"/serving_environments/{place}/inference_services"
    body = {"name": "s", "registeredModelId": model, "servingEnvironmentId": "999"}
    service = await made(http, at, **body)
    assert service["servingEnvironmentId"] == place
    assert (await http.get(at)).json()["size"] == 1
    refused(await http.post(at, json=body), 409, "inference service with name s already exists")


async def test_an_artifact_is_upserted_under_a_version(http: httpx2.AsyncClient) -> None:
    model, version, artifact = await road(http)
    here = f"/model_versions/{version}/artifacts"
    same = {"artifactType": "model-artifact", "name": "fraud", "uri": "file:///m.onnx"}
    refused(await http.post(here, json=same), 409, "model artifact with name fraud already exists")
    await made(http, here, artifactType="doc-artifact", name="fraud")

    merged = await http.post(here, json={**same, "id": artifact, "name": "x", "state": "LIVE"})
    assert merged.status_code == 200
    assert (merged.json()["name"], merged.json()["uri"]) == ("fraud", "file:///m.onnx")
    assert (merged.json()["state"], merged.json()["id"]) == ("LIVE", artifact)
    wrong = {"artifactType": "doc-artifact", "id": artifact}
    refused(await http.post(here, json=wrong), 400, "artifact type is immutable")
    refused(await http.post(here, json={**same, "id": "999"}), 404, "no artifact found for id 999")
    refused(await http.post("/model_versions/999/artifacts", json=same), 404, "no model version")
    refused(await http.post(here, json={"name": "n"}), 400, "artifactType is missing")

    alone = await made(http, "/model_artifacts", name="alone", uri="u")
    second = (await made(http, "/model_versions", name="2", registeredModelId=model))["id"]
    for parent in (version, second, second):
        attached = {"artifactType": "model-artifact", "id": alone["id"]}
        assert (await http.post(f"/model_versions/{parent}/artifacts", json=attached)).is_success
    for parent, size in ((version, 3), (second, 1)):
        assert (await http.get(f"/model_versions/{parent}/artifacts")).json()["size"] == size
        query = {"name": "alone", "parentResourceId": parent}
        assert (await http.get("/model_artifact", params=query)).json()["id"] == alone["id"]


async def test_artifacts_without_a_version_may_share_a_name(http: httpx2.AsyncClient) -> None:
    twins = [await made(http, "/model_artifacts", name="n", uri="u") for _ in range(2)]
    assert twins[0]["id"] != twins[1]["id"]
    nameless = [await made(http, "/model_artifacts", uri="u") for _ in range(2)]
    assert len({entity["name"] for entity in nameless}) == 2


async def test_find_one_compares_names_exactly(http: httpx2.AsyncClient) -> None:
    for name in ("a_b", "aXb", "a%", "A_B", "x:a_b", 'it\'s "quoted"', "模型"):
        await made(http, "/registered_models", name=name)
    for name in ("a_b", "a%", "A_B", 'it\'s "quoted"', "模型"):
        found = await http.get("/registered_model", params={"name": name})
        assert found.json()["name"] == name
    refused(await http.get("/registered_model", params={"name": "a__"}), 404, "not found")
    refused(await http.get("/registered_model", params={"name": "%"}), 404, "not found")

    model = (await http.get("/registered_model", params={"name": "a_b"})).json()["id"]
    for name in ("x:v", "v"):
        await made(http, "/model_versions", name=name, registeredModelId=model)
    query = {"name": "v", "parentResourceId": model}
    assert (await http.get("/model_version", params=query)).json()["name"] == "v"


async def test_find_one_needs_enough_to_go_by(http: httpx2.AsyncClient) -> None:
    _, version, _ = await road(http)
    both = {"name": "fraud", "externalId": "nothing"}
    assert (await http.get("/registered_model", params=both)).json()["name"] == "fraud"
    for route, query in (
        ("/registered_model", {}),
        ("/registered_model", {"name": ""}),
        ("/model_version", {"name": "1"}),
        ("/artifact", {"parentResourceId": version}),
    ):
        refused(await http.get(route, params=query), 400, "invalid parameters call, supply either")
    bad = {"name": "1", "parentResourceId": "x"}
    refused(await http.get("/model_version", params=bad), 400, "invalid parent resource ID")


async def test_conflicts(http: httpx2.AsyncClient) -> None:
    model, _, _ = await road(http)
    answer = await http.post("/registered_models", json={"name": "fraud"})
    refused(answer, 409, "registered model with name fraud already exists: conflict")
    again = {"name": "1", "registeredModelId": model}
    refused(await http.post("/model_versions", json=again), 409, "model version with name 1")
    await made(http, "/registered_models", name="FRAUD", externalId="e")
    clash = {"name": "9", "registeredModelId": model, "externalId": "e"}
    refused(await http.post("/model_versions", json=clash), 409, "externalId e already exists")
    patch = await http.patch(f"/registered_models/{model}", json={"externalId": "e"})
    refused(patch, 409, "externalId e already exists")
    await made(http, "/model_artifacts", name="a", uri="u", externalId="e")


async def test_dangling_parents_are_refused(http: httpx2.AsyncClient) -> None:
    model = (await made(http, "/registered_models", name="m"))["id"]
    place = (await made(http, "/serving_environments", name="e"))["id"]
    version = {"name": "v", "registeredModelId": "999"}
    refused(await http.post("/model_versions", json=version), 404, "no registered model found")
    named = {"name": "v", "registeredModelId": place}
    refused(await http.post("/model_versions", json=named), 404, "no registered model found")
    refused(await http.post("/registered_models/999/versions", json=named), 404, "no registered")
    for ids in (
        {"registeredModelId": "999", "servingEnvironmentId": place},
        {"registeredModelId": model, "servingEnvironmentId": "999"},
        {"registeredModelId": model, "servingEnvironmentId": place, "modelVersionId": "999"},
    ):
        refused(await http.post("/inference_services", json=ids), 404, "found for id 999")
    assert (await http.get("/inference_services")).json()["items"] == []


async def test_updates_keep_state_and_type(http: httpx2.AsyncClient) -> None:
    model, _, artifact = await road(http)
    await http.patch(f"/registered_models/{model}", json={"state": "ARCHIVED"})
    edited = await http.patch(f"/registered_models/{model}", json={"description": "d"})
    assert edited.json()["state"] == "ARCHIVED"
    await http.patch(f"/model_artifacts/{artifact}", json={"state": "LIVE"})
    edited = await http.patch(f"/model_artifacts/{artifact}", json={"uri": "oci://x"})
    assert (edited.json()["state"], edited.json()["uri"]) == ("LIVE", "oci://x")

    at = f"/artifacts/{artifact}"
    message = (
        "cannot change artifact type from 'model-artifact' to '{}': artifact type is immutable"
    )
    refused(
        await http.patch(at, json={"artifactType": "doc-artifact"}),
        400,
        message.format("doc-artifact"),
    )
    refused(await http.patch(at, json={"description": "x"}), 400, message.format("unknown"))
    kept = await http.patch(at, json={"artifactType": "model-artifact", "name": "other"})
    assert kept.json()["name"] == "fraud"
    refused(await http.patch("/registered_models/999", json={}), 404, "for id 999: not found")
    refused(await http.get(f"/model_artifacts/{int(artifact) + 1}"), 404, "no model artifact")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/registered_models/x", 400, "invalid registered model ID"),
        ("/registered_models/2147483648", 400, "invalid registered model ID"),
        ("/registered_models/0", 404, "no registered model found for id 0"),
        ("/registered_models/-1", 404, "no registered model found"),
        ("/artifacts/1.5", 400, "invalid artifact ID"),
        ("/registered_models?pageSize=x", 400, "pageSize"),
        ("/registered_models?nextPageToken=%21%21", 400, "nextPageToken"),
        ("/registered_models?filterQuery=name%3Dx", 400, "filterQuery"),
        ("/registered_model?name=a%00b", 400, "NUL"),
        ("/artifacts?artifactType=metrics", 400, "artifactType"),
    ],
)
async def test_bad_requests(http: httpx2.AsyncClient, path: str, status: int, message: str) -> None:
    refused(await http.get(path), status, message)


async def test_a_blank_filter_is_none(http: httpx2.AsyncClient) -> None:
    await road(http)
    assert (await http.get("/registered_models", params={"filterQuery": "  "})).json()["size"] == 1


async def test_bodies(http: httpx2.AsyncClient) -> None:
    path = "/registered_models"
    missing = await http.post(path, json={"owner": "o"})
    assert missing.status_code == 422
    assert missing.json() == {
        "code": "Bad Request",
        "message": "required field 'name' is zero value.",
    }
    refused(await http.post("/model_versions", json={"name": "v"}), 422, "'registeredModelId'")
    unknown = await http.post(path, json={"name": "m", "id": "4"})
    assert unknown.json()["message"] == 'json: unknown field "id"'
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    refused(await http.post(path, content=b"{", headers=as_json), 400, "not JSON")
    nul = await http.post(path, content=b'{"name":"\\u0000"}', headers=as_json)
    refused(nul, 400, "NUL")
    refused(await http.post(path, json={"name": "n" * 256}), 400, "longer than 255")
    large = await http.post(path, json={"name": "m", "readme": "r" * 300_001})
    assert large.status_code == 413
    assert (await http.get(path)).json()["items"] == []
    text = "é" * 70_000
    assert (await made(http, path, name="m", description=text))["description"] == text
    refused(
        await http.post("/model_versions", json={"name": "n" * 255, "registeredModelId": "1"}),
        400,
        "longer than 253",
    )
    await made(http, "/model_versions", name="n" * 250, registeredModelId="1")


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
async def test_what_a_web_page_may_send_unasked_changes_nothing(
    http: httpx2.AsyncClient, told: str | None
) -> None:
    model = await made(http, "/registered_models", name="m")
    headers = {} if told is None else {"Content-Type": told}
    for method, path in (
        ("POST", "/registered_models"),
        ("POST", f"/registered_models/{model['id']}/versions"),
        ("PATCH", f"/registered_models/{model['id']}"),
    ):
        content = b'{"name":"x","description":"y"}'
        answer = await http.request(method, path, content=content, headers=headers)
        assert answer.status_code == 415
        assert answer.json()["code"] == "Unsupported Media Type"
        assert "Content-Type: application/json" in answer.json()["message"]
    assert (await http.get("/registered_models")).json()["items"] == [model]
    assert (await http.get("/model_versions")).json()["items"] == []


async def test_every_property_type_round_trips(http: httpx2.AsyncClient) -> None:
    struct = base64.b64encode(json.dumps({"a": [1, "é"]}).encode()).decode()
    properties = {
        "s": {"metadataType": "MetadataStringValue", "string_value": ""},
        "i": {"metadataType": "MetadataIntValue", "int_value": "-999999999"},
        "d": {"metadataType": "MetadataDoubleValue", "double_value": 0.1},
        "b": {"metadataType": "MetadataBoolValue", "bool_value": False},
        "o": {"metadataType": "MetadataStructValue", "struct_value": struct},
    }
    model = await made(http, "/registered_models", name="m", customProperties=properties)
    assert model["customProperties"] == properties
    at = f"/registered_models/{model['id']}"
    again = await http.patch(at, json={"customProperties": model["customProperties"]})
    assert again.json()["customProperties"] == properties
    assert (await http.patch(at, json={"customProperties": {}})).json()["customProperties"] == {}


async def test_pages(http: httpx2.AsyncClient) -> None:
    names = [f"m{n:02}" for n in range(45)]
    for name in names:
        await made(http, "/registered_models", name=name)
    for query, sizes in (
        ({"pageSize": "10"}, [10, 10, 10, 10, 5]),
        ({"pageSize": "15", "orderBy": "CREATE_TIME", "sortOrder": "DESC"}, [15, 15, 15]),
        ({"orderBy": "LAST_UPDATE_TIME"}, [20, 20, 5]),
        ({"pageSize": "1000"}, [20, 20, 5]),
    ):
        seen: list[str] = []
        pages = []
        token = ""
        while True:
            answer = await http.get("/registered_models", params={**query, "nextPageToken": token})
            page = answer.json()
            assert set(page) == {"items", "nextPageToken", "pageSize", "size"}
            seen += [item["name"] for item in page["items"]]
            pages.append(page["size"])
            token = page["nextPageToken"]
            if not token:
                break
        assert pages == sizes
        assert seen == (names[::-1] if query.get("sortOrder") else names)


async def test_a_page_is_a_bounded_number_of_statements(http: httpx2.AsyncClient) -> None:
    _, version, _ = await road(http)
    one = {"metadataType": "MetadataStringValue", "string_value": "x"}
    counts = []
    for many in (1, 15):
        for n in range(many):
            await made(
                http,
                f"/model_versions/{version}/artifacts",
                artifactType="model-artifact",
                name=f"{many}-{n}",
                uri="u",
                customProperties={f"p{k}": one for k in range(5)},
            )
        with counting() as sent:
            await http.get(f"/model_versions/{version}/artifacts")
        counts.append(len([s for s in sent if s.startswith("SELECT")]))
    assert counts == [1, 1]


async def test_fifty_creators_of_one_name(http: httpx2.AsyncClient) -> None:
    statuses: list[int] = []

    async def create() -> None:
        statuses.append((await http.post("/registered_models", json={"name": "one"})).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(create)

    assert sorted(statuses) == [201] + [409] * 49
    assert (await http.get("/registered_models")).json()["size"] == 1


async def test_concurrent_updates_all_count(http: httpx2.AsyncClient) -> None:
    model, _, _ = await road(http)
    times: list[str] = []

    async def touch() -> None:
        answer = await http.patch(f"/registered_models/{model}", json={"description": "d"})
        times.append(answer.json()["lastUpdateTimeSinceEpoch"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(touch)

    assert len(set(times)) == 20


async def test_a_probe_does_not_wait_for_a_stuck_database(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.1)
    free, ended = threading.Event(), threading.Event()

    def stuck(*_: object) -> None:
        free.wait(10)
        ended.set()

    event.listen(Engine, "before_cursor_execute", stuck)
    try:
        answer = await http.get(str(http.base_url.join("/readyz/isDirty")))
        assert not ended.is_set()
    finally:
        event.remove(Engine, "before_cursor_execute", stuck)
        free.set()
    assert answer.status_code == 503
    assert "too busy" in answer.text


async def test_health_and_wrong_routes(http: httpx2.AsyncClient) -> None:
    root = str(http.base_url).partition("/api/")[0]
    for path in ("/readyz/isDirty", "/readyz/health", "/any/where/readyz/isDirty"):
        answer = await http.get(root + path)
        assert (answer.status_code, answer.text) == (200, "OK")
        assert (await http.post(root + path)).status_code == 405
    detailed = (await http.get(f"{root}/readyz/health?format=json")).json()
    assert detailed["status"] == "pass"
    assert detailed["checks"]["database"]["Details"]["schema_dirty"] is False
    refused(await http.get("/serve_models"), 404, "Not Found")
    assert (await http.delete("/registered_models/1")).status_code == 405
