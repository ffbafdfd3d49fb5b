"""Many callers of the model registry at once: one wins, nobody is forgotten, all see the same."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from towpath.settings import Registry
from towpath.testing import running_registry

pytestmark = pytest.mark.anyio

Serving = Callable[..., Any]
CALLERS = 100
ALPHA = "/api/model_registry/v1alpha3"


@pytest.fixture
async def http(each_registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(each_registry_url) as client:
        yield client


@pytest.fixture
async def more(registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """As :func:`http`; the servers only where all tests are run."""
    async with registry_at(registry_url, Registry(allow_delete=True)) as client:
        yield client


async def made(http: httpx2.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    entity: dict[str, Any] = answer.json()
    return entity


async def at_once(
    calls: int, call: Callable[[int], Awaitable[httpx2.Response]]
) -> list[httpx2.Response]:
    """The answers to calls that are all under way together."""
    return list(await asyncio.gather(*(call(n) for n in range(calls))))


def statuses(answers: list[httpx2.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_a_hundred_writers_of_one_name(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    version = await made(http, "/model_versions", name="v", registeredModelId=model["id"])
    within = {"registeredModelId": model["id"]}
    artifact = {"artifactType": "model-artifact", "uri": "u"}
    for path, body, listed in (
        ("/registered_models", {}, "/registered_models"),
        ("/model_versions", within, "/model_versions"),
        (f"/registered_models/{model['id']}/versions", within, "/model_versions"),
        (f"/model_versions/{version['id']}/artifacts", artifact, "/model_artifacts"),
    ):
        before = (await http.get(listed)).json()["size"]
        name = f"one of {path}"
        answers = await at_once(
            CALLERS, lambda _, p=path, b=body, n=name: http.post(p, json={"name": n, **b})
        )
        assert statuses(answers) == {201: 1, 409: CALLERS - 1}, path
        (winner,) = (answer.json() for answer in answers if answer.status_code == 201)
        for answer in answers:
            if answer.status_code == 409:
                assert answer.json()["code"] == "Conflict"
                assert f"with name {name} already exists: conflict" in answer.json()["message"]
        after = (await http.get(listed)).json()
        assert after["size"] == before + 1
        assert winner in after["items"]


async def test_a_hundred_writers_of_one_external_id(more: httpx2.AsyncClient) -> None:
    answers = await at_once(
        CALLERS,
        lambda n: more.post(
            ("/registered_models", "/serving_environments")[n % 2],
            json={"name": f"m{n}", "externalId": "one"},
        ),
    )
    assert statuses(answers) == {201: 1, 409: CALLERS - 1}
    sizes = [
        (await more.get(path)).json()["size"]
        for path in ("/registered_models", "/serving_environments")
    ]
    assert sum(sizes) == 1
    assert (await more.get("/events")).json()["size"] == 1


async def test_of_updates_to_one_state_one_wins(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    at = f"/registered_models/{model['id']}"
    for _ in range(3):
        tag = (await http.get(at)).headers["etag"]
        answers = await at_once(
            CALLERS,
            lambda n, t=tag: http.patch(at, json={"owner": str(n)}, headers={"If-Match": t}),
        )
        assert statuses(answers) == {200: 1, 412: CALLERS - 1}
        (winner,) = (answer for answer in answers if answer.status_code == 200)
        kept = await http.get(at)
        assert kept.json() == winner.json()
        assert kept.headers["etag"] == winner.headers["etag"] != tag
        assert {a.json()["code"] for a in answers if a.status_code == 412} == {
            "Precondition Failed"
        }


async def test_no_update_is_lost_by_those_who_compare(more: httpx2.AsyncClient) -> None:
    model = await made(more, "/registered_models", name="m", description="0")
    at = f"/registered_models/{model['id']}"

    async def add(times: int) -> None:
        while times:
            seen = await more.get(at)
            body = {"description": str(int(seen.json()["description"]) + 1)}
            answer = await more.patch(at, json=body, headers={"If-Match": seen.headers["etag"]})
            assert answer.status_code in (200, 412), answer.text
            times -= answer.status_code == 200

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(add, 5)
    assert (await more.get(at)).json()["description"] == "40"


async def test_every_update_without_a_condition_counts(more: httpx2.AsyncClient) -> None:
    model = await made(more, "/registered_models", name="m", readme="kept")
    at = f"/registered_models/{model['id']}"
    fields = ("owner", "description", "provider", "license")
    answers = await at_once(CALLERS, lambda n: more.patch(at, json={fields[n % 4]: str(n)}))
    assert statuses(answers) == {200: CALLERS}
    times = sorted(int(answer.json()["lastUpdateTimeSinceEpoch"]) for answer in answers)
    assert len(set(times)) == CALLERS
    kept = (await more.get(at)).json()
    last = max(answers, key=lambda answer: int(answer.json()["lastUpdateTimeSinceEpoch"]))
    assert kept == last.json()
    assert kept["readme"] == "kept"
    assert {field for field in fields if field in kept} == set(fields)
    events = (await more.get("/events", params={"pageSize": "1000"})).json()["items"]
    assert len(events) == CALLERS + 1
    for earlier, later in itertools.pairwise(events):
        assert later["before"] == earlier["after"]


async def test_writers_of_the_same_few_entities(
    each_registry_url: str, registry_at: Serving
) -> None:
    """Through two replicas: transactions that several share lock in one order, or deadlock."""
    async with registry_at(each_registry_url) as one, registry_at(each_registry_url) as other:
        experiment = await made(one, "/experiments", name="e")
        models = [(await made(one, "/registered_models", name=str(n)))["id"] for n in range(6)]
        body = {"experimentId": experiment["id"]}
        runs = [(await made(one, "/experiment_runs", **body))["id"] for _ in range(3)]

        async def write(n: int) -> httpx2.Response:
            http, model = (one, other)[n % 2], models[n // 2 % 6]
            if n % 5 < 2:
                return await http.patch(f"/registered_models/{model}", json={"owner": str(n)})
            if n % 5 < 4:
                version = {"name": f"v{n}", "registeredModelId": model}
                return await http.post("/model_versions", json=version)
            metric = {"artifactType": "metric", "name": f"m{n % 2}", "value": n}
            return await http.post(f"/experiment_runs/{runs[n % 3]}/artifacts", json=metric)

        answers = await at_once(4 * CALLERS, write)
        assert statuses(answers) == {200: 240, 201: 160}
        events = (await one.get("/events", params={"pageSize": "1000"})).json()["items"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_points_of_one_metric(more: httpx2.AsyncClient) -> None:
    experiment = await made(more, "/experiments", name="e")
    run = await made(more, "/experiment_runs", name="r", experimentId=experiment["id"])
    at = f"/experiment_runs/{run['id']}"
    metric = {"artifactType": "metric", "name": "loss"}
    answers = await at_once(
        CALLERS, lambda n: more.post(f"{at}/artifacts", json={**metric, "value": n, "step": n})
    )
    assert statuses(answers).keys() <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await more.get(f"{at}/artifacts")).json()["size"] == 1
    history = (await more.get(f"{at}/metric_history", params={"name": "loss"})).json()["items"]
    assert sorted(point["step"] for point in history) == list(range(CALLERS))
    assert all(point["value"] == point["step"] for point in history)


async def test_one_artifact_of_many_versions(more: httpx2.AsyncClient) -> None:
    model = await made(more, "/registered_models", name="m")
    of = {"registeredModelId": model["id"]}
    versions = [await made(more, "/model_versions", name=str(n), **of) for n in range(5)]
    artifact = await made(more, "/model_artifacts", name="a", uri="u")
    body = {"artifactType": "model-artifact", "id": artifact["id"]}
    answers = await at_once(
        50, lambda n: more.post(f"/model_versions/{versions[n % 5]['id']}/artifacts", json=body)
    )
    assert statuses(answers) == {200: 50}
    for version in versions:
        listed = (await more.get(f"/model_versions/{version['id']}/artifacts")).json()["items"]
        assert [one["id"] for one in listed] == [artifact["id"]]


async def test_nothing_is_born_to_a_parent_that_goes(more: httpx2.AsyncClient) -> None:
    async def outcome(n: int) -> None:
        model = await made(more, "/registered_models", name=f"m{n}", state="ARCHIVED")
        of = {"registeredModelId": model["id"]}
        created, deleted = await asyncio.gather(
            more.post("/model_versions", json={"name": "v", **of}),
            more.delete(f"/registered_models/{model['id']}"),
        )
        assert created.status_code in (201, 404), created.text
        assert deleted.status_code in (200, 204, 409), deleted.text
        there = (await more.get(f"/registered_models/{model['id']}")).status_code
        assert there == (200 if deleted.status_code == 409 else 404)

    await asyncio.gather(*(outcome(n) for n in range(20)))
    for version in (await more.get("/model_versions")).json()["items"]:
        parent = await more.get(f"/registered_models/{version['registeredModelId']}")
        assert parent.status_code == 200


async def test_what_one_connection_was_told_all_are(each_registry_url: str, tmp_path: Path) -> None:
    """Read-your-writes, over connections that end in different processes."""
    workers = "1" if each_registry_url.startswith("sqlite") else "2"
    with running_registry(tmp_path, "--db", each_registry_url, "--workers", workers) as running:
        address = running.url
        one = [httpx2.AsyncClient(base_url=address + ALPHA, trust_env=False) for _ in range(4)]

        async def seen(name: str, model: dict[str, Any]) -> None:
            at = f"/registered_models/{model['id']}"
            for other in one:
                assert (await other.get(at)).json() == model
                assert (await other.get("/registered_model?name=" + name)).json() == model
                query = {"filterQuery": f"name = '{name}'"}
                listed = (await other.get("/registered_models", params=query)).json()["items"]
                assert listed == [model]
                newest = {"orderBy": "LAST_UPDATE_TIME", "sortOrder": "DESC", "pageSize": "20"}
                listed = (await other.get("/registered_models", params=newest)).json()["items"]
                assert model in listed

        async def write(n: int) -> None:
            for k in range(2):
                name = f"m{n}-{k}"
                model = await made(one[n], "/registered_models", name=name)
                await seen(name, model)
                patched = await one[n - 1].patch(
                    f"/registered_models/{model['id']}", json={"state": "ARCHIVED"}
                )
                await seen(name, patched.json())

        async with anyio.create_task_group() as tasks:
            for n in range(len(one)):
                tasks.start_soon(write, n)
        answers = await at_once(
            60, lambda n: one[n % 4].post("/registered_models", json={"name": "same"})
        )
        assert statuses(answers) == {201: 1, 409: 59}
        feeds = [(await other.get("/events?pageSize=1000")).json()["items"] for other in one]
        assert len(feeds[0]) == 4 * 2 * 2 + 1
        assert all(feed == feeds[0] for feed in feeds)
        for client in one:
            await client.aclose()
