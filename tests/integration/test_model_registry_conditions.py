"""Conditional requests: who has seen what of an entity, over real HTTP."""

from typing import Any

import anyio
import pytest

pytestmark = pytest.mark.anyio


def tag_of(entity: dict[str, str]) -> str:
    """The entity tag of an entity as it was answered."""
    return f'"{entity["id"]}-{entity["lastUpdateTimeSinceEpoch"]}"'


async def test_every_entity_has_a_tag_that_changes_with_it(book: Any) -> None:
    answer = await book.call("POST", "/registered_models", json={"name": "m"})
    model = answer.json()
    tags = [answer.headers["etag"]]
    path = f"/registered_models/{model['id']}"
    assert tags == [tag_of(model)]
    for _ in range(3):
        answer = await book.call("PATCH", path, json={})
        tags.append(answer.headers["etag"])
        assert (await book.call("GET", path)).headers["etag"] == tags[-1]
        found = await book.call("GET", "/registered_model", params={"name": "m"})
        assert found.headers["etag"] == tags[-1]
    assert len(set(tags)) == 4
    assert "etag" not in (await book.call("GET", "/registered_models")).headers


async def test_a_read_of_what_is_known_is_short(book: Any) -> None:
    model = await book.made("/registered_models", name="m")
    path = f"/registered_models/{model['id']}"
    tag = tag_of(model)
    for known in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        answer = await book.call("GET", path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    await book.patched(path, description="d")
    answer = await book.call("GET", path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.json()["description"]) == (200, "d")


async def test_a_change_of_what_was_not_seen_is_refused(book: Any) -> None:
    model = await book.made("/registered_models", name="m")
    path = f"/registered_models/{model['id']}"
    old = tag_of(model)
    changed = await book.call("PATCH", path, json={"owner": "a"}, headers={"If-Match": old})
    assert changed.status_code == 200
    for stale in (old, f"W/{changed.headers['etag']}", '"abc"', '""', "7", ""):
        headers = {"If-Match": stale}
        body = {"owner": "b"}
        await book.refused(412, "If-Match", "PATCH", path, json=body, headers=headers)
    many = {"If-Match": f'{old}, "1"'}
    await book.refused(400, "more than one", "PATCH", path, json={}, headers=many)
    assert (await book.read(path))["owner"] == "a"
    for any_state in ({"If-Match": "*"}, {}):
        answer = await book.call("PATCH", path, json={"owner": "c"}, headers=any_state)
        assert answer.status_code == 200


async def test_upserts_heed_the_condition_too(book: Any) -> None:
    model = await book.made("/registered_models", name="m")
    versions = f"/registered_models/{model['id']}/versions"
    version = await book.made(versions, name="1", registeredModelId=model["id"])
    artifacts = f"/model_versions/{version['id']}/artifacts"
    metric = await book.made(artifacts, artifactType="metric", name="n", value=1)
    for path, entity in ((versions, version), (artifacts, metric)):
        seen = {"If-Match": tag_of(entity)}
        body = {**entity, "description": "d"}
        assert (await book.call("POST", path, json=body, headers=seen)).is_success
        await book.refused(412, "If-Match", "POST", path, json=body, headers=seen)
    by_name = {"artifactType": "metric", "name": "n", "value": 2}
    await book.refused(412, "If-Match", "POST", artifacts, json=by_name, headers={"If-Match": "x"})


async def test_of_twenty_who_saw_one_state_one_changes_it(book: Any) -> None:
    model = await book.made("/registered_models", name="m")
    path = f"/registered_models/{model['id']}"
    seen = {"If-Match": tag_of(model)}
    statuses: list[int] = []

    async def change(number: int) -> None:
        body = {"owner": str(number)}
        statuses.append((await book.call("PATCH", path, json=body, headers=seen)).status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(change, number)

    assert sorted(statuses) == [200] + [412] * 19
