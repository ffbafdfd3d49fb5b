"""The embedded API over TLS on a real port, through our own client and by plain HTTP."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import pytest

from towpath.apiserver import (
    ADMINISTRATORS,
    ApiServer,
    Store,
    cluster_user,
    ensure,
    kubeconfig,
    write_kubeconfig,
)
from towpath.apiserver.record import Address, Write
from towpath.app.guests import welcome
from towpath.auth import Identity, Tokens
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    UnavailableError,
)
from towpath.kube import Client
from towpath.settings import Api
from towpath.spec.argocd import APPLICATION
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import CONFIG_MAP, CRD, NAMESPACE, SECRET, Kind, Object
from towpath.web import listen, serve

pytestmark = pytest.mark.anyio

HISTORY = 60
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
CONFIGS = "/api/v1/namespaces/default/configmaps"
OPENS = "/apis/example.net/v1/namespaces/default/opens"
OPEN = Kind("example.net", "v1", "Open", "opens")
ANYTHING: Any = {
    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
}
OPEN_DEFINITION: Any = {
    "metadata": {"name": "opens.example.net"},
    "spec": {
        "group": "example.net",
        "scope": "Namespaced",
        "names": {"plural": "opens", "kind": "Open"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": ANYTHING,
                "subresources": {"status": {}},
            }
        ],
    },
}
"""A kind whose objects may hold anything."""


@dataclass
class Cluster:
    """A running API and what a client needs to reach it."""

    url: str
    authority: str
    server: ApiServer
    home: Path

    def kubeconfig(self, token: str = "admin-token") -> Path:
        path = self.home / f"{token}.kubeconfig"
        write_kubeconfig(path, kubeconfig(self.url, self.authority, token, "test"))
        return path

    def http(self, token: str = "admin-token") -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url,
            verify=ssl.create_default_context(cadata=self.authority),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=10,
            trust_env=False,
        )


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Cluster]:
    certificate = ensure(home / "tls")
    tokens = Tokens(
        [
            ("admin-token", Identity("admin", frozenset({ADMINISTRATORS}))),
            ("edge-token", Identity(cluster_user("edge-1"))),
        ]
    )
    async with Store(home / "api.db", history=HISTORY) as store:
        server = ApiServer(store, Api(body_bytes=100_000), known=[tokens])
        sock = listen("127.0.0.1", 0)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                paths = (str(certificate.chain), str(certificate.key))
                await serve(
                    server.guarded,
                    sock,
                    certificate=paths,
                    stopping=server.stop,
                    drain=1,
                    task_status=task_status,
                )

            await tasks.start(run)
            yield Cluster(url, certificate.authority, server, home)
            tasks.cancel_scope.cancel()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as found:
        async with Client(found.kubeconfig()) as client:
            await client.create(CRD, OPEN_DEFINITION)
        yield found


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(cluster.kubeconfig()) as found:
        yield found


@pytest.fixture
async def http(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with cluster.http() as found:
        yield found


def service(name: str = "fraud", namespace: str = "default", **spec: Any) -> Object:
    return cast(
        Object,
        {"metadata": {"name": name, "namespace": namespace}, "spec": spec or {"predictor": {}}},
    )


def config(name: str = "c", **data: str) -> Any:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not await condition():
            await anyio.sleep(0.01)


async def test_create_get_list_delete(client: Client) -> None:
    made = await client.create(INFERENCE_SERVICE, service())
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["uid"]
    assert await client.get(INFERENCE_SERVICE, "fraud", "default") == made
    assert await client.list(INFERENCE_SERVICE) == [made]
    assert await client.list(INFERENCE_SERVICE, "kube-system") == []
    await client.delete(INFERENCE_SERVICE, "fraud", "default")
    await client.delete(INFERENCE_SERVICE, "fraud", "default")
    with pytest.raises(NotFoundError) as gone:
        await client.get(INFERENCE_SERVICE, "fraud", "default")
    assert gone.value.message == 'inferenceservices.serving.kserve.io "fraud" not found'


async def test_messages_of_conflicts(client: Client) -> None:
    made = await client.create(OPEN, service())
    with pytest.raises(ConflictError) as exists:
        await client.create(OPEN, service())
    assert exists.value.reason is Reason.ALREADY_EXISTS
    assert exists.value.message == ('opens.example.net "fraud" already exists')
    await client.merge(OPEN, "fraud", "default", {"spec": {"a": 1}})
    with pytest.raises(ConflictError) as stale:
        await client.replace(OPEN, made)
    assert stale.value.message == (
        'Operation cannot be fulfilled on opens.example.net "fraud": the object '
        "has been modified; please apply your changes to the latest version and try again"
    )
    with pytest.raises(NotFoundError, match='namespaces "nowhere" not found'):
        await client.create(OPEN, service(namespace="nowhere"))
    with pytest.raises(InvalidError, match="RFC 1123 subdomain"):
        await client.create(OPEN, service("Bad_Name"))


async def test_spec_and_status_are_apart(client: Client) -> None:
    made = await client.create(OPEN, service())
    status = await client.merge_status(
        OPEN, "fraud", "default", {"status": {"url": "http://x"}, "spec": {"a": 1}}
    )
    assert status["status"] == {"url": "http://x"}
    assert status["spec"] == {"predictor": {}}
    assert status["metadata"]["generation"] == 1
    changed = await client.merge(
        OPEN, "fraud", "default", {"status": {"url": "y"}, "spec": {"a": 1}}
    )
    assert changed["status"] == {"url": "http://x"}
    assert changed["metadata"]["generation"] == 2
    assert made["metadata"]["uid"] == changed["metadata"]["uid"]
    source = {"repoURL": "https://example.org/x.git", "path": "."}
    spec = {"project": "default", "destination": {"namespace": "x"}, "source": source}
    application = {"metadata": {"name": "a", "namespace": "default"}, "spec": spec}
    await client.create(APPLICATION, cast(Object, application))
    whole = await client.merge(APPLICATION, "a", "default", {"status": {"sync": {"status": "x"}}})
    assert whole["status"]["sync"]["status"] == "x"


async def test_nothing_is_written_when_nothing_changes(client: Client) -> None:
    made = await client.create(OPEN, service(a=1))
    again = await client.merge(OPEN, "fraud", "default", {"spec": {"a": 1}})
    assert again == made
    assert await client.replace(OPEN, made) == made
    applied = await client.apply(OPEN, service(a=1), "me")
    assert await client.apply(OPEN, service(a=1), "me") == applied


async def test_apply_merges_and_forgets(client: Client) -> None:
    await client.apply(OPEN, service(a=1, b={"c": 1}), "one")
    both = await client.apply(OPEN, service(b={"d": 2}), "two")
    assert both["spec"] == {"a": 1, "b": {"c": 1, "d": 2}}
    less = await client.apply(OPEN, service(b={"c": 1}), "one")
    assert less["spec"] == {"b": {"c": 1, "d": 2}}
    assert {e["manager"] for e in less["metadata"]["managedFields"]} == {"one", "two"}
    taken = await client.apply(OPEN, service(b={"d": 3}), "one")
    assert taken["spec"] == {"b": {"d": 3}}


async def test_apply_conflicts_without_force(client: Client, http: httpx2.AsyncClient) -> None:
    await client.apply(OPEN, service(a=1), "one")
    body = {"apiVersion": "example.net/v1", "kind": "Open", "spec": {"a": 2}}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    path = f"{OPENS}/fraud"
    refused = await http.patch(path, params={"fieldManager": "two"}, json=body, headers=headers)
    assert refused.status_code == 409
    assert refused.json()["details"]["causes"][0]["field"] == ".spec.a"
    unnamed = await http.patch(path, json=body, headers=headers)
    assert unnamed.status_code == 422
    assert unnamed.json()["details"]["causes"][0]["field"] == "fieldManager"


async def test_many_writers_of_one_object_all_get_through(client: Client) -> None:
    await client.create(CONFIG_MAP, config())
    async with anyio.create_task_group() as tasks:
        for index in range(20):
            patch: Any = {"data": {f"k{index}": "v"}}
            tasks.start_soon(client.merge, CONFIG_MAP, "c", "default", patch)
    assert len((await client.get(CONFIG_MAP, "c", "default"))["data"]) == 20


async def test_watch_tells_what_is_there_and_what_changes(client: Client) -> None:
    await client.create(OPEN, service("old"))
    seen: list[tuple[str, str]] = []
    ready = anyio.Event()

    async def watch() -> None:
        watched = client.watch(OPEN, "default")
        async for event in watched:
            seen.append((event.type, event.object["metadata"]["name"]))
            ready.set()
            if event.type == "DELETED":
                return

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await ready.wait()
            await client.create(OPEN, service("new"))
            await client.create(CONFIG_MAP, config())
            await client.merge(OPEN, "new", "default", {"spec": {"a": 1}})
            await client.delete(OPEN, "new", "default")
    assert seen == [("ADDED", "old"), ("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]


async def test_watch_is_refused_by_its_class(cluster: Cluster, client: Client) -> None:
    unknown = Kind("nobody.example", "v1", "Thing", "things")
    with pytest.raises(NotFoundError):
        await anext(client.watch(unknown))
    async with Client(cluster.kubeconfig("wrong-token")) as stranger:
        with pytest.raises(DeniedError) as caught:
            await anext(stranger.watch(CONFIG_MAP))
        assert caught.value.reason is Reason.UNAUTHENTICATED


async def test_kubeconfig_of_a_stopped_platform(tmp_path: Path) -> None:
    async with running(tmp_path) as stopped:
        path = stopped.kubeconfig()
    async with Client(path) as late:
        with pytest.raises(UnavailableError, match="does not answer"):
            await late.list(CONFIG_MAP)
    for text in ("", "a: [", "- 1", "clusters: 1"):
        path.write_text(text)
        with pytest.raises(InvalidError, match="is not a kubeconfig"):
            Client(path)
    with pytest.raises(NotFoundError):
        Client(tmp_path / "nowhere")


async def events(response: httpx2.Response, count: int) -> list[dict[str, Any]]:
    found = []
    async for line in response.aiter_lines():
        found.append(json.loads(line))
        if len(found) == count:
            break
    return found


async def test_watch_from_a_revision(client: Client, http: httpx2.AsyncClient) -> None:
    listing = (await http.get(CONFIGS)).json()
    since = listing["metadata"]["resourceVersion"]
    for name in ("a", "b"):
        await client.create(CONFIG_MAP, config(name))
    query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "1"}
    async with http.stream("GET", CONFIGS, params=query) as response:
        first = await events(response, 2)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in first] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]
    query |= {"resourceVersion": first[0]["object"]["metadata"]["resourceVersion"]}
    query |= {"allowWatchBookmarks": "true"}
    async with http.stream("GET", CONFIGS, params=query) as response:
        rest = await events(response, 99)  # it ends by itself
    assert [e["type"] for e in rest] == ["ADDED", "BOOKMARK"]
    assert rest[1]["object"]["kind"] == "ConfigMap"
    assert int(rest[1]["object"]["metadata"]["resourceVersion"]) >= int(since) + 2


async def test_watch_with_a_selector(client: Client, http: httpx2.AsyncClient) -> None:
    query = {"watch": "1", "labelSelector": "on in (yes)", "timeoutSeconds": "1"}
    await client.create(CONFIG_MAP, config("other"))
    async with http.stream("GET", CONFIGS, params=query) as response:
        await client.create(CONFIG_MAP, config("a"))
        for value in ("yes", "no", "yes"):
            await client.merge(
                CONFIG_MAP, "a", "default", cast(Object, {"metadata": {"labels": {"on": value}}})
            )
        await client.delete(CONFIG_MAP, "a", "default")
        found = await events(response, 4)
    assert [e["type"] for e in found] == ["ADDED", "DELETED", "ADDED", "DELETED"]
    assert found[1]["object"]["metadata"]["labels"] == {"on": "yes"}


async def test_streaming_list(client: Client, http: httpx2.AsyncClient) -> None:
    await client.create(CONFIG_MAP, config("a"))
    query = {
        "watch": "1",
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "1",
    }
    async with http.stream("GET", CONFIGS, params=query) as response:
        found = await events(response, 2)
    assert [e["type"] for e in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_that_is_too_old_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path) as first, Client(first.kubeconfig()) as client:
        made = await client.create(CONFIG_MAP, config("a"))
        for index in range(HISTORY + HISTORY // 5):
            await client.merge(CONFIG_MAP, "a", "default", {"data": {"n": str(index)}})
    query = {"watch": "1", "resourceVersion": made["metadata"]["resourceVersion"]}
    async with (
        running(tmp_path) as second,
        second.http() as http,
        http.stream("GET", CONFIGS, params=query) as response,
    ):
        (event,) = await events(response, 2)  # and it ends
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_a_watcher_that_never_reads_costs_nothing(
    cluster: Cluster, client: Client, http: httpx2.AsyncClient
) -> None:
    await client.create(CONFIG_MAP, config("a"))
    async with http.stream("GET", CONFIGS, params={"watch": "1"}) as response:
        for index in range(HISTORY + HISTORY // 5):
            value = f"{index}" + "x" * 50_000
            await client.merge(CONFIG_MAP, "a", "default", {"data": {"n": value}})
        with anyio.fail_after(10):
            found = await events(response, 3)  # it still works, from where it was
    assert [e["type"] for e in found] == ["ADDED", "MODIFIED", "MODIFIED"]


async def test_stop_ends_watches_at_once(cluster: Cluster, http: httpx2.AsyncClient) -> None:
    with anyio.fail_after(5):
        async with http.stream("GET", CONFIGS, params={"watch": "1"}) as response:
            cluster.server.stop()
            assert await events(response, 1) == []


async def test_lists_come_in_pages(client: Client, http: httpx2.AsyncClient) -> None:
    for index in range(7):
        odd = {"odd": str(index % 2)}
        made: Any = {"metadata": {"name": f"p{index}", "namespace": "default", "labels": odd}}
        await client.create(CONFIG_MAP, made)
    found: list[str] = []
    revisions = set()
    query = {"limit": "2", "labelSelector": "odd=1"}
    while True:
        page = (await http.get(CONFIGS, params=query)).json()
        found += [item["metadata"]["name"] for item in page["items"]]
        revisions.add(page["metadata"]["resourceVersion"])
        if "continue" not in page["metadata"]:
            break
        query["continue"] = page["metadata"]["continue"]
    assert found == ["p1", "p3", "p5"]
    assert len(revisions) == 1
    named = await http.get(CONFIGS, params={"fieldSelector": "metadata.name=p4"})
    assert [item["metadata"]["name"] for item in named.json()["items"]] == ["p4"]
    ahead = await http.get(CONFIGS, params={"resourceVersion": "999999"})
    assert ahead.status_code == 504
    for query in ({"continue": "junk"}, {"limit": "-1"}, {"fieldSelector": "spec.x=1"}):
        assert (await http.get(CONFIGS, params=query)).status_code == 400


async def test_a_new_definition_is_served_at_once(client: Client) -> None:
    thing = Kind("example.com", "v1", "Thing", "things", namespaced=False)
    definition: Any = {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": ANYTHING},
                {"name": "v2", "served": True, "storage": False, "schema": ANYTHING},
            ],
        },
    }
    with pytest.raises(NotFoundError):
        await client.list(thing)
    made = await client.create(CRD, definition)
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    await client.create(thing, {"metadata": {"name": "x"}})
    other = await client.get(thing._replace(version="v2"), "x")
    assert other["apiVersion"] == "example.com/v2"
    changed = await client.merge(thing._replace(version="v2"), "x", "", {"spec": {"a": 1}})
    assert changed["apiVersion"] == "example.com/v2"
    assert (await client.get(thing, "x"))["apiVersion"] == "example.com/v1"
    await client.delete(CRD, "things.example.com")

    async def gone() -> bool:
        try:
            await client.get(CRD, "things.example.com")
        except NotFoundError:
            return True
        return False

    await until(gone)
    with pytest.raises(NotFoundError):
        await client.list(thing)


THING: Any = {
    "metadata": {"name": "things.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": ANYTHING}],
    },
}


async def absent(client: Client, kind: Kind, name: str) -> bool:
    return all(found["metadata"]["name"] != name for found in await client.list(kind))


async def test_no_object_outlives_its_definition(cluster: Cluster, client: Client) -> None:
    await client.create(NAMESPACE, {"metadata": {"name": "team"}})
    await client.create(CRD, THING)
    sent: list[Any] = []

    async def late_body() -> Any:
        await client.delete(CRD, "things.example.org")
        await until(lambda: absent(client, CRD, "things.example.org"))
        body = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}}
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/apis/example.org/v1/namespaces/team/things"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await cluster.server.asgi(scope, late_body, send)
    assert sent[0]["status"] == 404
    await client.delete(NAMESPACE, "team")
    await until(lambda: absent(client, NAMESPACE, "team"))


async def test_nothing_is_created_under_a_definition_that_goes(
    client: Client, http: httpx2.AsyncClient
) -> None:
    thing = Kind("example.org", "v1", "Thing", "things")
    await client.create(CRD, THING)
    held: Any = {"metadata": {"name": "x", "namespace": "default", "finalizers": ["a.b/c"]}}
    await client.create(thing, held)
    await client.delete(CRD, "things.example.org")
    other = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "y"}}
    refused = await http.post("/apis/example.org/v1/namespaces/default/things", json=other)
    assert (refused.status_code, refused.json()["reason"]) == (405, "MethodNotAllowed")
    release = cast(Object, {"metadata": {"finalizers": None}})
    await client.merge(thing, "x", "default", release)
    await until(lambda: absent(client, CRD, "things.example.org"))


async def test_what_nobody_serves_does_not_hold_a_namespace(tmp_path: Path) -> None:
    async with Store(tmp_path / "api.db", history=HISTORY) as store:
        stray = {"metadata": {"name": "x", "namespace": "team", "uid": "u"}}
        await store.write(Write(Address("things.example.org", "team", "x"), None, stray))
    async with running(tmp_path) as cluster, Client(cluster.kubeconfig()) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "team"}})
        await client.delete(NAMESPACE, "team")
        await until(lambda: absent(client, NAMESPACE, "team"))


async def test_a_deleted_namespace_empties_and_goes(client: Client) -> None:
    await client.create(NAMESPACE, {"metadata": {"name": "team"}})
    held = cast(
        Object, {"metadata": {"name": "held", "namespace": "team", "finalizers": ["a.b/c"]}}
    )
    await client.create(CONFIG_MAP, held)
    await client.create(INFERENCE_SERVICE, service(namespace="team"))
    await client.delete(NAMESPACE, "team")

    async def emptied() -> bool:
        return await client.list(INFERENCE_SERVICE, "team") == []

    await until(emptied)
    namespace = await client.get(NAMESPACE, "team")
    assert namespace["status"]["phase"] == "Terminating"
    assert "deletionTimestamp" in (await client.get(CONFIG_MAP, "held", "team"))["metadata"]
    with pytest.raises(DeniedError, match="because it is being terminated"):
        await client.create(INFERENCE_SERVICE, service(namespace="team"))
    release = cast(Object, {"metadata": {"finalizers": None}})
    await client.merge(CONFIG_MAP, "held", "team", release)

    async def gone() -> bool:
        return all(n["metadata"]["name"] != "team" for n in await client.list(NAMESPACE))

    await until(gone)
    with pytest.raises(DeniedError, match="this namespace may not be deleted"):
        await client.delete(NAMESPACE, "default")


async def test_what_is_owned_goes_with_its_owner(client: Client, http: httpx2.AsyncClient) -> None:
    def owned(name: str, owner: Any) -> Any:
        reference = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        return {"metadata": {"name": name, "namespace": "default", "ownerReferences": [reference]}}

    first = await client.create(INFERENCE_SERVICE, service("first"))
    second = await client.create(INFERENCE_SERVICE, service("second"))
    await client.create(CONFIG_MAP, owned("goes", first))
    both = owned("both", first)
    both["metadata"]["ownerReferences"] += owned("x", second)["metadata"]["ownerReferences"]
    await client.create(CONFIG_MAP, both)
    await client.create(CONFIG_MAP, owned("stays", second))
    await client.delete(INFERENCE_SERVICE, "first", "default")

    async def collected() -> bool:
        names = {o["metadata"]["name"] for o in await client.list(CONFIG_MAP, "default")}
        return names == {"both", "stays"}

    await until(collected)
    orphan = {"propagationPolicy": "Orphan"}
    other = {**orphan, "preconditions": {"uid": "other"}}
    refused = await http.request("DELETE", f"{SERVICES}/second", json=other)
    assert refused.status_code == 409
    stays = await client.get(CONFIG_MAP, "stays", "default")
    assert stays["metadata"]["ownerReferences"][0]["name"] == "second"
    await http.request("DELETE", f"{SERVICES}/second", json=orphan)
    await until(lambda: absent(client, INFERENCE_SERVICE, "second"))
    stays = await client.get(CONFIG_MAP, "stays", "default")
    assert not stays["metadata"].get("ownerReferences")
    assert await collected()
    await client.create(CONFIG_MAP, owned("late", second))
    await until(collected)


async def test_deleting_by_uid_and_many(client: Client, http: httpx2.AsyncClient) -> None:
    made = await client.create(CONFIG_MAP, config("a"))
    wrong = {"preconditions": {"uid": "other"}}
    refused = await http.request("DELETE", f"{CONFIGS}/a", json=wrong)
    assert refused.status_code == 409
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    done = await http.request("DELETE", f"{CONFIGS}/a", json=right)
    assert done.json()["status"] == "Success"
    assert done.json()["details"]["uid"] == made["metadata"]["uid"]
    for name in ("b", "c"):
        await client.create(CONFIG_MAP, config(name))
    gone = await http.delete(CONFIGS, params={"fieldSelector": "metadata.name!=c"})
    assert [item["metadata"]["name"] for item in gone.json()["items"]] == ["b"]
    assert [o["metadata"]["name"] for o in await client.list(CONFIG_MAP, "default")] == ["c"]


async def test_many_are_deleted_by_two_at_once(http: httpx2.AsyncClient) -> None:
    for index in range(30):
        await http.post(CONFIGS, json=config(f"c{index}"))
    answers: list[Any] = []

    async def delete() -> None:
        answers.append(await http.delete(CONFIGS))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete)
        tasks.start_soon(delete)
    assert [answer.status_code for answer in answers] == [200, 200]
    gone = [item["metadata"]["name"] for answer in answers for item in answer.json()["items"]]
    assert sorted(gone) == sorted(f"c{index}" for index in range(30))


async def test_dry_run_writes_nothing(http: httpx2.AsyncClient) -> None:
    dry = {"dryRun": "All"}
    made = await http.post(CONFIGS, params=dry, json=config("a"))
    assert made.status_code == 201
    assert made.json()["metadata"]["uid"]
    assert (await http.get(f"{CONFIGS}/a")).status_code == 404
    assert (await http.get(CONFIGS)).json()["items"] == []
    await http.post(CONFIGS, json=config("a"))
    patched = await http.patch(
        f"{CONFIGS}/a",
        params=dry,
        json={"data": {"x": "1"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert patched.json()["data"] == {"x": "1"}
    await http.delete(f"{CONFIGS}/a", params=dry)
    assert "data" not in (await http.get(f"{CONFIGS}/a")).json().get("data", {})
    assert (await http.post(CONFIGS, params={"dryRun": "Some"}, json={})).status_code == 422


async def test_bad_requests_answer_with_a_status(http: httpx2.AsyncClient) -> None:
    json_type = {"Content-Type": "application/json"}
    merge = {"Content-Type": "application/merge-patch+json"}
    strategic = {"Content-Type": "application/strategic-merge-patch+json"}
    json_patch = {"Content-Type": "application/json-patch+json"}
    deep = [
        {"op": "add", "path": "/new", "value": {}},
        {"op": "move", "from": "/a", "path": "/new/x"},
        {"op": "move", "from": "/new", "path": "/a"},
    ] * 400
    deep.insert(0, {"op": "add", "path": "/a", "value": {}})
    services = CONFIGS.replace("configmaps", "services")
    await http.post(CONFIGS, json=config("c"))
    await http.post(SERVICES, json={**service(), "apiVersion": "serving.kserve.io/v1beta1",
                                    "kind": "InferenceService"})  # fmt: skip
    cases: list[tuple[int, str, tuple[Any, ...], dict[str, Any]]] = [
        (404, "NotFound", ("GET", "/api/v1/namespaces/default/nothings"), {}),
        (404, "NotFound", ("GET", "/apis/no.example/v1/things"), {}),
        (404, "NotFound", ("GET", "/nowhere"), {}),
        (404, "NotFound", ("GET", f"{CONFIGS}/c/status"), {}),
        (404, "NotFound", ("GET", "/api/v1/configmaps/c"), {}),
        (405, "MethodNotAllowed", ("POST", "/api/v1/configmaps"), {"json": config()}),
        (405, "MethodNotAllowed", ("PUT", CONFIGS), {"json": config()}),
        (400, "BadRequest", ("POST", CONFIGS), {"content": b"{", "headers": json_type}),
        (400, "BadRequest", ("POST", CONFIGS), {"json": {"kind": "Pod"}}),
        (400, "BadRequest", ("POST", CONFIGS), {"json": {"metadata": {"resourceVersion": "1"}}}),
        (422, "Invalid", ("POST", CONFIGS), {"json": {"metadata": {}}}),
        (413, "RequestEntityTooLarge", ("POST", CONFIGS), {"content": b"x" * 200_000}),
        (415, "UnsupportedMediaType", ("POST", CONFIGS), {"content": b"x",
            "headers": {"Content-Type": "text/html"}}),
        (415, "UnsupportedMediaType", ("PATCH", f"{CONFIGS}/c"), {"content": b"{}",
            "headers": json_type}),
        (415, "UnsupportedMediaType", ("PATCH", f"{SERVICES}/fraud"), {"content": b"{}",
            "headers": strategic}),
        (400, "BadRequest", ("PATCH", f"{CONFIGS}/c"), {"content": b"[]", "headers": merge}),
        (400, "BadRequest", ("PATCH", f"{CONFIGS}/c"), {"content": b"{", "headers": merge}),
        (400, "BadRequest", ("PATCH", f"{CONFIGS}/c"), {"json": deep, "headers": json_patch}),
        (400, "BadRequest", ("PATCH", f"{SERVICES}/fraud"), {"json": deep, "headers": json_patch}),
        (422, "Invalid", ("PATCH", f"{CONFIGS}/c"), {
            "json": [{"op": "remove", "path": ""}], "headers": json_patch}),
        (400, "BadRequest", ("POST", services), {
            "json": {"metadata": {"name": "s"}, "spec": {"ports": [1]}}}),
        (400, "BadRequest", ("DELETE", f"{CONFIGS}/c"), {"json": {"preconditions": "x"}}),
        (400, "BadRequest", ("DELETE", f"{CONFIGS}/c"), {"json": {"preconditions": {"uid": 1}}}),
        (400, "BadRequest", ("DELETE", f"{CONFIGS}/c"), {"json": ["x"]}),
        (400, "BadRequest", ("GET", CONFIGS), {"params": {"labelSelector": "=="}}),
        (400, "BadRequest", ("GET", CONFIGS), {"params": {"watch": "1", "resourceVersion": "x"}}),
        (422, "Invalid", ("PUT", f"{SERVICES}/fraud"), {"json": {
            **service(), "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}}),
    ]  # fmt: skip
    for code, reason, request, rest in cases:
        answer = await http.request(*request, **rest)
        assert answer.status_code == code, (request, answer.text)
        status = answer.json()
        assert (status["kind"], status["apiVersion"]) == ("Status", "v1")
        assert (status["code"], status["reason"], status["status"]) == (code, reason, "Failure")


async def test_json_and_strategic_patches(http: httpx2.AsyncClient) -> None:
    await http.post(CONFIGS, json=config("c", a="1"))
    patched = await http.patch(
        f"{CONFIGS}/c",
        json=[{"op": "replace", "path": "/data/a", "value": "2"}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert patched.json()["data"] == {"a": "2"}
    failed = await http.patch(
        f"{CONFIGS}/c",
        json=[{"op": "test", "path": "/data/a", "value": "1"}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert (failed.status_code, failed.json()["reason"]) == (422, "Invalid")
    merged = await http.patch(
        f"{CONFIGS}/c",
        json={"data": {"$patch": "replace", "b": "3"}},
        headers={"Content-Type": "application/strategic-merge-patch+json"},
    )
    assert merged.json()["data"] == {"b": "3"}


async def test_who_may_enter(cluster: Cluster, client: Client) -> None:
    await welcome(client, ["edge-1"])
    async with cluster.http("") as nobody:
        assert (await nobody.get("/healthz")).text == "ok"
        assert (await nobody.get("/version")).json()["gitVersion"].startswith("v1.32.")
        refused = await nobody.get(CONFIGS)
        assert (refused.status_code, refused.json()["reason"]) == (401, "Unauthorized")
    async with Client(cluster.kubeconfig("edge-token")) as edge:
        await edge.create(INFERENCE_SERVICE, service(namespace="edge-1"))
        assert len(await edge.list(INFERENCE_SERVICE, "edge-1")) == 1
        with pytest.raises(DeniedError):
            await edge.list(INFERENCE_SERVICE)
        with pytest.raises(DeniedError):
            await edge.create(SECRET, {"metadata": {"name": "x", "namespace": "default"}})


async def test_a_cluster_keeps_to_its_namespace(cluster: Cluster, client: Client) -> None:
    await welcome(client, ["edge-1"])
    made = await client.get(NAMESPACE, "edge-1")
    merge = {"Content-Type": "application/merge-patch+json"}
    label = {"metadata": {"labels": {"mine": "yes"}}}
    definitions = "/apis/apiextensions.k8s.io/v1/namespaces/edge-1/customresourcedefinitions"
    runtimes = "/apis/serving.kserve.io/v1alpha1/namespaces/edge-1/clusterservingruntimes"
    body = {"metadata": {"name": "x"}}
    async with cluster.http("edge-token") as edge:
        own = await edge.post("/api/v1/namespaces/edge-1/configmaps", json=body)
        assert own.status_code == 201
        for end in ("%09", "%0D", "%0A", "%09%0D/", "/", "", "%00"):
            for method in ("PATCH", "DELETE", "PUT"):
                path = f"/api/v1/namespaces/edge-1/{end}"
                answer = await edge.request(method, path, json=label, headers=merge)
                assert answer.status_code == 403, (method, path)
        for path, code in (
            ("/api/v1/namespaces/edge-1/namespaces", 403),
            ("/api/v1/namespaces", 403),
            (f"{CONFIGS}?dryRun=All", 403),
            (definitions, 403),
            (runtimes, 404),
        ):
            assert (await edge.post(path, json=body)).status_code == code, path
        elsewhere = {"metadata": {"name": "y", "namespace": "default"}}
        moved = await edge.post("/api/v1/namespaces/edge-1/configmaps", json=elsewhere)
        assert moved.status_code == 400
    assert await client.get(NAMESPACE, "edge-1") == made


async def test_old_openapi_has_a_legal_media_type(http: httpx2.AsyncClient) -> None:
    asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = await http.get("/openapi/v2", headers={"Accept": asked})
    told = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert answer.headers["content-type"] == told


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as first, Client(first.kubeconfig()) as client:
        made = await client.create(INFERENCE_SERVICE, service())
        definitions = await client.list(CRD)
        await client.create(NAMESPACE, {"metadata": {"name": "team"}})
    async with running(tmp_path) as second, Client(second.kubeconfig()) as client:
        assert await client.get(INFERENCE_SERVICE, "fraud", "default") == made
        assert await client.list(CRD) == definitions
        assert len(await client.list(NAMESPACE)) == 4
        assert second.authority == first.authority
