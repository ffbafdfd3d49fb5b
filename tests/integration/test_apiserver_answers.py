"""What the embedded API answers: forms, lists, watches, questions, and whatever is not one."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
import yaml

from towpath.apiserver import ADMINISTRATORS, ApiServer, Store
from towpath.auth import Identity, Tokens
from towpath.settings import Api

pytestmark = pytest.mark.anyio

CONFIGS = "/api/v1/namespaces/default/configmaps"


def config(name: str = "c", **data: str) -> Any:
    return {"metadata": {"name": name}, "data": data}


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not await condition():
            await anyio.sleep(0.01)


async def made(http: httpx2.AsyncClient, path: str, obj: Any) -> Any:
    answer = await http.post(path, json=obj)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def lines(http: httpx2.AsyncClient, path: str, **query: str) -> list[Any]:
    params = {"watch": "1", "timeoutSeconds": "1", **query}
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_metadata_alone(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a", x="1"))
    one = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    found = (await http.get(f"{CONFIGS}/a", headers=one)).json()
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert found["metadata"]["name"] == "a"
    assert "data" not in found
    many = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    listed = (await http.get(CONFIGS, headers=many)).json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [item["kind"] for item in listed["items"]] == ["PartialObjectMetadata"]
    assert (await http.get(CONFIGS, headers=one)).status_code == 406
    assert (await http.get(f"{CONFIGS}/a", headers=many)).status_code == 406
    params = {"watch": "1", "timeoutSeconds": "1"}
    watched = await http.get(CONFIGS, params=params, headers=one)
    event = json.loads(watched.text.splitlines()[0])
    assert event["object"]["kind"] == "PartialObjectMetadata"


async def test_yaml_and_lines(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a", x="1"))
    answer = await http.get(f"{CONFIGS}/a", headers={"Accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(answer.text)["data"] == {"x": "1"}
    listed = await http.get(CONFIGS, headers={"Accept": "application/yaml"})
    assert yaml.safe_load(listed.text)["kind"] == "ConfigMapList"
    assert "\n" in (await http.get(f"{CONFIGS}/a", params={"pretty": "true"})).text.strip()
    assert "\n" in (await http.get(f"{CONFIGS}/a", headers={"User-Agent": "curl/8"})).text.strip()
    plain = await http.get(f"{CONFIGS}/a", headers={"Accept": "text/html, */*;q=0.8"})
    assert plain.headers["content-type"] == "application/json"


async def test_what_cannot_be_sent(http: httpx2.AsyncClient) -> None:
    for accept in (
        "text/html",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;g=other;v=v1",
        "application/json;as=Nothing;g=meta.k8s.io;v=v1",
    ):
        refused = await http.get(CONFIGS, headers={"Accept": accept})
        assert (refused.status_code, refused.json()["reason"]) == (406, "NotAcceptable")
    params = {"watch": "1", "timeoutSeconds": "1"}
    stream = await http.get(CONFIGS, params=params, headers={"Accept": "application/yaml"})
    assert stream.status_code == 406


async def test_large_answers_to_elsewhere_are_compressed() -> None:
    tokens = Tokens([("t", Identity("admin", frozenset({ADMINISTRATORS})))])
    headers = {"Authorization": "Bearer t"}
    async with Store() as store:
        server = ApiServer(store, Api(), known=[tokens])
        for client, packed in ((("192.0.2.1", 1), True), (("127.0.0.1", 1), False)):
            transport = httpx2.ASGITransport(server.guarded, client=client)
            async with (
                server.asgi.router.lifespan_context(server.asgi),
                httpx2.AsyncClient(
                    transport=transport, base_url="http://api", headers=headers
                ) as http,
            ):
                for index in range(3):
                    await http.post(CONFIGS, json=config(f"c{index}", x="y" * 100_000))
                listed = await http.get(CONFIGS, headers={"Accept-Encoding": "gzip"})
                assert len(listed.json()["items"]) == 3
                assert ("content-encoding" in listed.headers) is packed
                one = await http.get(f"{CONFIGS}/c0", headers={"Accept-Encoding": "gzip"})
                assert "content-encoding" not in one.headers


OPTIONS: list[tuple[dict[str, str], int, str]] = [
    ({"resourceVersionMatch": "Exact"}, 422, "forbidden unless resourceVersion is provided"),
    (
        {"resourceVersionMatch": "x", "resourceVersion": "1"},
        422,
        'supported values: "Exact", "NotOlderThan", ""',
    ),
    (
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        422,
        'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    ),
    ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
    (
        {"watch": "1", "sendInitialEvents": "true"},
        422,
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
    (
        {"watch": "1", "resourceVersionMatch": "NotOlderThan"},
        422,
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    ),
    ({"resourceVersion": "x"}, 400, "invalid resource version"),
    ({"continue": "x"}, 400, "continue key is not valid"),
    ({"limit": "x"}, 400, "limit"),
    ({"fieldSelector": "spec.x=1"}, 400, '"spec.x" is not a known field selector: only'),
    ({"labelSelector": "a=="}, 200, ""),
    ({"labelSelector": "a in b"}, 400, "unable to parse requirement"),
    ({"resourceVersion": "99999"}, 504, "Timeout: Too large resource version: 99999"),
    ({"someOption": "x"}, 200, ""),
]


async def test_options_of_lists(http: httpx2.AsyncClient) -> None:
    for query, code, words in OPTIONS:
        answer = await http.get(CONFIGS, params=query)
        assert answer.status_code == code, (query, answer.text)
        assert words in answer.json().get("message", "")


async def test_a_get_of_the_future(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    assert (await http.get(f"{CONFIGS}/a", params={"resourceVersion": "0"})).status_code == 200
    late = await http.get(f"{CONFIGS}/a", params={"resourceVersion": "99999"})
    assert late.status_code == 504
    assert late.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert late.headers["retry-after"] == "1"


async def test_pages_show_one_state_and_count_the_rest(http: httpx2.AsyncClient) -> None:
    for index in range(5):
        await made(http, CONFIGS, config(f"c{index}"))
    first = (await http.get(CONFIGS, params={"limit": "2"})).json()
    assert first["metadata"]["remainingItemCount"] == 3
    await http.delete(f"{CONFIGS}/c3")
    await made(http, CONFIGS, config("c25"))
    token = first["metadata"]["continue"]
    rest = (await http.get(CONFIGS, params={"limit": "9", "continue": token})).json()
    assert [i["metadata"]["name"] for i in rest["items"]] == ["c2", "c3", "c4"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_initial_events(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    match = {"resourceVersionMatch": "NotOlderThan"}
    wanted = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", **match}
    found = await lines(http, CONFIGS, **wanted)
    assert [event["type"] for event in found[:2]] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    assert await lines(http, CONFIGS, sendInitialEvents="false", **match) == []
    assert [e["type"] for e in await lines(http, CONFIGS, resourceVersion="0")] == ["ADDED"]


async def test_what_is_only_asked(http: httpx2.AsyncClient) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = await http.post(path, json=asked)
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"]["allowed"] is True
    assert (await http.get(path)).status_code == 405
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"

    async def given() -> bool:
        found = await http.post(token, json={"spec": {"audiences": []}})
        return found.status_code == 201 and bool(found.json()["status"]["token"])

    await until(given)
    assert (await http.get(token)).status_code == 405


async def test_an_update_may_create(http: httpx2.AsyncClient) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    role = {"metadata": {"name": "system:a"}, "rules": []}
    assert (await http.put(f"{roles}/system:a", json=role)).status_code == 201
    assert (await http.put(f"{roles}/system:a", json=role)).status_code == 200
    assert (await http.put(f"{CONFIGS}/a", json=config("a"))).status_code == 404
    assert (await http.put(f"{leases}/a", json={"metadata": {"name": "a"}})).status_code == 422


PATHS = [
    ("POST", f"{CONFIGS}/a", 405),
    ("PUT", CONFIGS, 405),
    ("HEAD", f"{CONFIGS}/a", 405),
    ("OPTIONS", CONFIGS, 405),
    ("GET", f"{CONFIGS}/a%2Fb", 404),
    ("GET", f"{CONFIGS}/..%2f..%2fsecrets", 404),
    ("GET", f"{CONFIGS}/%00", 404),
    ("GET", f"{CONFIGS}/%ff", 404),
    ("GET", f"{CONFIGS}/%2e%2e", 400),
    ("GET", f"{CONFIGS}/a%2525", 400),
    ("GET", "/api/v2/pods", 404),
]


async def test_paths(http: httpx2.AsyncClient) -> None:
    for method, path, code in PATHS:
        url = httpx2.URL(str(http.base_url)).copy_with(raw_path=path.encode())
        answer = await http.request(method, url)
        assert answer.status_code == code, (method, path, answer.text)


BODIES = [
    (b"\x00", "application/json"),
    (b"\xff\xfe", "application/yaml"),
    (b'{"metadata":{"name":"a\\u0000b"}}', "application/json"),
    (b'{"metadata":{"name":"a","generation":1e400}}', "application/json"),
    (b'{"metadata":{"name":"a","generation":123456789012345678901234567890}}', ""),
    (b'{"metadata":' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json"),
    (b'{"data":' + b'{"a":' * 300 + b"1" + b"}" * 301, "application/json"),
    (b'{"metadata":{"name":"a"},"data":{"a":{}}}', "application/json"),
    (b'{"metadata":{"name":"a","labels":[]}}', "application/json"),
    (b'"x"', "application/json"),
    (b"", "application/json"),
    (b"k8s\x00\xff\xff", "application/vnd.kubernetes.protobuf"),
    (b"a: &a [*a]", "application/yaml"),
    (b"{}", "text/plain"),
    (b'{"metadata":{"generateName":"' + b"x" * 300 + b'!"}}', "application/json"),
    (b'{"metadata":{"name":"a","ownerReferences":[null]}}', "application/json"),
]


async def test_bodies_that_are_refused(http: httpx2.AsyncClient) -> None:
    for content, media in BODIES:
        refused = await http.post(CONFIGS, content=content, headers={"Content-Type": media})
        assert 400 <= refused.status_code < 500, (content[:50], refused.text)
        assert refused.json()["kind"] == "Status"


async def test_a_body_that_is_too_large(http: httpx2.AsyncClient) -> None:
    big = config("a", x="y" * 3 * 1024 * 1024)
    refused = await http.post(CONFIGS, json=big)
    assert refused.status_code == 413
    assert refused.json()["reason"] == "RequestEntityTooLarge"
    assert refused.json()["message"] == "Request entity too large: limit is 3145728"


async def test_generated_names(http: httpx2.AsyncClient) -> None:
    named = await made(http, CONFIGS, {"metadata": {"generateName": "x" * 70}})
    assert len(named["metadata"]["name"]) == 63
    dashed = await made(http, CONFIGS, {"metadata": {"generateName": "job-"}})
    assert dashed["metadata"]["name"].startswith("job-")
