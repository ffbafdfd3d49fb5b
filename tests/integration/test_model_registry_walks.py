"""Lists of the model registry page by page, while others write: nothing skipped, nothing twice."""

import asyncio
import base64
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.anyio

Serving = Callable[..., Any]
Entity = dict[str, Any]

ORDERS = ("ID", "CREATE_TIME", "LAST_UPDATE_TIME")
KEYS = {
    "ID": "id",
    "CREATE_TIME": "createTimeSinceEpoch",
    "LAST_UPDATE_TIME": "lastUpdateTimeSinceEpoch",
}


@pytest.fixture
async def http(each_registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(each_registry_url) as client:
        yield client


@pytest.fixture
async def more(registry_url: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """As :func:`http`; the servers only where all tests are run."""
    async with registry_at(registry_url) as client:
        yield client


async def made(http: httpx2.AsyncClient, path: str, **body: Any) -> Entity:
    answer = await http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    entity: Entity = answer.json()
    return entity


async def walk(
    http: httpx2.AsyncClient, path: str, **query: str
) -> AsyncIterator[tuple[Entity, list[Entity]]]:
    """The pages of a list as they come, each with its items."""
    token = ""
    while True:
        answer = await http.get(path, params={**query, "nextPageToken": token})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["size"] == len(page["items"]) <= int(query["pageSize"])
        assert page["pageSize"] == int(query["pageSize"])
        yield page, page["items"]
        token = page["nextPageToken"]
        if not token:
            return


def key(order: str, entity: Entity) -> tuple[int, int]:
    return int(entity[KEYS[order]]), int(entity["id"])


async def test_every_order_while_others_write(http: httpx2.AsyncClient) -> None:
    """What nobody touches is told once; what comes or changes meanwhile, at most once a state."""
    model = await made(http, "/registered_models", name="m")
    of = {"registeredModelId": model["id"]}
    calm, touched = [], []

    async def create(n: int) -> None:
        body = {"name": f"v{n}", "author": "calm" if n % 2 else "touched"}
        version = await made(http, "/model_versions", **body, **of)
        (calm if n % 2 else touched).append(version)

    async with anyio.create_task_group() as tasks:  # many of one millisecond
        for n in range(80):
            tasks.start_soon(create, n)
    still = {one["id"]: one for one in calm}
    busy = True
    names = count()

    async def write() -> None:
        chance = random.Random(7)
        while busy:
            victim = chance.choice(touched)["id"]
            await http.patch(f"/model_versions/{victim}", json={"description": str(next(names))})
            await made(http, "/model_versions", name=f"new{next(names)}", author="new", **of)

    async def look(path: str, order: str, direction: str, size: int) -> None:
        query = {"orderBy": order, "sortOrder": direction, "pageSize": str(size)}
        seen: list[Entity] = []
        async for _, items in walk(http, path, **query):
            seen += items
            assert len(seen) < 5000, "the walk has no end"
        keys = [key(order, one) for one in seen]
        assert keys == sorted(keys, reverse=direction == "DESC")
        assert len(set(keys)) == len(keys), "a state is told twice"
        times = Counter(one["id"] for one in seen)
        assert {ident: times[ident] for ident in still} == dict.fromkeys(still, 1)
        assert all(one == still[one["id"]] for one in seen if one["id"] in still)
        if order != "LAST_UPDATE_TIME":
            assert set(times.values()) == {1}
        if (order, direction) != ("LAST_UPDATE_TIME", "DESC"):
            assert {one["id"] for one in touched} <= times.keys()

    async with anyio.create_task_group() as writers:
        writers.start_soon(write)
        writers.start_soon(write)
        for n, order in enumerate(ORDERS):
            for direction in ("ASC", "DESC"):
                async with anyio.create_task_group() as readers:
                    for path in ("/model_versions", f"/registered_models/{model['id']}/versions"):
                        readers.start_soon(look, path, order, direction, (7, 13, 40)[n])
        busy = False


async def test_every_list_walks_in_every_order(more: httpx2.AsyncClient) -> None:
    model = (await made(more, "/registered_models", name="m"))["id"]
    version = (await made(more, "/model_versions", name="v", registeredModelId=model))["id"]
    place = (await made(more, "/serving_environments", name="e"))["id"]
    experiment = (await made(more, "/experiments", name="x"))["id"]
    run = (await made(more, "/experiment_runs", name="r", experimentId=experiment))["id"]
    of = {"registeredModelId": model, "servingEnvironmentId": place}
    service = (await made(more, "/inference_services", name="s", **of))["id"]
    fill = {
        "/registered_models": {},
        "/serving_environments": {},
        "/experiments": {},
        f"/registered_models/{model}/versions": {"registeredModelId": model},
        f"/serving_environments/{place}/inference_services": of,
        f"/inference_services/{service}/serves": {"modelVersionId": version},
        f"/experiments/{experiment}/experiment_runs": {"experimentId": experiment},
        f"/model_versions/{version}/artifacts": {"artifactType": "model-artifact", "uri": "u"},
        f"/experiment_runs/{run}/artifacts": {"artifactType": "metric", "value": 1},
    }
    for path, body in fill.items():
        async with anyio.create_task_group() as tasks:
            for n in range(8):
                sent = {"name": f"{n}", **body}
                tasks.start_soon(lambda p=path, b=sent: more.post(p, json=b))
    several = ("/model_versions", "/inference_services", "/artifacts", "/model_artifacts")
    history = (f"/experiment_runs/{run}/metric_history", "/experiment_runs/metric_history")
    for path in [*fill, *several, "/experiment_runs", *history]:
        whole = (await more.get(path)).json()["items"]
        assert len(whole) >= 8, path
        for order in ORDERS:
            expected = sorted(whole, key=lambda one, o=order: key(o, one))
            for direction in ("ASC", "DESC"):
                seen: list[Entity] = []
                sizes = []
                query = {"orderBy": order, "sortOrder": direction, "pageSize": "3"}
                async for page, items in walk(more, path, **query):
                    seen += items
                    sizes.append(page["size"])
                wanted = expected if direction == "ASC" else expected[::-1]
                assert [one["id"] for one in seen] == [one["id"] for one in wanted], (path, query)
                assert sizes[:-1] == [3] * (len(sizes) - 1)
                assert 1 <= sizes[-1] <= 3


async def test_a_filter_and_a_page_go_together(more: httpx2.AsyncClient) -> None:
    for n in range(20):
        kind = {"metadataType": "MetadataIntValue", "int_value": str(n % 4)}
        await made(more, "/registered_models", name=f"m{n}", customProperties={"k": kind})
    query = {"pageSize": "2", "filterQuery": "k >= 1 AND k < 3", "orderBy": "CREATE_TIME"}
    for direction in ("ASC", "DESC"):
        seen = [
            one["name"]
            async for _, items in walk(more, "/registered_models", sortOrder=direction, **query)
            for one in items
        ]
        wanted = [f"m{n}" for n in range(20) if n % 4 in (1, 2)]
        assert seen == (wanted if direction == "ASC" else wanted[::-1])


async def test_a_token_is_the_one_upstream_gives(more: httpx2.AsyncClient) -> None:
    """The id and the order's value of the last item; it outlives that item's changes."""
    for n in range(3):
        await made(more, "/registered_models", name=f"m{n}")
    query = {"pageSize": "1", "orderBy": "CREATE_TIME"}
    page = (await more.get("/registered_models", params=query)).json()
    (first,) = page["items"]
    told = base64.b64decode(page["nextPageToken"]).decode()
    assert told == f"{first['id']}:{first['createTimeSinceEpoch']}"
    await more.patch(f"/registered_models/{first['id']}", json={"state": "ARCHIVED"})
    query["nextPageToken"] = page["nextPageToken"]
    again = (await more.get("/registered_models", params=query)).json()
    assert [one["name"] for one in again["items"]] == ["m1"]


STEPS = st.lists(
    st.sampled_from(["page", "page", "page", "create", "touch the seen", "touch the unseen"]),
    max_size=12,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.integers(1, 5),
    there=st.integers(0, 9),
    order=st.sampled_from(ORDERS),
    direction=st.sampled_from(["ASC", "DESC"]),
    steps=STEPS,
)
async def test_any_walk_with_any_writes_between(
    more: httpx2.AsyncClient, size: int, there: int, order: str, direction: str, steps: list[str]
) -> None:
    names = count()
    answer = await more.get("/registered_models", params={"pageSize": "1", "sortOrder": "DESC"})
    newest = answer.json()["items"]
    name = f"model {int(newest[0]['id']) if newest else 0}"
    model = (await made(more, "/registered_models", name=name))["id"]
    path = f"/registered_models/{model}/versions"

    async def create() -> Entity:
        return await made(more, path, name=f"v{next(names)}", registeredModelId=model)

    calm = {one["id"]: one for one in await asyncio.gather(*(create() for _ in range(there)))}
    created: list[str] = []
    seen: list[Entity] = []
    query = {"pageSize": str(size), "orderBy": order, "sortOrder": direction}
    pages = walk(more, path, **query)
    ended = False
    for step in [*steps, *["page"] * 50]:
        if step == "page":
            try:
                _, items = await anext(pages)
            except StopAsyncIteration:
                ended = True
                break
            seen += items
        elif step == "create":
            created.append((await create())["id"])
        else:
            told = {one["id"] for one in seen}
            victims = [i for i in (*calm, *created) if (i in told) == (step == "touch the seen")]
            if victims:
                calm.pop(victims[0], None)
                changed = {"description": str(next(names))}
                await more.patch(f"/model_versions/{victims[0]}", json=changed)
    assert ended
    keys = [key(order, one) for one in seen]
    assert keys == sorted(set(keys), reverse=direction == "DESC")
    times = Counter(one["id"] for one in seen)
    assert {ident: times[ident] for ident in calm} == dict.fromkeys(calm, 1)
    if order != "LAST_UPDATE_TIME":
        assert set(times.values()) <= {1}
