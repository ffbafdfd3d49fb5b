"""kubectl against the embedded API: what people type must do what they know."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

SERVER = """
import sys
from pathlib import Path
import anyio
from towpath import apiserver
from towpath.auth import Guard, Identity, Tokens
from towpath.settings import Api
from towpath.web import kubernetes_status, listen, serve

async def main(home: Path) -> None:
    certificate = apiserver.ensure(home / "tls")
    admin = Identity("admin", frozenset({apiserver.ADMINISTRATORS}))
    async with apiserver.Store(home / "api.db") as store, anyio.create_task_group() as tasks:
        server = apiserver.ApiServer(store, Api())
        guarded = Guard(server.asgi, Tokens([("t", admin)]), apiserver.rule, kubernetes_status)
        sock = listen("127.0.0.1", 0)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        async def run(*, task_status):
            paths = (str(certificate.chain), str(certificate.key))
            await serve(guarded, sock, certificate=paths, task_status=task_status)
        await tasks.start(run)
        config = apiserver.kubeconfig(url, certificate.authority, "t", "test")
        apiserver.write_kubeconfig(home / "kubeconfig", config)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()

anyio.run(main, Path(sys.argv[1]))
"""

SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud", "namespace": "default"},
    "spec": {
        "predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "oci://x@sha256:0"}}
    },
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "box", "namespace": "default"},
    "spec": {
        "containers": [{"name": "main", "image": "a:1", "env": [{"name": "A", "value": "1"}]}]
    },
}

Kubectl = Callable[..., str]


@contextmanager
def serving(home: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=15)
        process.stdout.close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What kubectl needs to reach one embedded API for all tests here."""
    home = tmp_path_factory.mktemp("api")
    with serving(home):
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(home / "kubeconfig"),
        }


@pytest.fixture
def run(kubectl: str, environment: dict[str, str]) -> Kubectl:
    """Runs kubectl and gives what it prints; with ``fails``, what it complains about."""

    def call(*arguments: str, stdin: object = None, fails: bool = False, code: int = 0) -> str:
        text = "" if stdin is None else stdin if isinstance(stdin, str) else json.dumps(stdin)
        done = subprocess.run(
            [kubectl, *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode != 0) if fails else (done.returncode == code), done.stderr
        return done.stderr if fails else done.stdout + done.stderr

    return call


@pytest.fixture
def service(run: Kubectl) -> Iterator[None]:
    """An InferenceService named fraud."""
    run("apply", "-f", "-", stdin=SERVICE)
    yield
    run("delete", "isvc", "fraud", "--ignore-not-found")


def test_discovery(run: Kubectl) -> None:
    rows = run("api-resources", "--no-headers").splitlines()
    kinds = {row.split()[-1]: row.split() for row in rows}
    assert kinds["InferenceService"][:2] == ["inferenceservices", "isvc"]
    assert kinds["Application"][:2] == ["applications", "app,apps"]
    assert {"Namespace", "ConfigMap", "Secret", "Lease", "CustomResourceDefinition"} <= kinds.keys()
    assert "serving.kserve.io/v1beta1" in run("api-versions").split()
    version = yaml.safe_load(run("version", "-o", "yaml"))
    assert version["serverVersion"]["gitVersion"].startswith("v1.32.")
    assert run("get", "--raw", "/readyz") == "ok"


def test_apply_on_the_client_side(run: Kubectl) -> None:
    assert "fraud created" in run("apply", "-f", "-", stdin=SERVICE)
    assert "fraud unchanged" in run("apply", "-f", "-", stdin=SERVICE)
    changed = {**SERVICE, "spec": {"predictor": {"minReplicas": 2}}}
    assert run("diff", "-f", "-", stdin=SERVICE) == ""
    assert "+    minReplicas: 2" in run("diff", "-f", "-", stdin=changed, code=1)
    assert "fraud configured" in run("apply", "-f", "-", stdin=changed)
    found = yaml.safe_load(run("get", "isvc", "fraud", "-o", "yaml"))
    assert found["spec"] == {"predictor": {"minReplicas": 2}}
    assert found["metadata"]["generation"] == 2
    assert 'inferenceservice.serving.kserve.io "fraud" deleted' in run(
        "delete", "-f", "-", stdin=SERVICE
    )


def test_apply_on_the_server_side(run: Kubectl, service: None) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    run(*apply, stdin=SERVICE)
    other = {**SERVICE, "spec": {"predictor": {"model": {"storageUri": "oci://y@sha256:1"}}}}
    conflict = run(*apply, "--field-manager=other", stdin=other, fails=True)
    assert "conflict" in conflict
    assert ".spec.predictor.model.storageUri" in conflict
    run(*apply, "--field-manager=other", "--force-conflicts", stdin=other)
    found = run("get", "isvc", "fraud", "-o", "jsonpath={.spec.predictor.model.storageUri}")
    assert found == "oci://y@sha256:1"
    managed = run("get", "isvc", "fraud", "--show-managed-fields", "-o", "yaml")
    managers = {e["manager"] for e in yaml.safe_load(managed)["metadata"]["managedFields"]}
    assert {"kubectl", "other"} <= managers


def test_built_in_kinds_merge_their_lists(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=POD)
    patch = {"spec": {"containers": [{"name": "main", "image": "a:2"}, {"name": "second"}]}}
    run("patch", "pod", "box", "-p", json.dumps(patch))
    more = json.loads(json.dumps(POD))
    more["spec"]["containers"][0]["env"] = [{"name": "B", "value": "2"}]
    run("apply", "-f", "-", stdin=more)
    containers = json.loads(run("get", "pod", "box", "-o", "json"))["spec"]["containers"]
    assert [c["name"] for c in containers] == ["main", "second"]
    assert containers[0]["env"] == [{"name": "B", "value": "2"}]
    run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=POD)
    assert run("get", "pods", "--no-headers").split()[:4] == ["box", "0/2", "Pending", "0"]
    run("delete", "pod", "box", "--grace-period=0", "--force")


def test_get_prints_rows(run: Kubectl, service: None) -> None:
    status = {"status": {"url": "http://x", "conditions": [{"type": "Ready", "status": "True"}]}}
    run("patch", "isvc", "fraud", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    heading, row = run("get", "inferenceservices", "-A").splitlines()
    assert heading.split()[:5] == ["NAMESPACE", "NAME", "URL", "READY", "PREV"]
    assert row.split()[:4] == ["default", "fraud", "http://x", "True"]
    assert row.split()[-1].endswith("s")
    assert run("get", "isvc", "-o", "name") == "inferenceservice.serving.kserve.io/fraud\n"
    assert run("get", "isvc", "-l", "no=such").startswith("No resources found")
    custom = run("get", "isvc", "-o", "custom-columns=N:.metadata.name", "--no-headers")
    assert custom == "fraud\n"
    wait = run("wait", "isvc/fraud", "--for=jsonpath={.status.url}=http://x", "--timeout=10s")
    assert "condition met" in wait
    assert "condition met" in run("wait", "isvc/fraud", "--for=condition=Ready", "--timeout=10s")


def test_watch_prints_changes(
    kubectl: str, environment: dict[str, str], run: Kubectl, service: None
) -> None:
    watch = subprocess.Popen(
        [kubectl, "get", "isvc", "fraud", "-w"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline().startswith("NAME")
        assert watch.stdout.readline().startswith("fraud")
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        run("patch", "isvc", "fraud", "--subresource=status", "--type=merge", "-p",
            json.dumps(ready))  # fmt: skip
        assert watch.stdout.readline().split()[:2] == ["fraud", "True"]
    finally:
        watch.terminate()
        watch.wait(timeout=10)
        watch.stdout.close()


def test_wait_for_something_that_comes_later(
    kubectl: str, environment: dict[str, str], run: Kubectl, service: None
) -> None:
    wait = subprocess.Popen(
        [kubectl, "wait", "isvc/fraud", "--for=jsonpath={.status.url}=http://later"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    status = {"status": {"url": "http://later"}}
    run("patch", "isvc", "fraud", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    out, _ = wait.communicate(timeout=30)
    assert "condition met" in out
    assert wait.returncode == 0


def test_describe(run: Kubectl, service: None) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "fraud.1", "namespace": "default"},
        "involvedObject": {
            "kind": "InferenceService",
            "namespace": "default",
            "name": "fraud",
            "uid": run("get", "isvc", "fraud", "-o", "jsonpath={.metadata.uid}"),
        },
        "reason": "Fetched",
        "message": "fetched the model",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    run("create", "-f", "-", stdin=event)
    text = run("describe", "isvc", "fraud")
    assert "Storage Uri:  oci://x@sha256:0" in text
    assert "fetched the model" in text
    assert "inferenceservice/fraud" in run("get", "events")
    run("delete", "event", "fraud.1")


def test_explain(run: Kubectl) -> None:
    text = run("explain", "inferenceservice.spec.predictor.model")
    assert "storageUri" in text
    assert "KIND:       InferenceService" in text
    assert "KIND:       ConfigMap" in run("explain", "configmap")


def test_create_by_command(run: Kubectl) -> None:
    run("create", "namespace", "team")
    run("create", "configmap", "c", "-n", "team", "--from-literal=a=b")
    run("create", "secret", "generic", "s", "-n", "team", "--from-literal=p=q")
    run("create", "serviceaccount", "bob", "-n", "team")
    run("create", "service", "clusterip", "web", "-n", "team", "--tcp=80:8080")
    assert run("get", "cm", "c", "-n", "team", "-o", "jsonpath={.data.a}") == "b"
    assert run("get", "secret", "s", "-n", "team", "-o", "jsonpath={.data.p}") == "cQ=="
    port = json.loads(run("get", "svc", "web", "-n", "team", "-o", "json"))["spec"]["ports"][0]
    assert port == {"name": "80-8080", "port": 80, "protocol": "TCP", "targetPort": 8080}
    assert "AlreadyExists" in run("create", "namespace", "team", fails=True)
    run("label", "cm", "c", "-n", "team", "on=yes")
    run("annotate", "cm", "c", "-n", "team", "why=test")
    assert "c " in run("get", "cm", "-n", "team", "-l", "on in (yes, maybe)")
    assert "b" in run("describe", "cm", "c", "-n", "team")
    assert 'namespace "team" deleted' in run("delete", "namespace", "team", "--wait")
    assert "NotFound" in run("get", "namespace", "team", fails=True)
    assert run("get", "all,cm,secrets", "-n", "team").startswith("No resources found")


@pytest.mark.parametrize("verb", ["apply", "create"])
def test_a_list_of_several_kinds(run: Kubectl, verb: str) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "listed"}}
    both = {"apiVersion": "v1", "kind": "List", "items": [config, SERVICE]}
    made = run(verb, "-f", "-", stdin=both)
    assert "configmap/listed created" in made
    assert "inferenceservice.serving.kserve.io/fraud created" in made
    gone = run("delete", "-f", "-", stdin=both)
    assert gone.count("deleted") == 2


def test_rows_are_printed_whatever_is_tried(run: Kubectl) -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"},
             "spec": {"ports": [1]}}  # fmt: skip
    told = run("create", "--validate=false", "-f", "-", stdin=wrong, fails=True)
    assert "spec.ports[0] must be an object" in told
    run("get", "svc", "-A")


def test_what_is_not_there(run: Kubectl) -> None:
    missing = run("get", "isvc", "nobody", fails=True)
    assert missing == (
        'Error from server (NotFound): inferenceservices.serving.kserve.io "nobody" not found\n'
    )
    assert "doesn't have a resource type" in run("get", "nothings", fails=True)
    nowhere = {**SERVICE, "metadata": {"name": "x", "namespace": "nowhere"}}
    assert 'namespaces "nowhere" not found' in run("apply", "-f", "-", stdin=nowhere, fails=True)


def test_upstream_definitions(run: Kubectl, shared: Path) -> None:
    folder = shared / "schemas" / "crds"
    small = ("kserve-inferencegraphs", "ocm-managedclusters", "ocm-placements")
    for name in small:
        run("apply", "--server-side", "-f", str(folder / f"{name}.yaml"))
    run("apply", "-f", str(folder / "kserve-inferenceservices.yaml"))  # over our own
    run("wait", "crd/placements.cluster.open-cluster-management.io", "--for=condition=Established")
    cluster = {
        "apiVersion": "cluster.open-cluster-management.io/v1",
        "kind": "ManagedCluster",
        "metadata": {"name": "edge-1"},
        "spec": {"hubAcceptsClient": True},
    }
    run("apply", "-f", "-", stdin=cluster)
    assert "HUB ACCEPTED" in run("get", "managedclusters").splitlines()[0]
    run("delete", "crd", "managedclusters.cluster.open-cluster-management.io", "--wait")
    assert "NotFound" in run("get", "managedclusters", fails=True)
