"""What goes, what waits and what is made anew in the embedded API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx2
import pytest

from towpath.apiserver import Store
from towpath.apiserver.record import Address, Write

pytestmark = pytest.mark.anyio

CONFIGS = "/api/v1/namespaces/default/configmaps"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.org/v1/namespaces/default/widgets"
WIDGET = "widgets.example.org"
MERGE = {"Content-Type": "application/merge-patch+json"}


def config(name: str = "c", **data: str) -> Any:
    return {"metadata": {"name": name}, "data": data}


def deployment(name: str = "web", replicas: int = 1) -> Any:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "a:1"}]},
            },
        },
    }


def definition() -> Any:
    schema = {"type": "object", "properties": {"spec": {"type": "object"}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "metadata": {"name": WIDGET},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version],
        },
    }


def widget(name: str = "w", **metadata: Any) -> Any:
    kind = {"apiVersion": "example.org/v1", "kind": "Widget"}
    return {**kind, "metadata": {"name": name, **metadata}}


def owned(name: str, owner: Any, *, blocks: bool = False, **more: Any) -> Any:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    }
    return {"metadata": {"name": name, "ownerReferences": [reference], **more}}


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not await condition():
            await anyio.sleep(0.01)


async def gone(http: httpx2.AsyncClient, path: str) -> bool:
    return (await http.get(path)).status_code == 404


async def made(http: httpx2.AsyncClient, path: str, obj: Any) -> Any:
    answer = await http.post(path, json=obj)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_foreground(http: httpx2.AsyncClient) -> None:
    owner = await made(http, CONFIGS, config("owner"))
    owner |= {"apiVersion": "v1", "kind": "ConfigMap"}
    await made(http, CONFIGS, owned("held", owner, blocks=True, finalizers=["a.b/c"]))
    await made(http, CONFIGS, owned("loose", owner))
    foreground = {"propagationPolicy": "Foreground"}
    answer = await http.request("DELETE", f"{CONFIGS}/owner", json=foreground)
    assert answer.json()["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert "deletionTimestamp" in answer.json()["metadata"]

    async def marked() -> bool:
        return "deletionTimestamp" in (await http.get(f"{CONFIGS}/held")).json()["metadata"]

    await until(marked)
    assert not await gone(http, f"{CONFIGS}/owner")
    release = {"metadata": {"finalizers": None}}
    await http.patch(f"{CONFIGS}/held", json=release, headers=MERGE)
    for name in ("held", "owner", "loose"):
        path = f"{CONFIGS}/{name}"
        await until(lambda path=path: gone(http, path))


async def test_foreground_in_a_circle(http: httpx2.AsyncClient) -> None:
    first = await made(http, CONFIGS, config("first"))
    first |= {"apiVersion": "v1", "kind": "ConfigMap"}
    second = await made(http, CONFIGS, owned("second", first, blocks=True))
    second |= {"apiVersion": "v1", "kind": "ConfigMap"}
    back = {"metadata": owned("first", second, blocks=True)["metadata"]}
    await http.patch(f"{CONFIGS}/first", json=back, headers=MERGE)
    foreground = {"propagationPolicy": "Foreground"}
    await http.request("DELETE", f"{CONFIGS}/first", params=foreground)
    await until(lambda: gone(http, f"{CONFIGS}/first"))
    await until(lambda: gone(http, f"{CONFIGS}/second"))


async def test_orphan_survives_a_stop_in_between(serving: Any) -> None:
    async with Store() as store:
        async with serving(store) as first:
            owner = await made(first, CONFIGS, config("owner"))
            owner |= {"apiVersion": "v1", "kind": "ConfigMap"}
            await made(first, CONFIGS, owned("kept", owner))
        # What a server leaves that stops right after its answer.
        address = Address("configmaps", "default", "owner")
        record = await store.get(address)
        assert record is not None
        obj = record.object()
        marks = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan"]}
        obj["metadata"] |= marks
        await store.write(Write(address, record, obj))
        async with serving(store) as second:
            await until(lambda: gone(second, f"{CONFIGS}/owner"))
            kept = (await second.get(f"{CONFIGS}/kept")).json()
            assert not kept["metadata"].get("ownerReferences")


async def test_a_job_leaves_what_it_owns(http: httpx2.AsyncClient) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = deployment()["spec"]["template"]
    template["spec"]["restartPolicy"] = "Never"
    job = await made(http, jobs, {"metadata": {"name": "j"}, "spec": {"template": template}})
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    await made(http, CONFIGS, owned("kept", job))
    await http.delete(f"{jobs}/j")
    await until(lambda: gone(http, f"{jobs}/j"))
    kept = (await http.get(f"{CONFIGS}/kept")).json()
    assert not kept["metadata"].get("ownerReferences")


async def test_what_cannot_be_owned_stays(http: httpx2.AsyncClient) -> None:
    owner = await made(http, CONFIGS, config("owner"))
    owner |= {"apiVersion": "v1", "kind": "ConfigMap"}
    namespace = owned("n", owner)
    await made(http, "/api/v1/namespaces", namespace)
    await made(http, "/api/v1/namespaces/n/configmaps", owned("elsewhere", owner))
    await until(lambda: gone(http, "/api/v1/namespaces/n/configmaps/elsewhere"))
    assert not await gone(http, "/api/v1/namespaces/n")


async def test_what_custom_objects_own_goes_with_their_definition(http: httpx2.AsyncClient) -> None:
    await made(http, DEFINITIONS, definition())
    widgets = [await made(http, WIDGETS, widget(f"w{number}")) for number in range(3)]
    for number, owner in enumerate(widgets):
        await made(http, CONFIGS, owned(f"c{number}", owner))
    namespace = owned("n", widgets[0])
    await made(http, "/api/v1/namespaces", namespace)
    assert (await http.delete(f"{DEFINITIONS}/{WIDGET}")).status_code == 200
    await until(lambda: gone(http, f"{DEFINITIONS}/{WIDGET}"))
    for number in range(3):
        path = f"{CONFIGS}/c{number}"
        assert await gone(http, path)  # before the definition, so that a crash forgets nothing
    assert not await gone(http, "/api/v1/namespaces/n")


async def test_what_custom_objects_owned_goes_after_a_stop(serving: Any) -> None:
    async with Store() as store:
        async with serving(store) as first:
            await made(first, DEFINITIONS, definition())
            owner = await made(first, WIDGETS, widget())
            await made(first, CONFIGS, owned("c", owner))
            await made(first, CONFIGS, owned("of-nobody-known", {**owner, "kind": "Other"}))
        # What a server leaves that stops once the last object of a definition has gone.
        for address, removed in (
            (Address(WIDGET, "default", "w"), True),
            (Address("customresourcedefinitions.apiextensions.k8s.io", "", WIDGET), False),
        ):
            record = await store.get(address)
            assert record is not None
            obj = record.object()
            cleanup = ["customresourcecleanup.apiextensions.k8s.io"]
            marks = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": cleanup}
            obj["metadata"] |= marks
            await store.write(Write(address, record, None if removed else obj))
        async with serving(store) as second:
            await until(lambda: gone(second, f"{DEFINITIONS}/{WIDGET}"))
            assert await gone(second, f"{CONFIGS}/c")
            assert not await gone(second, f"{CONFIGS}/of-nobody-known")


async def test_a_definition_that_goes_keeps_its_conditions(http: httpx2.AsyncClient) -> None:
    await made(http, DEFINITIONS, definition())
    path = f"{DEFINITIONS}/{WIDGET}"
    theirs = {"type": "Theirs", "status": "True", "reason": "Said", "message": "so"}
    theirs["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    add = [{"op": "add", "path": "/status/conditions/-", "value": theirs}]
    patch = {"Content-Type": "application/json-patch+json"}
    answer = await http.patch(f"{path}/status", json=add, headers=patch)
    assert answer.status_code == 200, answer.text
    await made(http, WIDGETS, widget(finalizers=["a.b/c"]))
    await http.delete(path)
    labels = {"metadata": {"labels": {"a": "b"}}}
    found = (await http.patch(path, json=labels, headers=MERGE)).json()
    types = [condition["type"] for condition in found["status"]["conditions"]]
    assert sorted(types) == ["Established", "NamesAccepted", "Terminating", "Theirs"]
    assert theirs in found["status"]["conditions"]
    await http.patch(f"{WIDGETS}/w", json={"metadata": {"finalizers": None}}, headers=MERGE)
    await until(lambda: gone(http, path))


DELETIONS: list[tuple[Any, int, str]] = [
    ({"propagationPolicy": "x"}, 422, 'Unsupported value: "x"'),
    (
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        422,
        "orphanDependents and deletionPropagation cannot be both set",
    ),
    ({"dryRun": ["x"]}, 422, 'dryRun: Unsupported value: []string{"x"}'),
    ({"preconditions": {"uid": "x"}}, 409, "the UID in the precondition (x) does not match"),
    (
        {"preconditions": {"resourceVersion": "1"}},
        409,
        "the ResourceVersion in the precondition (1) does not match",
    ),
    ({"gracePeriodSeconds": "x"}, 400, "gracePeriodSeconds"),
    ([], 400, "DeleteOptions"),
]


async def test_deletions_that_are_refused(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    for body, code, words in DELETIONS:
        refused = await http.request("DELETE", f"{CONFIGS}/a", json=body)
        assert refused.status_code == code, (body, refused.text)
        assert words in refused.json()["message"]
    assert not await gone(http, f"{CONFIGS}/a")


async def test_what_deletions_answer(http: httpx2.AsyncClient) -> None:
    account = await made(http, "/api/v1/namespaces/default/serviceaccounts", config("a"))
    answer = await http.delete("/api/v1/namespaces/default/serviceaccounts/a")
    assert answer.json()["metadata"]["uid"] == account["metadata"]["uid"]
    await made(http, CONFIGS, config("a"))
    wishes = {"gracePeriodSeconds": "0", "dryRun": "All"}
    dry = await http.delete(f"{CONFIGS}/a", params=wishes)
    assert dry.json()["status"] == "Success"
    foreground = {"dryRun": ["All"], "propagationPolicy": "Foreground"}
    dry = await http.request("DELETE", f"{CONFIGS}/a", json=foreground)
    assert dry.json()["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert "finalizers" not in (await http.get(f"{CONFIGS}/a")).json()["metadata"]
    done = (await http.delete(f"{CONFIGS}/a")).json()
    assert (done["kind"], done["status"], done["details"]["kind"]) == (
        "Status",
        "Success",
        "configmaps",
    )


async def test_a_name_that_is_still_going(http: httpx2.AsyncClient) -> None:
    held = config("a")
    held["metadata"]["finalizers"] = ["a.b/c"]
    await made(http, CONFIGS, held)
    await http.delete(f"{CONFIGS}/a")
    refused = await http.post(CONFIGS, json=config("a"))
    assert refused.status_code == 409
    assert refused.json()["message"] == ('object is being deleted: configmaps "a" already exists')


async def test_many_are_deleted_page_by_page(http: httpx2.AsyncClient) -> None:
    for index in range(5):
        await made(http, CONFIGS, config(f"c{index}"))
    first = await http.request("DELETE", CONFIGS, params={"limit": "2"}, json={})
    assert [item["metadata"]["name"] for item in first.json()["items"]] == ["c0", "c1"]
    assert (await http.delete("/api/v1/namespaces")).status_code == 405


async def test_every_namespace_has_an_account(http: httpx2.AsyncClient) -> None:
    async def there(namespace: str) -> bool:
        return not await gone(http, f"/api/v1/namespaces/{namespace}/serviceaccounts/default")

    await made(http, "/api/v1/namespaces", config("team") | {"data": None})
    for namespace in ("default", "kube-system", "kube-public", "team"):
        await until(lambda namespace=namespace: there(namespace))
    path = "/api/v1/namespaces/team/serviceaccounts/default"
    uid = (await http.get(path)).json()["metadata"]["uid"]
    await http.delete(path)

    async def anew() -> bool:
        found = await http.get(path)
        return found.status_code == 200 and found.json()["metadata"]["uid"] != uid

    await until(anew)


async def test_a_namespace_tells_what_holds_it(http: httpx2.AsyncClient) -> None:
    await made(http, "/api/v1/namespaces", {"metadata": {"name": "team"}})
    held = config("held")
    held["metadata"]["finalizers"] = ["a.b/c"]
    await made(http, "/api/v1/namespaces/team/configmaps", held)
    answer = (await http.delete("/api/v1/namespaces/team")).json()
    assert (answer["kind"], answer["status"]["phase"]) == ("Namespace", "Terminating")

    async def told() -> bool:
        status = (await http.get("/api/v1/namespaces/team")).json()["status"]
        found = {c["type"]: (c["status"], c["message"]) for c in status.get("conditions", ())}
        return found.get("NamespaceFinalizersRemaining") == (
            "True",
            "Some content in the namespace has finalizers remaining: a.b/c in 1 resource instances",
        ) and found["NamespaceContentRemaining"] == (
            "True",
            "Some resources are remaining: configmaps. has 1 resource instances",
        )

    await until(told)
    refused = await http.post("/api/v1/namespaces/team/configmaps", json=config("late"))
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'configmaps "late" is forbidden: unable to create new content in namespace team because '
        "it is being terminated"
    )
    assert refused.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    release = {"metadata": {"finalizers": None}}
    path = "/api/v1/namespaces/team/configmaps/held"
    await http.patch(path, json=release, headers=MERGE)
    await until(lambda: gone(http, "/api/v1/namespaces/team"))


async def test_a_namespace_held_by_somebody_else(http: httpx2.AsyncClient) -> None:
    namespace = {"metadata": {"name": "team"}, "spec": {"finalizers": ["other.org/x"]}}
    made_one = await made(http, "/api/v1/namespaces", namespace)
    assert made_one["spec"]["finalizers"] == ["other.org/x", "kubernetes"]
    await http.delete("/api/v1/namespaces/team")

    async def only_theirs() -> bool:
        found = (await http.get("/api/v1/namespaces/team")).json()
        return found["spec"]["finalizers"] == ["other.org/x"]

    await until(only_theirs)
    now = (await http.get("/api/v1/namespaces/team")).json()
    now["spec"]["finalizers"] = []
    answer = await http.put("/api/v1/namespaces/team/finalize", json=now)
    assert answer.status_code == 200
    await until(lambda: gone(http, "/api/v1/namespaces/team"))


async def test_old_events_go(serving: Any) -> None:
    async with Store() as store:
        path = "/api/v1/namespaces/default/events"
        event = {
            "metadata": {"name": "old"},
            "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"},
        }
        async with serving(store, lambda: datetime.now(UTC) - timedelta(hours=2)) as then:
            await made(then, path, event)
        async with serving(store) as now:
            await made(now, path, {**event, "metadata": {"name": "new"}})
            await until(lambda: gone(now, f"{path}/old"))
            assert not await gone(now, f"{path}/new")
