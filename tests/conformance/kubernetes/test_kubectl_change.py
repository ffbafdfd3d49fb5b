"""kubectl changes things: apply on both sides, diff, edit, patch, replace, label, scale, set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conformance.kubernetes.conftest import Api, definition, eventually

Kubectl = Callable[..., str]
Define = Callable[..., str]

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
SPEC = {
    "predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "oci://x/y@sha256:0"}}
}
SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud"},
    "spec": SPEC,
}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def deployment(*containers: dict[str, Any], replicas: int = 0) -> Any:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [*containers]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
        },
    }


MAIN = {"name": "main", "image": "registry.example/a:1", "env": [{"name": "A", "value": "1"}]}


@pytest.fixture
def here(run: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""

    def call(*arguments: str, **more: Any) -> str:
        return run("-n", namespace, *arguments, **more)

    return call


@pytest.fixture
def kserve(api: Api, run: Kubectl, shared: Path) -> None:
    """The kind InferenceService, where the server has it not by itself."""
    if api("GET", f"{CRDS}/inferenceservices.serving.kserve.io").code == 404:
        run("apply", "-f", str(shared / "schemas" / "crds" / "kserve-inferenceservices.yaml"))
        run("wait", "crd/inferenceservices.serving.kserve.io", "--for=condition=Established")


@pytest.mark.parametrize("body", [CONFIG, deployment(MAIN)], ids=["config map", "deployment"])
def test_apply_on_the_client_side(here: Kubectl, body: Any) -> None:
    apply = ("apply", "-f", "-")
    name = (
        f"{body['kind'].lower()}{'.apps' * ('/' in body['apiVersion'])}/{body['metadata']['name']}"
    )
    assert here(*apply, stdin=body) == f"{name} created\n"
    assert here(*apply, stdin=body) == f"{name} unchanged\n"
    changed = json.loads(json.dumps(body))
    changed["metadata"]["labels"] = {"on": "yes"}
    assert (
        here(*apply, "--dry-run=server", stdin=changed) == f"{name} configured (server dry run)\n"
    )
    assert here(*apply, stdin=changed) == f"{name} configured\n"
    assert here(*apply, stdin=body) == f"{name} configured\n"
    last = json.loads(here("apply", "view-last-applied", name, "-o", "json"))
    assert last.get("spec", last.get("data")) == body.get("spec", body.get("data"))
    assert "labels" not in yaml.safe_load(here("get", name, "-o", "yaml"))["metadata"]


def test_what_is_no_longer_applied_goes(here: Kubectl) -> None:
    here("apply", "-f", "-", stdin={**CONFIG, "data": {"a": "1", "b": "2"}})
    here("patch", "cm", "c", "-p", '{"data": {"c": "3"}}')
    here("apply", "-f", "-", stdin=CONFIG)
    found = json.loads(here("get", "cm", "c", "-o", "json"))
    assert found["data"] == {"a": "1", "c": "3"}


def test_lists_of_built_in_kinds_merge(here: Kubectl) -> None:
    here("apply", "-f", "-", stdin=deployment(MAIN))
    side = {"name": "side", "image": "registry.example/b:1"}
    patch = {"spec": {"template": {"spec": {"containers": [side]}}}}
    here("patch", "deployment", "web", "-p", json.dumps(patch))
    other = {**MAIN, "env": [{"name": "B", "value": "2"}]}
    here("apply", "-f", "-", stdin=deployment(other))
    found = json.loads(here("get", "deployment", "web", "-o", "json"))
    containers = found["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["main", "side"] or [
        c["name"] for c in containers
    ] == ["side", "main"]
    main = next(c for c in containers if c["name"] == "main")
    assert main["env"] == [{"name": "B", "value": "2"}]


def test_apply_on_the_server_side(here: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert here(*apply, stdin=CONFIG) == "configmap/c serverside-applied\n"
    other = {**CONFIG, "data": {"a": "2"}}
    conflict = here(*apply, "--field-manager=other", stdin=other, fails=True)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' in conflict
    assert "Please review the fields above" in conflict
    here(*apply, "--field-manager=other", "--force-conflicts", stdin=other)
    assert here("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"
    managed = json.loads(here("get", "cm", "c", "--show-managed-fields", "-o", "json"))
    entries = {(e["manager"], e["operation"]) for e in managed["metadata"]["managedFields"]}
    assert entries == {("other", "Apply")}  # nothing is left to the first


def test_from_the_client_side_to_the_server_side(here: Kubectl) -> None:
    """kubectl moves what it applied before to its new manager: nothing is left behind."""
    here("apply", "-f", "-", stdin={**CONFIG, "data": {"a": "1", "b": "2"}})
    here("apply", "--server-side", "-f", "-", stdin=CONFIG)
    found = json.loads(here("get", "cm", "c", "--show-managed-fields", "-o", "json"))
    assert found["data"] == {"a": "1"}
    managers = {(e["manager"], e["operation"]) for e in found["metadata"]["managedFields"]}
    assert managers == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}


def test_an_inference_service(here: Kubectl, kserve: None, started: Any, namespace: str) -> None:
    assert "fraud created" in here("apply", "-f", "-", stdin=SERVICE)
    assert here("apply", "-f", "-", stdin=SERVICE).endswith("fraud unchanged\n")
    changed = {**SERVICE, "spec": {"predictor": {**SPEC["predictor"], "minReplicas": 2}}}
    assert here("diff", "-f", "-", stdin=SERVICE) == ""
    assert "+    minReplicas: 2" in here("diff", "-f", "-", stdin=changed, code=1)
    assert "+    minReplicas: 2" in here("diff", "--server-side", "--force-conflicts", "-f", "-",
                                         stdin=changed, code=1)  # fmt: skip
    assert "fraud configured" in here("apply", "-f", "-", stdin=changed)
    row = here("get", "isvc").splitlines()[0].split()
    assert row[:3] == ["NAME", "URL", "READY"]
    watch = started("get", "isvc", "fraud", "-n", namespace, "-w", "--no-headers")
    assert watch.stdout.readline().split()[0] == "fraud"
    status = {"url": "http://fraud.example", "conditions": [{"type": "Ready", "status": "True"}]}
    sub = json.loads(here("get", "crd", "inferenceservices.serving.kserve.io", "-o", "json"))
    apart = "status" in sub["spec"]["versions"][0].get("subresources", {})
    here("patch", "isvc", "fraud", *(["--subresource=status"] if apart else []), "--type=merge",
         "-p", json.dumps({"status": status}))  # fmt: skip
    assert watch.stdout.readline().split()[:3] == ["fraud", "http://fraud.example", "True"]
    waited = here("wait", "isvc/fraud", "--for=jsonpath={.status.url}=http://fraud.example",
                  "--timeout=20s")  # fmt: skip
    assert "condition met" in waited
    assert "condition met" in here("wait", "isvc/fraud", "--for=condition=Ready", "--timeout=20s")
    found = json.loads(here("get", "isvc", "fraud", "-o", "json"))
    assert found["spec"]["predictor"]["minReplicas"] == 2
    gone = here("delete", "-f", "-", stdin=SERVICE)
    assert gone == 'inferenceservice.serving.kserve.io "fraud" deleted\n'


def test_explain_an_inference_service(run: Kubectl, api: Api) -> None:
    """Where the kind comes with a full schema, as ours does."""
    found = api("GET", f"{CRDS}/inferenceservices.serving.kserve.io")
    if found.code != 200 or "predictor" not in json.dumps(found["spec"]["versions"][0]["schema"]):
        pytest.skip("the kind is not there with a schema that says what a predictor is")
    text = run("explain", "inferenceservice.spec.predictor.model")
    assert "KIND:       InferenceService" in text
    assert "FIELD: model <Object>" in text
    assert "storageUri\t<string>" in text


UPSTREAM = (
    "argocd-applications", "argocd-applicationsets", "kserve-clusterservingruntimes",
    "kserve-inferencegraphs", "kserve-inferenceservices", "kserve-servingruntimes",
    "ocm-managedclusters", "ocm-managedclustersetbindings", "ocm-managedclustersets",
    "ocm-manifestworks", "ocm-placementdecisions", "ocm-placements",
)  # fmt: skip


@pytest.fixture
def foreign(shared: Path, tmp_path: Path, api: Api, group: str) -> Callable[[str], Path]:
    """Gives an upstream definition under a group of the test's own, so that ours stay."""

    def made(name: str) -> Path:
        body = yaml.load(  # the largest has 1.4 MB
            (shared / "schemas" / "crds" / f"{name}.yaml").read_bytes(),
            getattr(yaml, "CSafeLoader", yaml.SafeLoader),
        )
        body["spec"]["group"] = group
        body["metadata"]["name"] = f"{body['spec']['names']['plural']}.{group}"
        body["metadata"].get("annotations", {}).pop("api-approved.kubernetes.io", None)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(body))
        return path

    return made


@pytest.mark.parametrize("name", UPSTREAM)
def test_an_upstream_definition(
    run: Kubectl, foreign: Callable[[str], Path], name: str, group: str
) -> None:
    file = foreign(name)
    body = json.loads(file.read_text())
    crd = f"{body['spec']['names']['plural']}.{group}"
    full = f"customresourcedefinition.apiextensions.k8s.io/{crd}"
    assert run("apply", "--server-side", "-f", str(file)) == f"{full} serverside-applied\n"
    run("wait", f"crd/{crd}", "--for=condition=Established", "--timeout=30s")
    assert "No resources found" in run("get", crd, "-A")
    assert "KIND: " in run("explain", crd)
    if file.stat().st_size > 262_144:  # the annotation that remembers is too long
        run("delete", "crd", crd)
        said = run("apply", "-f", str(file), fails=True)
        assert "metadata.annotations: Too long: " in said
        assert "262144 bytes" in said
    else:
        assert f"{full} configured" in run("apply", "-f", str(file))
        again = "configured" if "status" in body else "unchanged"  # nobody's to apply
        assert run("apply", "-f", str(file)) == f"{full} {again}\n"
    run("delete", "crd", crd, "--ignore-not-found")


def test_a_definition_and_its_objects_in_one_file(run: Kubectl, group: str) -> None:
    body = definition(group)
    run("apply", "-f", "-", stdin=body)
    run("wait", f"crd/things.{group}", "--for=condition=Established", "--timeout=20s")
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}}
    both = {"apiVersion": "v1", "kind": "List", "items": [body, thing]}
    said = run("apply", "-f", "-", stdin=both)
    assert f"thing.{group}/x created" in said
    run("delete", "crd", f"things.{group}")
    gone = ("doesn't have a resource type", "could not find the requested resource")
    eventually(lambda: any(why in _complaint(run, f"things.{group}") for why in gone))


def _complaint(run: Kubectl, kind: str) -> str:
    try:
        return run("get", kind, fails=True)
    except AssertionError:
        return ""


STRICT = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
}


def test_validation(run: Kubectl, define: Define, group: str, here: Kubectl) -> None:
    define(STRICT)
    thing: Any = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}}
    typo = {**thing, "spec": {"sise": 1}}
    strict = run("apply", "-f", "-", stdin=typo, fails=True)
    assert strict.startswith("Error from server (BadRequest): error when creating")
    assert 'strict decoding error: unknown field "spec.sise"' in strict
    warned = run("apply", "--validate=warn", "-f", "-", stdin=typo)
    assert 'Warning: unknown field "spec.sise"' in warned
    assert f"thing.{group}/x created" in warned
    assert "Warning" not in run("apply", "--validate=false", "-f", "-", stdin=typo)
    wrong = run("apply", "-f", "-", stdin={**thing, "spec": {"size": "large"}}, fails=True)
    assert wrong == (
        'The Thing "x" is invalid: spec.size: Invalid value: "string": '
        'spec.size in body must be of type integer: "string"\n'
    )
    config = here("apply", "-f", "-", stdin={**CONFIG, "dat": {}}, fails=True)
    assert 'strict decoding error: unknown field "dat"' in config


def test_prune(here: Kubectl, tmp_path: Path) -> None:
    labels = {"app": "pruned"}
    for name in ("a", "b"):
        body = {**CONFIG, "metadata": {"name": name, "labels": labels}}
        (tmp_path / f"{name}.json").write_text(json.dumps(body))
    prune = ("apply", "-f", str(tmp_path), "-l", "app=pruned", "--prune",
             "--prune-allowlist=core/v1/ConfigMap")  # fmt: skip
    here(*prune)
    (tmp_path / "b.json").unlink()
    said = here(*prune)
    assert "configmap/a unchanged" in said
    assert "configmap/b pruned" in said
    assert here("get", "cm", "-l", "app=pruned", "-o", "name") == "configmap/a\n"


def test_edit(here: Kubectl, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "9"/\' "$1"\n')
    editor.chmod(0o755)
    here("create", "-f", "-", stdin=CONFIG)
    assert here("edit", "cm", "c", KUBE_EDITOR=str(editor)) == "configmap/c edited\n"
    assert here("get", "cm", "c", "-o", "jsonpath={.data.a}") == "9"
    assert "Edit cancelled, no changes made." in here("edit", "cm", "c", KUBE_EDITOR=str(editor))


def test_patch(here: Kubectl) -> None:
    here("create", "-f", "-", stdin=deployment(MAIN))
    env = {"spec": {"template": {"spec": {"containers": [{
        "name": "main", "env": [{"name": "B", "value": "2"}]}]}}}}  # fmt: skip
    here("patch", "deploy", "web", "-p", json.dumps(env))
    found = "jsonpath={.spec.template.spec.containers[*].env[*].name}"
    assert sorted(here("get", "deploy", "web", "-o", found).split()) == ["A", "B"]
    gone = {"spec": {"template": {"spec": {"containers": [{
        "name": "main", "env": [{"name": "A", "$patch": "delete"}]}]}}}}  # fmt: skip
    here("patch", "deploy", "web", "-p", json.dumps(gone))
    assert here("get", "deploy", "web", "-o", found) == "B"
    path = "/spec/template/spec/containers/0/image"
    move = [{"op": "replace", "path": path, "value": "registry.example/a:2"}]
    here("patch", "deploy", "web", "--type=json", "-p", json.dumps(move))
    here("patch", "deploy", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    image = "jsonpath={.spec.template.spec.containers[0].image} {.metadata.labels.x}"
    assert here("get", "deploy", "web", "-o", image) == "registry.example/a:2 y"
    assert "(no change)" in here("patch", "deploy", "web", "-p", '{"spec":{"replicas":0}}')


def test_strategic_merge_is_for_built_in_kinds(run: Kubectl, define: Define, group: str) -> None:
    define()
    run("apply", "-f", "-", stdin={"apiVersion": f"{group}/v1", "kind": "Thing",
                                   "metadata": {"name": "x"}})  # fmt: skip
    said = run("patch", f"things.{group}", "x", "-p", '{"spec":{"a":1}}', fails=True)
    assert "UnsupportedMediaType" in said or "application/strategic-merge-patch+json is not" in said


def test_label_and_annotate(here: Kubectl) -> None:
    here("create", "-f", "-", stdin=CONFIG)
    assert here("label", "cm", "c", "on=yes") == "configmap/c labeled\n"
    assert "already has a value" in here("label", "cm", "c", "on=no", fails=True)
    here("label", "cm", "c", "on=no", "--overwrite")
    assert here("label", "cm", "c", "on-") == "configmap/c unlabeled\n"
    assert here("annotate", "cm", "c", "why=test") == "configmap/c annotated\n"
    metadata = json.loads(here("get", "cm", "c", "-o", "json"))["metadata"]
    assert (metadata.get("labels"), metadata["annotations"]) == (None, {"why": "test"})


def test_replace(here: Kubectl) -> None:
    assert "NotFound" in here("replace", "-f", "-", stdin=CONFIG, fails=True)
    here("create", "-f", "-", stdin=CONFIG)
    assert here("replace", "-f", "-", stdin={**CONFIG, "data": {"b": "2"}}) == (
        "configmap/c replaced\n"
    )
    uid = here("get", "cm", "c", "-o", "jsonpath={.metadata.uid}")
    forced = here("replace", "--force", "-f", "-", stdin={**CONFIG, "data": {"z": "9"}})
    assert "configmap/c replaced" in forced
    found = json.loads(here("get", "cm", "c", "-o", "json"))
    assert found["data"] == {"z": "9"}
    assert found["metadata"]["uid"] != uid


def test_scale_and_set_image(here: Kubectl) -> None:
    here("create", "-f", "-", stdin=deployment(MAIN))
    assert here("scale", "deployment/web", "--replicas=1") == "deployment.apps/web scaled\n"
    assert here("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "1"
    wrong = here("scale", "deploy/web", "--replicas=3", "--current-replicas=9", fails=True)
    assert "Expected replicas to be 9, was 1" in wrong
    here("scale", "deploy/web", "--replicas=0", "--current-replicas=1")
    said = here("set", "image", "deployment/web", "main=registry.example/a:7")
    assert said == "deployment.apps/web image updated\n"
    here("set", "env", "deployment/web", "C=3")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert here("get", "deploy", "web", "-o", image) == "registry.example/a:7"
    here("rollout", "restart", "deployment/web")
    annotations = "jsonpath={.spec.template.metadata.annotations}"
    assert "kubectl.kubernetes.io/restartedAt" in here("get", "deploy", "web", "-o", annotations)
