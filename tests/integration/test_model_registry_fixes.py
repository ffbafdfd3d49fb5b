"""Where the specification says that upstream is wrong: what is done instead, over real HTTP.

Experiments, deployments and filters have theirs beside their other tests.
"""

from typing import Any

import pytest

from towpath.spec.registry import PREFIXES

pytestmark = pytest.mark.anyio


async def version_of(book: Any) -> tuple[str, str]:
    """Ids of a model and of its version."""
    model = (await book.made("/registered_models", name="m"))["id"]
    version = await book.made("/model_versions", name="1", registeredModelId=model)
    return model, version["id"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_an_edited_description_changes_no_state(book: Any, prefix: str) -> None:
    book = book.at(prefix)
    model, version = await version_of(book)
    below = f"/model_versions/{version}/artifacts"
    kinds = ["model-artifact", "doc-artifact", "dataset-artifact", "metric", "parameter"]
    cases = [
        (f"/registered_models/{model}", "ARCHIVED"),
        (f"/model_versions/{version}", "ARCHIVED"),
    ]
    for path, state in cases:
        await book.patched(path, state=state)
        assert (await book.patched(path, description="d"))["state"] == state
    for kind in kinds:
        value = {"uri": "u"} if "artifact" in kind else {"value": 1 if kind == "metric" else "1"}
        made = await book.made(below, artifactType=kind, name="n", state="LIVE", **value)
        path = f"/artifacts/{made['id']}"
        edited = await book.patched(path, artifactType=kind, description="d")
        assert (edited["state"], edited["description"]) == ("LIVE", "d")
        again = await book.made(below, artifactType=kind, id=made["id"], description="e")
        assert (again["state"], again["description"]) == ("LIVE", "e")
    path = f"/model_artifacts/{(await book.read('/model_artifacts'))['items'][0]['id']}"
    assert (await book.patched(path, description="f"))["state"] == "LIVE"


async def test_every_artifact_has_a_state_from_the_first(book: Any) -> None:
    _, version = await version_of(book)
    bodies: list[dict[str, Any]] = [
        {"artifactType": "model-artifact", "uri": "u"},
        {"artifactType": "doc-artifact"},
        {"artifactType": "dataset-artifact"},
        {"artifactType": "metric", "value": 1},
        {"artifactType": "parameter", "value": "1"},
    ]
    for path in ("/artifacts", f"/model_versions/{version}/artifacts"):
        for body in bodies:
            assert (await book.made(path, **body))["state"] == "UNKNOWN"
    assert {item["state"] for item in (await book.read("/artifacts"))["items"]} == {"UNKNOWN"}


async def test_a_model_artifact_that_clients_cannot_read_is_refused(book: Any) -> None:
    _, version = await version_of(book)
    below = f"/model_versions/{version}/artifacts"
    for path in ("/model_artifacts", "/artifacts", below):
        typed = {} if path == "/model_artifacts" else {"artifactType": "model-artifact"}
        for uri in ({}, {"uri": ""}, {"uri": None}):
            body = {"name": "a", **typed, **uri}
            await book.refused(400, "model artifact uri is required", "POST", path, json=body)
    made = await book.made("/model_artifacts", uri="u")
    path = f"/model_artifacts/{made['id']}"
    await book.refused(400, "uri is required", "PATCH", path, json={"uri": ""})
    given = await book.made(below, artifactType="model-artifact", id=made["id"])
    assert given["uri"] == "u"
    assert "uri" not in await book.made(below, artifactType="doc-artifact")


async def test_names_in_lists_may_hold_quotes(book: Any) -> None:
    model, version = await version_of(book)
    versions, below = f"/registered_models/{model}/versions", f"/model_versions/{version}/artifacts"
    for name in ("it's", 'say "x"', "a\\b", "50%", "a_b"):
        await book.made(versions, name=name, registeredModelId=model)
        await book.made(below, artifactType="doc-artifact", name=name)
        for path in (versions, below):
            assert await book.names(path, name=name) == [name]
            assert await book.names(path, name=name, filterQuery="id > 0") == [name]
            assert await book.names(path, name=name, filterQuery="name = 'else'") == []
    assert await book.names(versions, name="a%b") == await book.names(below, name="a__") == []


async def test_an_owned_artifact_is_found_by_its_whole_name(book: Any) -> None:
    _, version = await version_of(book)
    below = f"/model_versions/{version}/artifacts"
    for name in ("x:v", "v", "w_v"):
        await book.made(below, artifactType="model-artifact", name=name, uri="u")
    for route in ("/artifact", "/model_artifact"):
        for name in ("v", "x:v", "w_v"):
            found = await book.read(route, name=name, parentResourceId=version)
            assert found["name"] == name
        query = {"name": "w%v", "parentResourceId": version}
        await book.refused(404, "not found", "GET", route, params=query)


async def test_lists_heed_filters_that_upstream_does_not(book: Any) -> None:
    for name in ("a", "b"):
        await book.made("/model_artifacts", name=name, uri=f"s3://{name}")
        await book.made("/serving_environments", name=name, externalId=name)
    assert await book.names("/model_artifacts", filterQuery="uri = 's3://b'") == ["b"]
    assert await book.names("/model_artifacts", name="b") == ["b"]
    assert await book.names("/serving_environments", filterQuery="name = 'b'") == ["b"]
    assert await book.names("/serving_environments", externalId="b") == ["b"]


async def test_names_that_upstream_hides_are_refused(book: Any) -> None:
    value = {"metadataType": "MetadataStringValue", "string_value": "7"}
    for name in ("experiment_id", "experiment_run_id"):
        body = {"uri": "u", "customProperties": {name: value}}
        await book.refused(400, f"'{name}' is reserved", "POST", "/model_artifacts", json=body)
        model = await book.made("/registered_models", name=name, customProperties={name: value})
        assert model["customProperties"] == {name: value}


async def test_archiving_a_model_leaves_its_versions(book: Any) -> None:
    model, version = await version_of(book)
    await book.patched(f"/registered_models/{model}", state="ARCHIVED")
    assert (await book.read(f"/model_versions/{version}"))["state"] == "LIVE"
    assert await book.names("/registered_models") == ["m"]
    assert (await book.read("/registered_model", name="m"))["state"] == "ARCHIVED"
    taken = {"name": "m"}
    await book.refused(409, "already exists: conflict", "POST", "/registered_models", json=taken)
    live = await book.patched(f"/registered_models/{model}", state="LIVE")
    assert live["state"] == "LIVE"


async def test_a_time_of_update_differs_after_every_write(book: Any) -> None:
    model, _ = await version_of(book)
    times = [
        (await book.patched(f"/registered_models/{model}"))["lastUpdateTimeSinceEpoch"]
        for _ in range(5)
    ]
    assert sorted(set(times), key=int) == times
