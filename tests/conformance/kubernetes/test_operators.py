"""Who builds on the API: an operator with kopf, the KServe SDK, lightkube."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import lightkube
import pytest
from lightkube import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.core_v1 import ConfigMap
from tests.conformance.kubernetes.conftest import CLIENTS, Api, Cluster, eventually

Define = Callable[..., str]
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {"size": {"type": "integer", "minimum": 0}},
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.fixture
def operator(
    clients: Path, environment: dict[str, str], group: str, namespace: str, define: Define
) -> Iterator[str]:
    """A running kopf operator for the kind Thing; gives where things are."""
    path = define(SCHEMA, namespace=namespace, subresources={"status": {}})
    process = subprocess.Popen(
        [str(clients), str(CLIENTS / "kopf_operator.py")],
        env={**environment, "GROUP": group, "NAMESPACE": namespace},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield path
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@pytest.mark.timeout(1080)  # the first time, the client is installed
def test_an_operator(operator: str, api: Api, namespace: str, group: str) -> None:
    configs = f"/api/v1/namespaces/{namespace}/configmaps"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}}
    api.made(operator, {**thing, "spec": {"size": 3}})

    found = eventually(lambda: _with(api.got(f"{operator}/x"), "create", "ticks"))
    assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    assert found["status"]["create"] == {"made": "x"}
    planted = api.got(f"{configs}/x")
    assert planted["data"] == {"size": "3"}
    assert planted["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]

    api.patched(f"{operator}/x", {"spec": {"size": 5}})
    resized = eventually(lambda: _with(api.got(f"{operator}/x"), "resize/spec.size"))
    assert resized["status"]["resize/spec.size"] == {"was": 3, "is": 5}
    assert api.got(f"{configs}/x")["data"] == {"size": "5"}
    eventually(lambda: api.got(f"{operator}/x")["status"]["ticks"] == 3)

    events = f"/api/v1/namespaces/{namespace}/events"
    told = eventually(lambda: _reasons(api.got(events), "Planted"))
    assert told[0]["message"] == "planted x"
    assert told[0]["involvedObject"]["uid"] == found["metadata"]["uid"]

    api("DELETE", f"{operator}/x")
    eventually(lambda: api("GET", f"{operator}/x").code == 404)
    assert api("GET", f"{configs}/x-epitaph").code == 200


def _with(found: Any, *keys: str) -> Any:
    return found if set(keys) <= found.get("status", {}).keys() else None


def _reasons(events: Any, reason: str) -> Any:
    return [e for e in events["items"] if e["reason"] == reason]


@pytest.mark.timeout(1080)  # the first time, the client is installed
def test_the_kserve_sdk(
    clients: Path, environment: dict[str, str], namespace: str, api: Api, shared: Path,
    kubectl: str,
) -> None:  # fmt: skip
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices"
    if api("GET", f"{crd}.serving.kserve.io").code == 404:
        file = shared / "schemas" / "crds" / "kserve-inferenceservices.yaml"
        subprocess.run([kubectl, "apply", "-f", str(file)], env=environment, check=True)
        things = "/apis/serving.kserve.io/v1beta1/inferenceservices"
        eventually(lambda: api("GET", things).code == 200)
    ran = subprocess.run(
        [str(clients), str(CLIENTS / "kserve_client.py"), namespace],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout.splitlines()[-1]) == {
        "created": "oci://a/b:1",
        "again": True,
        "got": "oci://a/b:1",
        "listed": 1,
        "patched": "oci://a/b:2",
        "ready before": False,
        "ready": True,
        "replaced": ["oci://a/b:3", {"a": "b"}],
        "url": "http://fraud.example",
        "gone": True,
    }


@pytest.mark.anyio
async def test_lightkube(
    kubernetes_api: Cluster, define: Define, group: str, namespace: str
) -> None:
    define(SCHEMA, namespace=namespace, subresources={"status": {}})
    kind = create_namespaced_resource(group, "v1", "Thing", "things")
    config = lightkube.KubeConfig.from_file(kubernetes_api.kubeconfig)
    client = lightkube.AsyncClient(
        config, namespace=namespace, field_manager="light", trust_env=False,
        timeout=httpx2.Timeout(20),
    )  # fmt: skip
    try:
        await _objects(client)
        await _things(client, kind, namespace)
    finally:
        await client.aclose()


async def _objects(client: Any) -> None:
    body = ConfigMap.from_dict({"metadata": {"name": "c"}, "data": {"a": "1"}})
    made = await client.apply(body)
    assert made.data == {"a": "1"}
    other = ConfigMap.from_dict({"metadata": {"name": "c"}, "data": {"a": "2"}})
    with pytest.raises(ApiError) as refusal:
        await client.apply(other, field_manager="other")
    assert (refusal.value.status.code, refusal.value.status.reason) == (409, "Conflict")
    forced = await client.apply(other, field_manager="other", force=True)
    assert forced.data == {"a": "2"}
    names = [found.metadata.name async for found in client.list(ConfigMap, fields={
        "metadata.name": "c"})]  # fmt: skip
    assert names == ["c"]
    patched = await client.patch(ConfigMap, "c", {"data": {"b": "3"}})
    assert patched.data == {"a": "2", "b": "3"}
    await client.delete(ConfigMap, "c")
    with pytest.raises(ApiError) as missing:
        await client.get(ConfigMap, "c")
    assert missing.value.status.code == 404


async def _things(client: Any, kind: Any, namespace: str) -> None:
    seen: list[tuple[str, int]] = []

    async def look(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for event, found in client.watch(kind):
            seen.append((event, found["spec"]["size"]))
            if event == "DELETED":
                return

    async with anyio.create_task_group() as tasks:
        first = {"metadata": {"name": "x", "namespace": namespace}, "spec": {"size": 1}}
        await client.apply(kind(first), force=True)
        await tasks.start(look)
        await _until(lambda: seen == [("ADDED", 1)])
        await client.apply(kind({**first, "spec": {"size": 2}}), force=True)
        status = kind.Status({**first, "spec": {"size": 9}, "status": {"ready": True}})
        done = cast(Any, await client.apply(status, force=True))
        assert (done["spec"], done["status"]) == ({"size": 2}, {"ready": True})
        with pytest.raises(ApiError) as refusal:
            await client.apply(kind({**first, "spec": {"size": -1}}), force=True)
        assert refusal.value.status.reason == "Invalid"
        await client.delete(kind, "x")
    assert [event for event, _ in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]


async def _until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():
            await anyio.sleep(0.02)
