"""OpenAPI documents, as far as kubectl needs them: to explain a kind, and to learn that the server
takes ``fieldManager`` and ``fieldValidation``.

Strategic merge patches are left out of the v3 documents: a client then uses the merge keys it was
built with, which is what our built-in kinds follow.

Sources: OpenAPI 3.0.3; Kubernetes API concepts, "OpenAPI interface definition".
"""

import hashlib
from typing import Final

import orjson

from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.spec._wire import JsonObject

__all__ = ["v2", "v2_protobuf", "v3", "v3_index"]

_TITLE: Final = "Towpath"
_GVK: Final = "x-kubernetes-group-version-kind"
_PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
)


def v2(version: str) -> JsonObject:
    """``/openapi/v2``: valid and empty; the kinds stand in v3."""
    return {"swagger": "2.0", "info": {"title": _TITLE, "version": version}, "paths": {}}


def v2_protobuf(version: str) -> bytes:
    """The same as gnostic's ``openapi.v2.Document`` message, which older kubectl insists on."""

    def text(field: int, value: bytes) -> bytes:
        return bytes((field << 3 | 2, len(value))) + value

    info = text(1, _TITLE.encode()) + text(2, version.encode()[:100])
    return text(1, b"2.0") + text(2, info) + text(8, b"")


def v3_index(catalogue: Catalogue) -> JsonObject:
    """``/openapi/v3``: where each group version's document lies; the hash changes with it."""
    found: JsonObject = {}
    for group, version in sorted({(r.kind.group, r.kind.version) for r in catalogue}):
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        document = orjson.dumps(v3(catalogue, group, version))
        digest = hashlib.sha256(document).hexdigest()[:32].upper()
        found[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": found}


def v3(catalogue: Catalogue, group: str, version: str) -> JsonObject:
    """``/openapi/v3/api/v1`` and ``/openapi/v3/apis/{group}/{version}``. Raises NotFoundError."""
    served = [r for r in catalogue if (r.kind.group, r.kind.version) == (group, version)]
    if not served:
        raise unknown()
    paths: JsonObject = {}
    schemas: JsonObject = {}
    for resource in served:
        schemas[_schema_name(resource)] = _schema(resource)
        paths.update(_paths(resource))
    return {
        "openapi": "3.0.0",
        "info": {"title": _TITLE, "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _gvk(resource: Resource) -> JsonObject:
    kind = resource.kind
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_name(resource: Resource) -> str:
    kind = resource.kind
    reverse = ".".join(reversed((kind.group or "core").split(".")))
    return f"{reverse}.{kind.version}.{kind.kind}"


def _schema(resource: Resource) -> JsonObject:
    base = (resource.schema.document if resource.schema else None) or {
        "type": "object",
        "description": f"{resource.kind.kind}, kept as a record.",
        "properties": {},
        "x-kubernetes-preserve-unknown-fields": True,
    }
    properties = {
        "apiVersion": {"type": "string", "description": "Group and version of the kind."},
        "kind": {"type": "string", "description": "Name of the kind."},
        "metadata": {"type": "object", "description": "Name, labels and what the server keeps."},
    }
    merged = {**base, "properties": {**(base.get("properties") or {}), **properties}}
    return {**merged, _GVK: [_gvk(resource)]}


def _paths(resource: Resource) -> JsonObject:
    kind = resource.kind
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    space = "/namespaces/{namespace}" if kind.namespaced else ""
    base = f"{root}{space}/{kind.plural}"
    content = {"schema": {"$ref": f"#/components/schemas/{_schema_name(resource)}"}}
    answer = {"200": {"description": "OK", "content": {"application/json": content}}}

    def operation(action: str, *parameters: str, body: tuple[str, ...] = ()) -> JsonObject:
        found: JsonObject = {
            "x-kubernetes-action": action,
            _GVK: _gvk(resource),
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string"}} for name in parameters
            ],
            "responses": answer,
        }
        if body:
            found["requestBody"] = {"content": dict.fromkeys(body, content), "required": True}
        return found

    write = ("dryRun", "fieldManager", "fieldValidation")
    json = ("application/json", "application/yaml")
    names = (*(["namespace"] if kind.namespaced else []), "name")
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    item: JsonObject = {
        "get": operation("get"),
        "put": operation("put", *write, body=json),
        "patch": operation("patch", *write, "force", body=_PATCHES),
        "delete": operation("delete", "dryRun", "propagationPolicy"),
        "parameters": places,
    }
    collection: JsonObject = {
        "get": operation("list", "labelSelector", "fieldSelector", "limit", "continue", "watch"),
        "post": operation("post", *write, body=json),
        "parameters": places[:-1],
    }
    return {base: collection, f"{base}/{{name}}": item}
