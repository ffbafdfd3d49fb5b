"""What is wrong with what a schema says about how lists and maps merge.

Source: CustomResourceDefinition documentation, "Merge strategy"; ``apiextensions-apiserver``.
"""

from collections.abc import Iterator

from towpath.apiserver.schema import problem
from towpath.apiserver.schema.problem import Problem
from towpath.spec._wire import JsonObject

__all__ = ["list_flaws"]


def list_flaws(raw: JsonObject, path: str) -> Iterator[Problem]:
    """What is wrong with ``x-kubernetes-list-type``, ``-list-map-keys`` and ``-map-type``."""
    kind = raw.get("type") or ""
    map_type, list_type = raw.get("x-kubernetes-map-type"), raw.get("x-kubernetes-list-type")
    keys = raw.get("x-kubernetes-list-map-keys") or []
    if map_type is not None and kind != "object":
        yield _typed(path, kind, "must be object if x-kubernetes-map-type is specified")
    if map_type is not None and map_type not in ("atomic", "granular"):
        where = f"{path}.x-kubernetes-map-type"
        yield problem.unsupported(where, map_type, ("atomic", "granular"))
    where = f"{path}.x-kubernetes-list-type"
    if list_type is not None and kind != "array":
        yield _typed(path, kind, "must be array if x-kubernetes-list-type is specified")
    elif list_type is not None and list_type not in ("atomic", "set", "map"):
        yield problem.unsupported(where, list_type, ("atomic", "set", "map"))
    if keys and list_type != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield problem.invalid(where, list_type, why) if list_type else problem.required(where, why)
    items = raw.get("items")
    if list_type == "map":
        yield from _keys(keys, items, path)
    if list_type in ("map", "set") and isinstance(items, dict):
        yield from _members(list_type, keys, items, path)


def _typed(path: str, kind: str, why: str) -> Problem:
    where = f"{path}.type"
    return problem.invalid(where, kind, why) if kind else problem.required(where, why)


def _keys(keys: list[str], items: object, path: str) -> Iterator[Problem]:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield problem.required(where, "must not be empty if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        why = "must have a schema if x-kubernetes-list-type is map"
        yield problem.required(f"{path}.items", why)
        return
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield problem.invalid(f"{path}.items.type", items.get("type") or "", why)
        return
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield problem.invalid(where, keys, "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield problem.invalid(f"{path}.items.properties[{key}].type", items["type"], why)
        if key in keys[:index]:
            yield problem.invalid(where, keys, "must not contain duplicate entries")


def _members(list_type: str, keys: list[str], items: JsonObject, path: str) -> Iterator[Problem]:
    if items.get("nullable"):
        why = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        yield problem.forbidden(f"{path}.items.nullable", why)
    if list_type == "set":
        yield from _atomic(items, path)
        return
    properties = items.get("properties") or {}
    listed = "this property is in x-kubernetes-list-map-keys, so it"
    for key in keys:
        child = properties.get(key)
        if child is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            why = f"{listed} must have a default or be a required property"
            yield problem.required(f"{where}.default", why)
        if child.get("nullable"):
            yield problem.forbidden(f"{where}.nullable", f"{listed} cannot be nullable")


def _atomic(items: JsonObject, path: str) -> Iterator[Problem]:
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    found = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and found not in (None, "atomic"):
        yield problem.invalid(f"{path}.items.x-kubernetes-list-type", found, why)
    found = items.get("x-kubernetes-map-type")
    if items.get("type") == "object" and found != "atomic":
        yield problem.invalid(f"{path}.items.x-kubernetes-map-type", found, why)
