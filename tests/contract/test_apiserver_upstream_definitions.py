"""The definitions of KServe, Argo CD and Open Cluster Management, as they are published, and what
Towpath writes under them."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from towpath.apiserver.builtin import DEFINITION
from towpath.apiserver.definitions import established, served
from towpath.apiserver.kinds import Resource
from towpath.apiserver.schema.structural import compiled, types_of
from towpath.edge.plan import Desired, Instance
from towpath.edge.status import Failure, Standing, status_of
from towpath.gitops import layout
from towpath.spec.names import Digest, ImageRef

NOW = "2026-01-01T00:00:00Z"
IMAGE = ImageRef("localhost:5000/models/fraud@sha256:" + "a" * 64)
LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=1)
def definitions(shared: Path) -> dict[str, dict[str, Any]]:
    files = sorted((shared / "schemas").glob("crds*/*.yaml"))
    return {
        f"{file.parent.name}/{file.stem}": yaml.load(file.read_text(), Loader=LOADER)
        for file in files
    }


@pytest.fixture
def upstream(shared: Path) -> dict[str, dict[str, Any]]:
    found = definitions(shared)
    if not found:
        pytest.skip(f"no definitions lie in {shared / 'schemas'}")
    return found


def resources(crd: dict[str, Any]) -> list[Resource]:
    return served(established(DEFINITION, crd, NOW))


def nodes(schema: Any) -> Iterator[Any]:
    yield schema
    for child in (schema.get("properties") or {}).values():
        yield from nodes(child)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key])


def test_each_is_legal_and_used(upstream: dict[str, dict[str, Any]]) -> None:
    for name, crd in upstream.items():
        for resource in resources(crd):
            assert resource.schema is not None
            kind = resource.kind
            obj = {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": "a"},
                "nobody": {"knows": 1},
            }
            pruned, unknown = resource.schema.prune(obj)
            loose = resource.schema.document.get("x-kubernetes-preserve-unknown-fields")
            assert unknown == ([] if loose else ["nobody"]), name
            completed = resource.schema.complete(pruned)
            assert all(p.reason == "FieldValueRequired" for p in resource.schema.check(completed))


def test_a_megabyte_is_small(upstream: dict[str, dict[str, Any]]) -> None:
    crd = upstream["crds/argocd-applicationsets"]
    (resource,) = resources(crd)
    assert resource.schema is not None
    document = resource.schema.document
    assert sum(1 for _ in nodes(document)) > 5000
    seen: set[int] = set()
    left = [compiled(document, types_of({}))]
    while left:
        node = left.pop()
        if id(node) not in seen:
            seen.add(id(node))
            left += [*node.properties.values()]
            left += [inner for inner in (node.additional, node.items) if inner is not None]
    assert len(seen) < 500


def full(upstream: dict[str, dict[str, Any]], name: str) -> Resource:
    (resource,) = resources(upstream[f"crds-full/{name}"])
    return resource


def legal(resource: Resource, obj: dict[str, Any]) -> None:
    assert resource.schema is not None
    pruned, unknown = resource.schema.prune(obj)
    assert unknown == []
    assert resource.schema.check(resource.schema.complete(pruned)) == []


def deployed() -> dict[str, Any]:
    deployment = layout.Deployment("fraud", "default", "onnx", IMAGE, "1", {"a": "b"}, {"c": "d"})
    (text,) = layout.files(deployment, "edge-1").values()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_what_is_committed_is_an_inference_service(upstream: dict[str, dict[str, Any]]) -> None:
    legal(full(upstream, "kserve-inferenceservices"), deployed())


@pytest.mark.parametrize("failure", [None, Failure("ModelLoadFailed", "it does not load")])
@pytest.mark.parametrize("answering", [True, False])
def test_the_status_we_write_is_one(
    upstream: dict[str, dict[str, Any]], failure: Failure | None, answering: bool
) -> None:
    service = deployed()
    service["metadata"]["generation"] = 1
    wanted = Desired("default", "fraud", "onnx", IMAGE, Digest("sha256:" + "a" * 64))
    instance = Instance("fraud", wanted.revision, "http://127.0.0.1:1", ready=True)
    standing = Standing(wanted, instance if answering else None, "http://a", "towpath", failure)
    service["status"] = status_of(service, standing, NOW)
    legal(full(upstream, "kserve-inferenceservices"), service)


def test_what_is_wrong_is_told(upstream: dict[str, dict[str, Any]]) -> None:
    resource = full(upstream, "kserve-inferenceservices")
    service = deployed()
    model = service["spec"]["predictor"]["model"]
    model["storageUri"] = 5
    del model["modelFormat"]["name"]
    assert resource.schema is not None
    found = [(p.field, p.message) for p in resource.schema.check(service)]
    path = "spec.predictor.model"
    why = f'{path}.storageUri in body must be of type string: "integer"'
    assert (f"{path}.storageUri", f'Invalid value: "integer": {why}') in found
    assert (f"{path}.modelFormat.name", "Required value") in found


def test_a_serving_runtime(upstream: dict[str, dict[str, Any]]) -> None:
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "towpath"},
        "spec": {
            "supportedModelFormats": [{"name": "onnx", "version": "1", "autoSelect": True}],
            "protocolVersions": ["v2"],
            "containers": [{"name": "kserve-container", "image": "towpath"}],
        },
    }
    legal(full(upstream, "kserve-servingruntimes"), runtime)
