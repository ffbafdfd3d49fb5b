"""kubectl creates by command, deletes in all ways, and asks who may do what."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conformance.kubernetes.conftest import Api, Cluster, eventually

Kubectl = Callable[..., str]
RBAC = "rbac.authorization.k8s.io"

CERTIFICATE = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2")


@pytest.fixture
def here(run: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""

    def call(*arguments: str, **more: Any) -> str:
        return run("-n", namespace, *arguments, **more)

    return call


@pytest.fixture
def wide(run: Kubectl, namespace: str) -> Iterator[str]:
    """A name for what lies in no namespace; it goes with the test."""
    name = f"conformance-{namespace}"
    yield name
    for kind in ("clusterrolebinding", "clusterrole"):
        run("delete", kind, name, "--ignore-not-found")


CREATED = {
    "configmap": (
        ("configmap", "x", "--from-literal=a=b"), {"data": {"a": "b"}},
    ),
    "secret generic": (
        ("secret", "generic", "x", "--from-literal=p=q"),
        {"type": "Opaque", "data": {"p": "cQ=="}},
    ),
    "secret docker-registry": (
        ("secret", "docker-registry", "x", "--docker-server=r", "--docker-username=u",
         "--docker-password=p"), {"type": "kubernetes.io/dockerconfigjson"},
    ),
    "serviceaccount": (("serviceaccount", "x"), {}),
    "role": (
        ("role", "x", "--verb=get,list", "--resource=pods,deployments.apps"),
        {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                   {"apiGroups": ["apps"], "resources": ["deployments"],
                    "verbs": ["get", "list"]}]},
    ),
    "rolebinding": (
        ("rolebinding", "x", "--role=x", "--user=eve", "--group=g"),
        {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "x"},
         "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "eve"},
                      {"apiGroup": RBAC, "kind": "Group", "name": "g"}]},
    ),
    "deployment": (
        ("deployment", "x", "--image=registry.example/a:1", "--replicas=0", "--port=80"),
        {"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}}},
    ),
    "job": (
        ("job", "x", "--image=registry.example/a:1", "--", "sleep", "1"),
        {"spec": {"backoffLimit": 6, "completions": 1, "parallelism": 1, "suspend": False}},
    ),
    "service clusterip": (
        ("service", "clusterip", "x", "--tcp=80:8080", "--clusterip=None"),
        {"spec": {"ports": [{"name": "80-8080", "port": 80, "protocol": "TCP",
                             "targetPort": 8080}], "selector": {"app": "x"}, "type": "ClusterIP"}},
    ),
    "service externalname": (
        ("service", "externalname", "x", "--external-name=example.com"),
        {"spec": {"type": "ExternalName", "externalName": "example.com"}},
    ),
}  # fmt: skip


def within(part: Any, whole: Any) -> bool:
    """Whether all that ``part`` says stands in ``whole``."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    return bool(part == whole)


@pytest.mark.parametrize("kind", CREATED)
def test_create_by_command(here: Kubectl, kind: str) -> None:
    command, wanted = CREATED[kind]
    said = here("create", *command)
    assert said.endswith("/x created\n")
    found = json.loads(here("get", said.split()[0], "-o", "json"))
    assert within(wanted, found), found
    assert "already exists" in here("create", *command, fails=True)
    plain = command[: command.index("--")] if "--" in command else command
    tried = yaml.safe_load(here("create", *plain, "--dry-run=client", "-o", "yaml"))
    assert tried["metadata"]["name"] == "x"


def test_a_server_side_dry_run(here: Kubectl) -> None:
    made = yaml.safe_load(
        here("create", "deployment", "x", "--image=a:1", "--dry-run=server", "-o", "yaml")
    )
    assert made["metadata"]["uid"]
    assert made["spec"]["progressDeadlineSeconds"] == 600
    assert made["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
    assert "NotFound" in here("get", "deployment", "x", fails=True)


def test_a_tls_secret(here: Kubectl, tmp_path: Path) -> None:
    import subprocess

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", *CERTIFICATE, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    here("create", "secret", "tls", "x", f"--cert={certificate}", f"--key={key}")
    assert here("get", "secret", "x", "-o", "jsonpath={.type}") == "kubernetes.io/tls"


def test_names_that_the_server_makes(here: Kubectl) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}}
    assert here("create", "-f", "-", stdin=body).startswith("configmap/g-")
    assert "cannot use generate name with apply" in here("apply", "-f", "-", stdin=body, fails=True)


def test_access_by_token(
    here: Kubectl, run: Kubectl, wide: str, namespace: str, kubernetes_api: Cluster, tmp_path: Path
) -> None:
    here("create", "serviceaccount", "bob")
    token = here("create", "token", "bob", "--duration=1h").strip()
    config = yaml.safe_load(kubernetes_api.kubeconfig.read_text())
    wanted = config["current-context"]
    context = next(c["context"] for c in config["contexts"] if c["name"] == wanted)
    entry = next(c for c in config["clusters"] if c["name"] == context["cluster"])
    mine = {
        "apiVersion": "v1", "kind": "Config", "current-context": "bob", "clusters": [entry],
        "users": [{"name": "bob", "user": {"token": token}}],
        "contexts": [{"name": "bob", "context": {
            "cluster": entry["name"], "user": "bob", "namespace": namespace}}],
    }  # fmt: skip
    path = tmp_path / "bob"
    path.write_text(yaml.safe_dump(mine))
    user = f"system:serviceaccount:{namespace}:bob"

    def bob(*arguments: str, **more: Any) -> str:
        return run(*arguments, KUBECONFIG=str(path), **more)

    assert user in bob("auth", "whoami")
    assert bob("get", "cm", fails=True) == (
        f'Error from server (Forbidden): configmaps is forbidden: User "{user}" cannot list '
        f'resource "configmaps" in API group "" in the namespace "{namespace}"\n'
    )
    assert bob("auth", "can-i", "list", "cm", code=1) == "no\n"
    here("create", "role", "reader", "--verb=get,list,watch", "--resource=configmaps")
    here("create", "rolebinding", "bob", "--role=reader", f"--serviceaccount={namespace}:bob")
    eventually(lambda: _can(bob, "list", "configmaps"))
    assert "No resources found" in bob("get", "cm", "-l", "no=such")
    assert "configmaps" in bob("auth", "can-i", "--list")
    refused = bob("create", "cm", "c", fails=True)
    assert 'cannot create resource "configmaps" in API group ""' in refused
    refused = bob("get", "namespaces", fails=True)
    assert "at the cluster scope" in refused

    run("create", "clusterrole", wide, "--verb=create", "--resource=configmaps")
    run("create", "clusterrolebinding", wide, f"--clusterrole={wide}",
        f"--serviceaccount={namespace}:bob")  # fmt: skip
    eventually(lambda: _can(bob, "create", "configmaps"))
    bob("create", "cm", "c")
    for what in (("delete", "cm"), ("create", "pods"), ("get", "/metrics")):
        assert run("auth", "can-i", *what) == "yes\n"
    assert run("auth", "can-i", "list", "cm", "-n", namespace, f"--as={user}") == "yes\n"
    assert run("auth", "can-i", "delete", "cm", "-n", namespace, f"--as={user}", code=1) == "no\n"
    group = f"--as-group=system:serviceaccounts:{namespace}"
    run("auth", "can-i", "list", "secrets", "-n", namespace, "--as=eve", group, code=1)
    as_bob = run("get", "cm", "c", "-n", namespace, f"--as={user}", "-o", "name")
    assert as_bob == "configmap/c\n"
    here("delete", "serviceaccount", "bob")
    eventually(lambda: "Unauthorized" in _complaint(bob, "get", "cm"))


def _can(who: Kubectl, *what: str) -> bool:
    try:
        return who("auth", "can-i", *what) == "yes\n"
    except AssertionError:
        return False


def _complaint(who: Kubectl, *what: str) -> str:
    try:
        return who(*what, fails=True)
    except AssertionError:
        return ""


def test_roles_are_reconciled(here: Kubectl, namespace: str) -> None:
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role",
            "metadata": {"name": "r", "namespace": namespace},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}  # fmt: skip
    assert "reconciled" in here("auth", "reconcile", "-f", "-", stdin=role)
    role["rules"][0]["verbs"] = ["list"]
    here("auth", "reconcile", "-f", "-", stdin=role)
    verbs = here("get", "role", "r", "-o", "jsonpath={.rules[*].verbs[*]}")
    assert set(verbs.split()) == {"get", "list"}


def owner_and_owned(here: Kubectl) -> None:
    here("create", "cm", "owner")
    uid = here("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid,
                 "blockOwnerDeletion": True}  # fmt: skip
    owned = {"apiVersion": "v1", "kind": "ConfigMap",
             "metadata": {"name": "owned", "ownerReferences": [reference]}}  # fmt: skip
    here("create", "-f", "-", stdin=owned)


@pytest.mark.needs_controllers
@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_delete_in_cascades(here: Kubectl, cascade: str) -> None:
    owner_and_owned(here)
    assert here("delete", "cm", "owner", f"--cascade={cascade}") == 'configmap "owner" deleted\n'
    if cascade == "orphan":
        references = here("get", "cm", "owned", "-o", "jsonpath={.metadata.ownerReferences}")
        assert references == ""
    elif cascade == "foreground":  # all are gone when the command ends
        assert "NotFound" in here("get", "cm", "owned", fails=True)
    else:
        eventually(lambda: "NotFound" in _complaint(here, "get", "cm", "owned"))


def test_delete_of_several(here: Kubectl) -> None:
    for name in ("a", "b", "c"):
        here("create", "cm", name)
        here("label", "cm", name, f"odd={name != 'b'}".lower())
    said = here("delete", "cm", "-l", "odd=true")
    assert said == 'configmap "a" deleted\nconfigmap "c" deleted\n'
    assert 'configmaps "a" not found' in here("delete", "cm", "a", fails=True)
    assert here("delete", "cm", "a", "--ignore-not-found") == ""
    assert 'configmap "b" deleted' in here("delete", "cm", "b", "--now", "--wait=false")
    here("create", "cm", "d")
    assert here("delete", "cm", "d", "--dry-run=server") == (
        'configmap "d" deleted (server dry run)\n'
    )
    here("get", "cm", "d")
    assert 'configmap "d" deleted' in here("delete", "cm", "--all")


def test_delete_waits_for_finalizers(
    here: Kubectl, started: Callable[..., Any], namespace: str, api: Api
) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "finalizers": ["example.com/held"]}}  # fmt: skip
    here("create", "-f", "-", stdin=body)
    deletion = started("delete", "cm", "c", "-n", namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps/c"
    eventually(lambda: "deletionTimestamp" in api.got(path)["metadata"])
    time.sleep(0.3)
    assert deletion.poll() is None
    api.patched(path, {"metadata": {"finalizers": None}})
    out, _ = deletion.communicate(timeout=30)
    assert (deletion.returncode, out) == (0, 'configmap "c" deleted\n')


@pytest.mark.needs_controllers
def test_a_namespace_empties_and_goes(run: Kubectl, namespace: str, api: Api) -> None:
    name = f"{namespace}-gone"
    assert run("create", "namespace", name) == f"namespace/{name} created\n"
    row = run("get", "ns", name, "--no-headers").split()
    assert row[:2] == [name, "Active"]
    assert run("get", "ns", name, "-o", "jsonpath={.spec.finalizers}") == '["kubernetes"]'
    labels = run("get", "ns", name, "-o", "jsonpath={.metadata.labels}")
    assert json.loads(labels) == {"kubernetes.io/metadata.name": name}
    held = {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "held", "finalizers": ["example.com/held"]}}  # fmt: skip
    run("create", "-n", name, "-f", "-", stdin=held)
    run("create", "-n", name, "secret", "generic", "s")
    run("delete", "namespace", name, "--wait=false")
    secrets = f"/api/v1/namespaces/{name}/secrets/s"
    eventually(lambda: api("GET", secrets).code == 404)
    assert run("get", "ns", name, "--no-headers").split()[1] == "Terminating"
    late = run("create", "-n", name, "cm", "late", fails=True)
    assert (
        f"unable to create new content in namespace {name} because it is being terminated" in late
    )

    def told() -> bool:
        conditions = api.got(f"/api/v1/namespaces/{name}")["status"].get("conditions", ())
        return any(
            c["type"] == "NamespaceFinalizersRemaining" and c["status"] == "True"
            and "example.com/held in 1 resource instances" in c["message"]
            for c in conditions
        )  # fmt: skip

    eventually(told)
    run("patch", "cm", "held", "-n", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    run("delete", "namespace", name, "--wait", "--ignore-not-found", "--timeout=30s")
    assert "NotFound" in run("get", "namespace", name, fails=True)
    refused = run("delete", "namespace", "default", fails=True)
    assert 'namespaces "default" is forbidden: this namespace may not be deleted' in refused


@pytest.mark.needs_controllers
def test_every_namespace_has_its_account(here: Kubectl) -> None:
    eventually(lambda: "default" in here("get", "sa", "-o", "name"))
