"""Inference services and what they deploy, over real HTTP."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def service_of(book: Any) -> tuple[str, str, str, str]:
    """Ids of a model, its version, an environment and a service in it."""
    model = (await book.made("/registered_models", name="m"))["id"]
    version = await book.made("/model_versions", name="1", registeredModelId=model)
    place = (await book.made("/serving_environments", name="edge"))["id"]
    ids = {"registeredModelId": model, "servingEnvironmentId": place}
    service = await book.made("/inference_services", name="s", **ids)
    return model, version["id"], place, service["id"]


def text(value: str) -> dict[str, str]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


async def test_what_an_inference_service_serves(book: Any) -> None:
    model = (await book.made("/registered_models", name="m"))["id"]
    place = (await book.made("/serving_environments", name="e"))["id"]
    ids = {"registeredModelId": model, "servingEnvironmentId": place}
    service = f"/inference_services/{(await book.made('/inference_services', **ids))['id']}"
    assert (await book.read(f"{service}/model"))["id"] == model
    await book.refused(404, "no model version found", "GET", f"{service}/version")

    first = await book.made("/model_versions", name="1", registeredModelId=model)
    last = await book.made("/model_versions", name="2", registeredModelId=model)
    assert (await book.read(f"{service}/version"))["id"] == last["id"]
    await book.patched(service, modelVersionId=first["id"])
    assert (await book.read(f"{service}/version"))["id"] == first["id"]
    for bad, status, message in (
        ("999", 404, "no model version"),
        ("", 400, "invalid model version ID"),
    ):
        body = {"modelVersionId": bad}
        await book.refused(status, message, "PATCH", service, json=body)
    assert (await book.read(service))["modelVersionId"] == first["id"]
    for name in ("model", "version"):
        await book.refused(404, "no inference", "GET", f"/inference_services/999/{name}")


async def test_deployments_of_a_service(book: Any) -> None:
    model, version, place, service = await service_of(book)
    serves = f"/inference_services/{service}/serves"
    answer = await book.call("POST", serves, json={"modelVersionId": version})
    assert answer.status_code == 201
    first = answer.json()
    assert (first["id"], first["lastKnownState"], len(first["name"])) == ("1", "UNKNOWN", 36)
    assert set(first) == {
        "id",
        "name",
        "modelVersionId",
        "lastKnownState",
        "customProperties",
        "createTimeSinceEpoch",
        "lastUpdateTimeSinceEpoch",
    }
    second = await book.made(
        serves, modelVersionId=version, name="b", externalId="x", lastKnownState="RUNNING"
    )
    listed = await book.read(serves)
    assert (listed["items"], listed["size"]) == ([first, second], 2)
    for query in (
        {"name": "b"},
        {"externalId": "x"},
        {"filterQuery": "lastKnownState = 'RUNNING'"},
        {"filterQuery": f"inferenceServiceId = {service} AND externalId = 'x'"},
        {"filterQuery": f"registeredModelId = '{model}' AND name = 'b'"},
        {"filterQuery": f"servingEnvironmentId = {place} AND modelVersionId IN ({version})"
         " AND name = 'b'"},
        {"orderBy": "ID", "sortOrder": "DESC", "pageSize": "1"},
    ):  # fmt: skip
        assert await book.names(serves, **query) == ["b"], query
    assert await book.names("/inference_services/999/serves") == []
    again = {"modelVersionId": version, "name": "b"}
    await book.refused(409, "serve model with name b", "POST", serves, json=again)
    for method in ("GET", "PATCH"):
        await book.refused(404, "Not Found", method, "/serve_models/1", json={})


async def test_what_a_deployment_needs(book: Any) -> None:
    _, version, _, service = await service_of(book)
    serves = f"/inference_services/{service}/serves"
    await book.refused(422, "'modelVersionId' is zero value.", "POST", serves, json={})
    unknown = {"modelVersionId": version, "inferenceServiceId": "1"}
    await book.refused(400, 'unknown field "inferenceServiceId"', "POST", serves, json=unknown)
    gone = {"modelVersionId": "999"}
    await book.refused(404, "no model version found for id 999", "POST", serves, json=gone)
    nowhere = "/inference_services/999/serves"
    body = {"modelVersionId": version}
    await book.refused(404, "no inference service found for id 999", "POST", nowhere, json=body)
    bad = {"modelVersionId": "x"}
    await book.refused(400, "invalid model version ID", "POST", serves, json=bad)
    assert await book.names(serves) == []


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"hf_gated": text("auto")}, "hf_gated"),
        ({"hf_gated": text("true")}, "hf_gated"),
        ({"hf_private": text("true")}, "hf_private"),
        ({"hf_gated": text(""), "hf_private": text("true")}, "hf_private"),
        ({"hf_gated": text("false"), "hf_private": text("false")}, ""),
        ({"hf_gated": text(""), "hf_private": text("yes")}, ""),
        ({"hf_private": {"metadataType": "MetadataBoolValue", "bool_value": True}}, ""),
    ],
)
async def test_weights_behind_a_key_are_not_deployed(
    book: Any, properties: dict[str, Any], named: str
) -> None:
    model, _, _, service = await service_of(book)
    version = await book.made(
        "/model_versions", name="2", registeredModelId=model, customProperties=properties
    )
    serves = f"/inference_services/{service}/serves"
    body = {"modelVersionId": version["id"]}
    if named:
        await book.refused(400, f"its {named} is", "POST", serves, json=body)
    assert (await book.call("POST", serves, json=body)).status_code == (400 if named else 201)


async def test_lists_of_an_environment_heed_every_filter(book: Any) -> None:
    model, version, place, _ = await service_of(book)
    below = f"/serving_environments/{place}/inference_services"
    body = {"registeredModelId": model, "servingEnvironmentId": place}
    await book.made(below, **body, name="t", externalId="x", runtime="r", modelVersionId=version)
    assert await book.names(below) == ["s", "t"]
    for query in (
        {"name": "t"},
        {"externalId": "x"},
        {"filterQuery": "runtime = 'r'"},
        {"filterQuery": f"modelVersionId = '{version}' AND servingEnvironmentId = {place}"},
        {"filterQuery": "name = 't' AND desiredState = 'DEPLOYED'"},
    ):
        assert await book.names(below, **query) == ["t"], query
        assert await book.names("/inference_services", **query) == ["t"], query
    query = {"filterQuery": "name LIKE 'ed%'"}
    assert await book.names("/serving_environments", **query) == ["edge"]
    assert await book.names("/serving_environments", filterQuery="name = 'x'") == []


async def test_an_edited_service_stays_undeployed(book: Any) -> None:
    _, _, _, service = await service_of(book)
    path = f"/inference_services/{service}"
    await book.patched(path, desiredState="UNDEPLOYED")
    assert (await book.patched(path, runtime="r"))["desiredState"] == "UNDEPLOYED"
