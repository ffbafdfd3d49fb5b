"""Discovery and the OpenAPI documents: what clients learn about what is served."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.requests import Request

from towpath.apiserver import discovery
from towpath.apiserver.builtin import BUILTIN, DEFINITION
from towpath.apiserver.definitions import established, own, served
from towpath.apiserver.kinds import Catalogue
from towpath.apiserver.openapi import Documents, gnostic
from towpath.errors import NotFoundError

NOW = "2026-01-01T00:00:00Z"
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
GVK = "x-kubernetes-group-version-kind"


def catalogue() -> Catalogue:
    known = Catalogue(BUILTIN)
    for crd in own():
        known.add(served(established(DEFINITION, crd, NOW)))
    return known


def documents() -> Documents:
    return Documents(catalogue(), "0.1")


def places() -> list[tuple[str, str]]:
    return sorted({(r.kind.group, r.kind.version) for r in catalogue()})


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def nodes(definitions: Any) -> Iterator[tuple[str, Any]]:
    """Every schema of a document of 2.0, and all below it."""
    for name, schema in definitions.items():
        yield name, schema
        yield from nodes(schema.get("properties") or {})
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from nodes({f"{name}.{key}": schema[key]})


@pytest.mark.parametrize(("group", "version"), places())
def test_every_document_is_whole(group: str, version: str) -> None:
    document = documents().v3(group, version)
    assert document["openapi"].startswith("3.0")
    schemas = document["components"]["schemas"]
    assert {r.removeprefix("#/components/schemas/") for r in references(document)} <= schemas.keys()
    assert "BearerToken" in document["components"]["securitySchemes"]
    names = set()
    for path, item in document["paths"].items():
        placed = set(re.findall(r"{(\w+)}", path))
        assert {p["name"] for p in item["parameters"]} == placed if placed else True
        for method, operation in item.items():
            if method == "parameters":
                continue
            names.add((path, method))
            assert {"401", "default"} < operation["responses"].keys()
            assert operation["x-kubernetes-action"]
            assert operation[GVK]["kind"]
            assert ("requestBody" in operation) == (method != "get")
    identifiers = [
        o["operationId"] for i in document["paths"].values() for m, o in i.items()
        if m != "parameters"
    ]  # fmt: skip
    assert len(identifiers) == len(set(identifiers)) == len(names)


def test_kinds_have_the_names_that_clients_know() -> None:
    core = documents().v3("", "v1")["components"]["schemas"]
    pod = core["io.k8s.api.core.v1.Pod"]
    assert pod[GVK] == [{"group": "", "version": "v1", "kind": "Pod"}]
    meta = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert pod["properties"]["metadata"]["allOf"] == [{"$ref": meta}]
    containers = core["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert core["io.k8s.api.core.v1.PodList"][GVK][0]["kind"] == "PodList"
    serving = documents().v3("serving.kserve.io", "v1beta1")["components"]["schemas"]
    assert "io.kserve.serving.v1beta1.InferenceService" in serving


def test_how_kinds_are_patched() -> None:
    strategic = "application/strategic-merge-patch+json"
    core, serving = documents().v3("", "v1"), documents().v3("serving.kserve.io", "v1beta1")
    pod = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert strategic in pod["requestBody"]["content"]
    path = "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}"
    patch = serving["paths"][path]["patch"]
    assert strategic not in patch["requestBody"]["content"]
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]
    assert {p["name"] for p in patch["parameters"]} == {
        "dryRun", "fieldManager", "fieldValidation", "force",
    }  # fmt: skip
    assert f"{path}/status" in serving["paths"]


def test_lists_watches_and_subresources() -> None:
    core, apps = documents().v3("", "v1"), documents().v3("apps", "v1")
    listed = core["paths"]["/api/v1/pods"]["get"]
    assert listed["x-kubernetes-action"] == "list"
    assert {"watch", "labelSelector", "limit", "continue", "sendInitialEvents"} <= {
        p["name"] for p in listed["parameters"]
    }
    token = core["paths"]["/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"]
    assert token["post"][GVK] == {
        "group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest",
    }  # fmt: skip
    scale = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
    assert scale.keys() == {"get", "put", "patch", "parameters"}
    assert scale["get"][GVK]["group"] == "autoscaling"
    asked = documents().v3("authorization.k8s.io", "v1")["paths"]
    assert asked["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"].keys() == {
        "post", "parameters",
    }  # fmt: skip


def test_a_group_that_is_not_served() -> None:
    with pytest.raises(NotFoundError):
        documents().v3("nobody", "v1")


def test_the_older_document_says_the_same() -> None:
    document = documents().v2()
    assert document["swagger"] == "2.0"
    definitions = document["definitions"]
    assert {r.removeprefix("#/definitions/") for r in references(document)} <= definitions.keys()
    for path, node in nodes(definitions):
        assert not {"allOf", "anyOf", "not", "nullable", "oneOf"} & node.keys(), path
    ports = definitions["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert ports["x-kubernetes-list-map-keys"] == ["port", "protocol"]
    quantity = definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["type"] == "string"
    options = definitions["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]
    assert {"group": "apps", "version": "v1", "kind": "DeleteOptions"} in options[GVK]
    assert document["paths"].keys() == {
        path for place in places() for path in documents().v3(*place)["paths"]
    }


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message, all of which are texts or messages here."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 2:
            size = varint()
            yield tag >> 3, data[at : at + size]
            at += size
        elif tag & 7 == 1:
            at += 8
        else:
            varint()


def test_the_older_document_as_protobuf() -> None:
    document = documents().v2()
    top = dict(fields(gnostic.encoded(document)))
    assert top[1] == b"2.0"
    definitions = {}
    for number, entry in fields(top[9]):
        assert number == 1
        named = dict(fields(entry))
        definitions[named[1].decode()] = named[2]
    assert definitions.keys() == document["definitions"].keys()
    pod = list(fields(definitions["io.k8s.api.core.v1.Pod"]))
    extensions = [dict(fields(data)) for number, data in pod if number == 31]
    assert [e[1] for e in extensions] == [GVK.encode()]
    assert yaml.safe_load(dict(fields(extensions[0][2]))[2]) == [
        {"group": "", "version": "v1", "kind": "Pod"}
    ]
    paths = [dict(fields(entry))[1].decode() for number, entry in fields(top[8]) if number == 2]
    assert paths == list(document["paths"])


def test_a_hash_changes_with_what_it_stands_for(shared: Path) -> None:
    known = catalogue()
    found = Documents(known, "0.1")
    before = found.index()["paths"]
    assert before == Documents(catalogue(), "0.1").index()["paths"]
    assert before != Documents(catalogue(), "0.2").index()["paths"]
    text = (shared / "schemas/crds/kserve-inferenceservices.yaml").read_text()
    crd = established(DEFINITION, yaml.load(text, Loader=FAST), NOW)
    known.remove("serving.kserve.io", "inferenceservices")
    known.add(served(crd))
    after = found.index()["paths"]
    changed = {place for place in before if before[place] != after[place]}
    assert changed == {"apis/serving.kserve.io/v1beta1"}


def test_every_upstream_definition_is_documented(shared: Path) -> None:
    known = Catalogue(BUILTIN)
    for file in sorted((shared / "schemas" / "crds").glob("*.yaml")):
        known.add(served(established(DEFINITION, yaml.load(file.read_text(), Loader=FAST), NOW)))
    found = Documents(known, "0.1")
    assert "io.argoproj.v1alpha1.ApplicationSet" in found.v2()["definitions"]
    assert gnostic.encoded(found.v2())


def request(path: str, query: str = "", **headers: str) -> Request:
    version = path.rsplit("/", 1)[-1]
    group = path.split("/")[-2] if "/apis/" in path else ""
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
            "path_params": {"group": group, "version": version},
        }
    )


@pytest.mark.anyio
async def test_clients_keep_their_copies() -> None:
    found = documents()
    url = found.index()["paths"]["apis/apps/v1"]["serverRelativeURL"]
    path, _, query = url.partition("?")
    first = await found.answer_v3(request(path, query))
    assert first.status_code == 200
    assert "immutable" in first.headers["cache-control"]
    again = await found.answer_v3(request(path, if_none_match=first.headers["etag"]))
    assert (again.status_code, again.body) == (304, b"")
    moved = await found.answer_v3(request(path, "hash=0"))
    assert (moved.status_code, moved.headers["location"]) == (301, url)
    asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    old = await found.answer_v2(request("/openapi/v2", accept=asked))
    assert old.headers["content-type"].endswith("+protobuf")
    json = await found.answer_v2(request("/openapi/v2"))
    assert json.headers["content-type"] == "application/json"
    assert json.headers["etag"] != old.headers["etag"]


def entries(group: str) -> dict[str, Any]:
    found = discovery.resources(catalogue(), group, "v1")["resources"]
    return {entry["name"]: entry for entry in found}


def test_discovery_tells_subresources_and_what_is_only_asked() -> None:
    core = entries("")
    assert core["namespaces/finalize"]["verbs"] == ["update"]
    assert core["pods"]["singularName"] == "pod"
    assert core["pods"]["categories"] == ["all"]
    assert core["pods/status"] == {
        "name": "pods/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["get", "patch", "update"],
    }
    token = core["serviceaccounts/token"]
    assert (token["group"], token["version"], token["kind"]) == (
        "authentication.k8s.io", "v1", "TokenRequest",
    )  # fmt: skip
    scale = entries("apps")["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    asked = entries("authorization.k8s.io")
    assert asked["localsubjectaccessreviews"]["namespaced"] is True
    assert asked["selfsubjectaccessreviews"]["verbs"] == ["create"]
    assert asked["selfsubjectaccessreviews"]["singularName"] == "selfsubjectaccessreview"
