"""The schemas of an OpenAPI document: kinds, their lists, and every named type below them.

Source: OpenAPI 3.0.3; Kubernetes API concepts, "OpenAPI interface definition".
"""

from collections.abc import Iterable, Mapping
from typing import Final

from towpath.apiserver.kinds import Resource
from towpath.apiserver.structures import REFERENCE, TYPES
from towpath.spec._wire import Json, JsonObject

__all__ = ["GVK", "components", "gvk", "named", "reference", "referred"]

GVK: Final = "x-kubernetes-group-version-kind"
_PLACE: Final = "#/components/schemas/"
_EVERYWHERE: Final = ("DeleteOptions", "ListMeta", "ObjectMeta", "Status")
"""Types that operations and lists of every kind use."""
_INT_OR_STRING: Final[JsonObject] = {
    "format": "int-or-string",
    "oneOf": [{"type": "integer"}, {"type": "string"}],
}
_HEAD: Final[JsonObject] = {
    "apiVersion": {"type": "string", "description": "Group and version of the kind."},
    "kind": {"type": "string", "description": "Name of the kind."},
}


def gvk(group: str, version: str, kind: str) -> JsonObject:
    """The value of ``x-kubernetes-group-version-kind``."""
    return {"group": group, "version": version, "kind": kind}


def named(resource: Resource, kind: str = "") -> str:
    """The name of a kind's schema: ``io.k8s.api.core.v1.Pod``; of another kind beside it."""
    mine = resource.kind
    if not resource.custom:
        return f"{TYPES.package(mine.kind)}.{kind or mine.kind}"
    return ".".join((*reversed(mine.group.split(".")), mine.version, kind or mine.kind))


def reference(name: str) -> JsonObject:
    """A reference to a schema by its full name."""
    return {"$ref": _PLACE + name}


def referred(name: str) -> JsonObject:
    """A reference to a named type."""
    return reference(f"{TYPES.package(name)}.{name}")


def components(resources: Iterable[Resource]) -> JsonObject:
    """The schemas of some kinds, with everything they refer to."""
    served = list(resources)
    wanted = dict.fromkeys(_EVERYWHERE)
    found: JsonObject = {}
    for resource in served:
        if resource.custom or resource.schema is None:
            found[named(resource)] = _custom(resource)
        else:
            wanted[resource.kind.kind] = None
        for subresource in resource.subresources:
            wanted[subresource.kind.kind] = None
        if resource.scale is not None:
            wanted["Scale"] = None
        if "list" in resource.verbs:
            found[named(resource, resource.list_kind)] = _list(resource)
    types = _closed(wanted)
    for name in types:
        found[f"{TYPES.package(name)}.{name}"] = _type(name)
    for resource in served:
        _mark(
            found[named(resource)], resource.kind.group, resource.kind.version, resource.kind.kind
        )
        if resource.scale is not None:
            _mark(found[f"{TYPES.package('Scale')}.Scale"], "autoscaling", "v1", "Scale")
        for kind in (subresource.kind for subresource in resource.subresources):
            name = f"{TYPES.package(kind.kind)}.{kind.kind}"
            _mark(found[name], kind.group, kind.version, kind.kind)
    group, version = served[0].kind.group, served[0].kind.version
    for name in ("DeleteOptions", "Status"):
        at = found[f"{TYPES.package(name)}.{name}"]
        _mark(at, *(("", "v1") if name == "Status" else (group, version)), name)
    return dict(sorted(found.items()))


def _mark(schema: JsonObject, group: str, version: str, kind: str) -> None:
    mark, marks = gvk(group, version, kind), schema.setdefault(GVK, [])
    if mark not in marks:
        marks.append(mark)


def _closed(names: Mapping[str, None]) -> list[str]:
    """Named types and all they refer to."""
    found: dict[str, None] = {}
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found[name] = None
            left += _references(TYPES[name])
    return sorted(found)


def _references(node: Json) -> list[str]:
    """Named types that a schema refers to by itself."""
    if not isinstance(node, dict):
        return []
    found = [str(node["$ref"]).removeprefix(REFERENCE)] if "$ref" in node else []
    below = [*(node.get("properties") or {}).values(), node.get("items")]
    below.append(node.get("additionalProperties"))
    return found + [name for child in below for name in _references(child)]


def _type(name: str) -> JsonObject:
    found = _rendered(TYPES[name])
    if name == "IntOrString":
        found.pop("x-kubernetes-int-or-string", None)
        found.update(_INT_OR_STRING)
    return found


def _rendered(node: JsonObject) -> JsonObject:
    """A schema of a named type as the document has it: references with company become ``allOf``."""
    found: JsonObject = {}
    for key, value in node.items():
        if key == "$ref":
            target = referred(str(value).removeprefix(REFERENCE))
            found |= target if len(node) == 1 else {"allOf": [target]}
        elif key == "properties":
            found[key] = {name: _rendered(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            found[key] = _rendered(value)
        else:
            found[key] = value
    if found.get("type") == "array":
        found.setdefault("x-kubernetes-list-type", "atomic")
    return found


def _custom(resource: Resource) -> JsonObject:
    base: JsonObject = (
        resource.schema.document
        if resource.schema
        else {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
    )
    metadata = {"allOf": [referred("ObjectMeta")], "description": "Name, labels and more."}
    properties = {**(base.get("properties") or {}), **_HEAD, "metadata": metadata}
    return {**base, "properties": properties}


def _list(resource: Resource) -> JsonObject:
    kind = resource.kind
    items = {"type": "array", "items": reference(named(resource)), "description": "The objects."}
    metadata = {"allOf": [referred("ListMeta")], "description": "Where the list stands."}
    return {
        "type": "object",
        "description": f"A list of {kind.kind}.",
        "required": ["items"],
        "properties": {**_HEAD, "items": items, "metadata": metadata},
        GVK: [gvk(kind.group, kind.version, resource.list_kind)],
    }
