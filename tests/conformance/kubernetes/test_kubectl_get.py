"""kubectl looks: get in all its forms, explain, describe, wait, discovery."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.conformance.kubernetes.conftest import Api, definition

Kubectl = Callable[..., str]
Define = Callable[..., str]

COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string",
     "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    {"name": "Note", "type": "string", "jsonPath": ".spec.note", "priority": 1},
    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]  # fmt: skip
SCHEMA = {
    "type": "object",
    "description": "A thing to look at.",
    "properties": {
        "spec": {
            "type": "object",
            "description": "What it should be.",
            "properties": {
                "size": {"type": "integer", "description": "How large it is."},
                "note": {"type": "string"},
                "parts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string", "description": "Its name."}},
                    },
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.fixture
def things(define: Define, namespace: str, group: str, api: Api) -> str:
    """Three things, made in this order: large, small and middle."""
    path = define(
        SCHEMA, namespace=namespace, additionalPrinterColumns=COLUMNS, subresources={"status": {}}
    )
    for name, size in (("large", 30), ("small", 1), ("middle", 20)):
        body = {"metadata": {"name": name, "labels": {"even": str(size % 2 == 0).lower()}},
                "apiVersion": f"{group}/v1", "kind": "Thing",
                "spec": {"size": size, "note": f"n-{name}"}}  # fmt: skip
        api.made(path, body)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    api.patched(f"{path}/large/status", ready)
    return f"things.{group}"


def test_rows(run: Kubectl, things: str, namespace: str) -> None:
    rows = [line.split() for line in run("get", things, "-n", namespace).splitlines()]
    assert rows[0] == ["NAME", "SIZE", "READY", "SINCE"]
    assert rows[1][:3] == ["large", "30", "True"]
    assert [row[0] for row in rows[1:]] == ["large", "middle", "small"]
    wide = run("get", things, "-n", namespace, "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "SIZE", "READY", "NOTE", "SINCE"]
    everywhere = run("get", things, "-A").splitlines()
    assert everywhere[0].split()[0] == "NAMESPACE"
    assert {line.split()[0] for line in everywhere[1:]} == {namespace}
    labelled = run("get", things, "-n", namespace, "--show-labels", "-L", "even").splitlines()
    assert labelled[0].split()[-2:] == ["EVEN", "LABELS"]
    assert "even=false" in labelled[-1]


def test_sorted_selected_and_chunked(run: Kubectl, things: str, namespace: str) -> None:
    base = ("get", things, "-n", namespace, "--no-headers", "-o", "custom-columns=N:.metadata.name")
    assert run(*base, "--sort-by=.spec.size").split() == ["small", "middle", "large"]
    assert run(*base, "-l", "even=true").split() == ["large", "middle"]
    assert run(*base, "-l", "even notin (true)").split() == ["small"]
    assert run(*base, "--field-selector", "metadata.name!=large").split() == ["middle", "small"]
    assert run(*base, "--chunk-size=1").split() == ["large", "middle", "small"]
    assert run("get", things, "-n", namespace, "-l", "no=such") == (
        f"No resources found in {namespace} namespace.\n"
    )


def test_formats(run: Kubectl, things: str, namespace: str, group: str) -> None:
    base = ("get", things, "-n", namespace)
    names = run(*base, "-o", "name").split()
    assert names == [f"thing.{group}/{n}" for n in ("large", "middle", "small")]
    one = yaml.safe_load(run(*base, "large", "-o", "yaml"))
    assert (one["kind"], one["spec"]["size"]) == ("Thing", 30)
    assert "managedFields" not in one["metadata"]
    several = json.loads(run(*base, "large", "small", "-o", "json"))
    assert (several["kind"], len(several["items"])) == ("List", 2)
    assert run(*base, "-o", "jsonpath={.items[*].spec.size}") == "30 20 1"
    path = "jsonpath={range .items[?(@.spec.size>10)]}{.metadata.name},{end}"
    assert run(*base, "-o", path) == "large,middle,"
    template = "go-template={{range .items}}{{.metadata.name}}{{end}}"
    assert run(*base, "-o", template) == "largemiddlesmall"
    shown = yaml.safe_load(run(*base, "large", "--show-managed-fields", "-o", "yaml"))
    assert shown["metadata"]["managedFields"]
    assert run("get", "-n", namespace, f"{things}/large", "-o", "jsonpath={.spec.size}") == "30"
    raw = json.loads(run("get", "--raw", f"/apis/{group}/v1/namespaces/{namespace}/things/large"))
    assert raw["metadata"]["name"] == "large"


def test_what_is_not_there(run: Kubectl, things: str, namespace: str) -> None:
    missing = run("get", things, "none", "-n", namespace, fails=True)
    assert missing == f'Error from server (NotFound): {things} "none" not found\n'
    assert run("get", things, "none", "-n", namespace, "--ignore-not-found") == ""
    unknown = run("get", "nothings", fails=True)
    assert unknown == 'error: the server doesn\'t have a resource type "nothings"\n'
    assert "NotFound" in run("get", "--raw", "/api/v1/nothings", fails=True)


def test_watch(
    started: Callable[..., Any], run: Kubectl, things: str, namespace: str, api: Api
) -> None:
    watch = started("get", things, "small", "-n", namespace, "-w")
    assert watch.stdout.readline().split() == ["NAME", "SIZE", "READY", "SINCE"]
    assert watch.stdout.readline().split()[:2] == ["small", "1"]
    run("patch", things, "small", "-n", namespace, "--type=merge", "-p", '{"spec":{"size":5}}')
    assert watch.stdout.readline().split()[:2] == ["small", "5"]
    changes = started(
        "get", things, "-n", namespace, "--watch-only", "--output-watch-events", "--no-headers"
    )
    for n in range(200):  # until it looks
        size = {"spec": {"size": n}}
        api.patched(f"/apis/{_path(things, namespace)}/small", size)
        if n > 5 and _readable(changes.stdout):
            break
    assert changes.stdout.readline().split()[:2] == ["MODIFIED", "small"]


def _path(things: str, namespace: str) -> str:
    plural, _, group = things.partition(".")
    return f"{group}/v1/namespaces/{namespace}/{plural}"


def _readable(stream: Any) -> bool:
    import select

    return bool(select.select([stream], [], [], 0.05)[0])


def test_wait(
    started: Callable[..., Any], run: Kubectl, things: str, namespace: str, api: Api
) -> None:
    base = ("wait", "-n", namespace, "--timeout=20s")
    large, small = f"{things}/large", f"{things}/small"
    assert "condition met" in run(*base, large, "--for=condition=Ready")
    assert "condition met" in run(*base, large, "--for=jsonpath={.spec.size}=30")
    assert "condition met" in run(*base, small, "--for=jsonpath={.spec.note}")
    later = [
        started(*base, small, "--for=condition=Ready=Unknown"),
        started(*base, small, "--for=jsonpath={.status.url}=http://later"),
        started(*base, small, "--for=delete"),
        started(*base, f"{things}/new", "--for=create"),
    ]
    status = {"url": "http://later", "conditions": [{"type": "Ready", "status": "Unknown"}]}
    path = f"/apis/{_path(things, namespace)}"
    api.patched(f"{path}/small/status", {"status": status})
    api.made(path, {**api.got(f"{path}/large"), "metadata": {"name": "new"}})
    for process in (later[0], later[1], later[3]):
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, "condition met" in out) == (0, True)
    run("delete", things, "small", "-n", namespace)
    out, _ = later[2].communicate(timeout=30)
    assert later[2].returncode == 0
    late = run(*base[:3], "--timeout=1s", large, "--for=jsonpath={.spec.size}=31", fails=True)
    assert "timed out waiting for the condition" in late


def test_explain(run: Kubectl, things: str, group: str) -> None:
    api_version = f"--api-version={group}/v1"
    whole = run("explain", "things", api_version)
    assert f"GROUP:      {group}" in whole
    assert "KIND:       Thing" in whole
    assert "A thing to look at." in whole
    assert re.search(r"^  spec\t<Object>\n    What it should be\.", whole, re.MULTILINE)
    field = run("explain", "things.spec.size", api_version)
    assert "FIELD: size <integer>" in field
    assert "How large it is." in field
    part = run("explain", "things.spec.parts", api_version)
    assert "FIELD: parts <[]Object>" in part
    assert re.search(r"^  name\t<string> -required-$", part, re.MULTILINE)
    tree = run("explain", "things", "--recursive", api_version)
    assert re.search(r"^    parts\t<\[\]Object>\n      name\t<string>", tree, re.MULTILINE)
    assert "metadata\t<ObjectMeta>" in tree
    nothing = run("explain", "things.spec.nothing", api_version, fails=True)
    assert 'field "nothing" does not exist' in nothing


def test_explain_of_built_in_kinds(run: Kubectl) -> None:
    container = run("explain", "pod.spec.containers.image")
    assert "FIELD: image <string>" in container
    assert "deployment.spec.strategy" not in container
    assert "maxSurge\t<IntOrString>" in run("explain", "deployment.spec.strategy.rollingUpdate")
    assert "KIND:       ConfigMap" in run("explain", "cm", "--api-version=v1")
    old = run("explain", "deployment.spec.replicas", "--output=plaintext-openapiv2")
    assert "FIELD:    replicas <integer>" in old


def test_discovery(run: Kubectl) -> None:
    rows = run("api-resources", "--no-headers").splitlines()
    kinds = {row.split()[-1]: row.split() for row in rows}
    assert kinds["ConfigMap"] == ["configmaps", "cm", "v1", "true", "ConfigMap"]
    assert kinds["Namespace"] == ["namespaces", "ns", "v1", "false", "Namespace"]
    assert kinds["Deployment"] == ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    assert kinds["ClusterRole"][-2] == "false"
    assert kinds["CustomResourceDefinition"][:2] == ["customresourcedefinitions", "crd,crds"]
    reviews = {"TokenReview", "SubjectAccessReview", "SelfSubjectAccessReview"}
    assert reviews | {"SelfSubjectRulesReview", "LocalSubjectAccessReview"} <= kinds.keys()
    group = run("api-resources", "--api-group=batch", "-o", "name").split()
    assert "jobs.batch" in group
    listed = run("api-resources", "--verbs=list,watch", "--namespaced=false", "-o", "name").split()
    assert "namespaces" in listed
    assert "subjectaccessreviews.authorization.k8s.io" not in listed
    versions = run("api-versions").split()
    assert {"v1", "apps/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1"} <= {
        *versions
    }
    told = yaml.safe_load(run("version", "-o", "yaml"))["serverVersion"]
    assert re.match(r"v1\.\d+\.\d+", told["gitVersion"])
    assert told["major"] == "1"
    assert run("get", "--raw", "/readyz") == "ok"
    assert "readyz check passed" in run("get", "--raw", "/readyz?verbose")
    assert "is running at" in run("cluster-info")


def test_short_names_and_categories(run: Kubectl, api: Api, group: str, namespace: str) -> None:
    names = {"shortNames": [f"z{group[1:5]}"], "categories": ["zoo"]}
    body = definition(group, namespaced=True, names=names)
    api.made("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    run("wait", f"crd/things.{group}", "--for=condition=Established", "--timeout=20s")
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}}
    run("apply", "-n", namespace, "-f", "-", stdin=thing)
    for wanted in (f"z{group[1:5]}", "zoo", f"thing.{group}", f"things.v1.{group}"):
        found = run("get", wanted, "-n", namespace, "-o", "name").split()
        assert f"thing.{group}/x" in found


def test_describe_and_events(run: Kubectl, things: str, namespace: str, group: str) -> None:
    uid = run("get", things, "large", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "large.1", "namespace": namespace},
        "involvedObject": {
            "apiVersion": f"{group}/v1", "kind": "Thing", "namespace": namespace,
            "name": "large", "uid": uid,
        },
        "reason": "Grown",
        "message": "it has grown",
        "type": "Warning",
        "count": 3,
        "source": {"component": "gardener"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    run("create", "-f", "-", stdin=event)
    text = run("describe", things, "large", "-n", namespace)
    assert re.search(r"^Kind: +Thing$", text, re.MULTILINE)
    assert re.search(r"^  Size: +30$", text, re.MULTILINE)
    assert re.search(r"Warning +Grown .*gardener +it has grown", text)
    rows = run("get", "events", "-n", namespace).splitlines()
    assert rows[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert rows[1].split()[1:4] == ["Warning", "Grown", "thing/large"]
    told = run("events", "-n", namespace, "--for", f"{things}/large", "--types=Warning")
    assert "it has grown" in told
    selector = "involvedObject.name=large,type=Normal"
    assert "No resources" in run("get", "events", "-n", namespace, "--field-selector", selector)


BUILT_IN = {
    "pods": (
        {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "m", "image": "i"}]}},
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], ["x", "0/1", "Pending", "0"],
    ),
    "services": (
        {"metadata": {"name": "x"},
         "spec": {"clusterIP": "None", "ports": [
             {"port": 80, "name": "a"}, {"port": 53, "protocol": "UDP", "name": "b"}]}},
        ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"], None,
    ),
    "configmaps": (
        {"metadata": {"name": "x"}, "data": {"a": "b"}, "binaryData": {"c": "ZA=="}},
        ["NAME", "DATA", "AGE"], ["x", "2"],
    ),
    "secrets": (
        {"metadata": {"name": "x"}, "stringData": {"a": "b"}},
        ["NAME", "TYPE", "DATA", "AGE"], ["x", "Opaque", "1"],
    ),
    "serviceaccounts": (
        {"metadata": {"name": "x"}}, ["NAME", "SECRETS", "AGE"], ["x", "0"],
    ),
    "leases.coordination.k8s.io": (
        {"metadata": {"name": "x"}, "spec": {"holderIdentity": "me"}},
        ["NAME", "HOLDER", "AGE"], ["x", "me"],
    ),
    "persistentvolumeclaims": (
        {"metadata": {"name": "x"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none"}},
        ["NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS", "MODES", "STORAGECLASS",
         "VOLUMEATTRIBUTESCLASS", "AGE"], ["x", "Pending"],
    ),
    "deployments.apps": (
        {"metadata": {"name": "x"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "m", "image": "i"}]}}}},
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"], ["x", "0/0", "0", "0"],
    ),
    "jobs.batch": (
        {"metadata": {"name": "x"}, "spec": {"suspend": True, "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}}}},
        ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"], None,
    ),
    "roles.rbac.authorization.k8s.io": (
        {"metadata": {"name": "x"}, "rules": []}, ["NAME", "CREATED", "AT"], None,
    ),
    "rolebindings.rbac.authorization.k8s.io": (
        {"metadata": {"name": "x"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}},
        ["NAME", "ROLE", "AGE"], ["x", "Role/r"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BUILT_IN)
def test_rows_of_built_in_kinds(run: Kubectl, api: Api, namespace: str, kind: str) -> None:
    body, heading, cells = BUILT_IN[kind]
    if kind != "serviceaccounts":
        api("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts",
            {"metadata": {"name": "default"}})  # fmt: skip
    plural, _, group = kind.partition(".")
    root = f"/apis/{group}/v1" if group else "/api/v1"
    api.made(f"{root}/namespaces/{namespace}/{plural}", body)

    head, row = run("get", kind, "x", "-n", namespace).splitlines()
    assert head.split() == heading
    if cells:
        assert row.split()[: len(cells)] == cells
    assert "x" in run("describe", kind, "x", "-n", namespace)


def test_rows_of_services_and_jobs(run: Kubectl, api: Api, namespace: str) -> None:
    api.made(f"/api/v1/namespaces/{namespace}/services", BUILT_IN["services"][0])
    row = run("get", "svc", "-n", namespace, "--no-headers").split()
    assert row[:5] == ["x", "ClusterIP", "None", "<none>", "80/TCP,53/UDP"]
    api.made(f"/apis/batch/v1/namespaces/{namespace}/jobs", BUILT_IN["jobs.batch"][0])
    row = run("get", "jobs", "-n", namespace, "--no-headers").split()
    assert (row[0], row[2]) == ("x", "0/1")
