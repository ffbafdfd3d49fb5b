"""Sets of fields, as managedFields writes them (``fieldsV1``), and what can be done with them.

A path is a tuple of fieldsV1 elements: ``f:name`` for a field, ``k:{"name":"x"}`` for the item of a
list with keys, ``v:"x"`` for the member of a set. An object is flattened into its leaves; lists and
maps that merge item by item are told by a :class:`Topology`, everything else is one leaf.

Source: Kubernetes API conventions, "Server-Side Apply: merge strategy and FieldsV1".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import orjson

from towpath.spec._wire import Json, JsonObject

__all__ = [
    "Fields",
    "Path",
    "Topology",
    "decode",
    "encode",
    "flatten",
    "label",
    "merge",
    "topology_of",
    "without",
]

Path = tuple[str, ...]
Names = tuple[str, ...]
Fields = frozenset[Path]

_UNTRACKED: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generateName",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_DEFAULTS: Final = {"protocol": "TCP"}
"""Values of list keys that may be left out."""

_EVERYWHERE: Final[Mapping[Names, Names]] = {
    ("metadata", "ownerReferences"): ("uid",),
    ("metadata", "finalizers"): (),
}


@dataclass(frozen=True)
class Topology:
    """How the lists and maps of a kind merge.

    Attributes:
        lists: Names of the fields that lead to a list -> its keys; no keys makes it a set.
        atomic: Names of the fields that lead to a map which is replaced as a whole.
    """

    lists: Mapping[Names, Names] = field(default_factory=dict)
    atomic: frozenset[Names] = frozenset()

    def keys(self, names: Names) -> Names | None:
        """The keys of a list; None when it is replaced as a whole."""
        found = self.lists.get(names)
        return _EVERYWHERE.get(names) if found is None else found


def topology_of(
    schema: JsonObject | None, types: Mapping[str, JsonObject] = MappingProxyType({})
) -> Topology:
    """The topology that an OpenAPI v3 schema declares by its ``x-kubernetes`` extensions.

    Args:
        schema: Of a whole object.
        types: What ``{"$ref": "#/types/Name"}`` stands for; a type within itself is not followed.
    """
    lists: dict[Names, Names] = {}
    atomic: set[Names] = set()

    def visit(node: Json, names: Names, within: Names) -> None:
        if not isinstance(node, dict):
            return
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if name in within:
                return
            node, within = {**types[name], **node}, (*within, name)
        if node.get("x-kubernetes-map-type") == "atomic":
            atomic.add(names)
        kind = node.get("x-kubernetes-list-type")
        if kind == "map":
            lists[names] = tuple(node.get("x-kubernetes-list-map-keys") or ())
        elif kind == "set":
            lists[names] = ()
        for name, child in (node.get("properties") or {}).items():
            visit(child, (*names, name), within)
        visit(node.get("items"), names, within)

    visit(schema, (), ())
    return Topology(lists, frozenset(atomic))


def _element(item: Json, keys: Names) -> str | None:
    if not keys:
        return None if isinstance(item, dict | list) else "v:" + orjson.dumps(item).decode()
    if not isinstance(item, dict):
        return None
    chosen = {key: item.get(key, _DEFAULTS.get(key)) for key in sorted(keys)}
    if any(isinstance(value, dict | list) or value is None for value in chosen.values()):
        return None
    return "k:" + orjson.dumps(chosen).decode()


def elements(items: list[Json], keys: Names) -> dict[str, Json] | None:
    """A list's items by their fieldsV1 element; None when they cannot be told apart."""
    found: dict[str, Json] = {}
    for item in items:
        element = _element(item, keys)
        if element is None or element in found:
            return None
        found[element] = item
    return found


def flatten(obj: JsonObject, topology: Topology) -> dict[Path, Json]:
    """An object's leaves by path, without what identifies it or only the server sets.

    The item of a list that merges is in it too, as itself: with the value True.
    """
    leaves: dict[Path, Json] = {}

    def visit(value: Json, path: Path, names: Names) -> None:
        if isinstance(value, dict) and value and names not in topology.atomic:
            for name, child in value.items():
                visit(child, (*path, f"f:{name}"), (*names, name))
            return
        keys = topology.keys(names) if isinstance(value, list) and value else None
        items = None if keys is None else elements(value, keys)
        if items is None:
            leaves[path] = value
            return
        for element, item in items.items():
            leaves[*path, element] = True
            if keys:
                for name, child in item.items():
                    visit(child, (*path, element, f"f:{name}"), (*names, name))

    for name, value in obj.items():
        if name == "metadata" and isinstance(value, dict):
            for key, child in value.items():
                if key not in _UNTRACKED:
                    visit(child, ("f:metadata", f"f:{key}"), ("metadata", key))
        elif name not in ("apiVersion", "kind"):
            visit(value, (f"f:{name}",), (name,))
    return leaves


def encode(fields: Collection[Path]) -> JsonObject:
    """``fieldsV1``; ``.`` marks a path that is in the set and has others below it."""
    root: JsonObject = {}
    for path in sorted(fields):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}

    def tidy(node: JsonObject) -> None:
        for child in node.values():
            if child == {".": {}}:
                child.clear()
            else:
                tidy(child)

    tidy(root)
    return root


def decode(tree: Json) -> Fields:
    """The set that a ``fieldsV1`` writes. What is not one yields what can be read of it."""
    found: set[Path] = set()

    def visit(node: Json, path: Path) -> None:
        if not isinstance(node, dict):
            return
        if path and (not node or "." in node):
            found.add(path)
        for element, child in node.items():
            if _legal(element):
                visit(child, (*path, element))

    visit(tree, ())
    return frozenset(found)


def _legal(element: str) -> bool:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return True
    try:
        return (kind == "k" and isinstance(orjson.loads(rest), dict)) or (
            kind == "v" and orjson.loads(rest) is not ...
        )
    except orjson.JSONDecodeError:
        return False


def label(path: Path) -> str:
    """A path as messages write it: ``.spec.containers[name="x"].image``."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            pairs = orjson.loads(rest).items()
            text += "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in pairs) + "]"
        else:
            text += f"[={rest}]"
    return text


def merge(live: Json, wanted: Json, topology: Topology, names: Names = ()) -> Json:
    """What is wanted laid over what is there: maps by field, lists by their keys, else replaced."""
    if isinstance(live, dict) and isinstance(wanted, dict) and names not in topology.atomic:
        merged = dict(live)
        for name, value in wanted.items():
            inside = name in merged
            merged[name] = merge(merged[name], value, topology, (*names, name)) if inside else value
        return merged
    keys = topology.keys(names)
    if isinstance(live, list) and isinstance(wanted, list) and keys is not None:
        old, new = elements(live, keys), elements(wanted, keys)
        if old is not None and new is not None:
            both = {**old, **new}
            for element in old.keys() & new.keys():
                both[element] = merge(old[element], new[element], topology, names)
            return [both[element] for element in _in_order(old, new)]
    return wanted


def _in_order(live: Collection[str], wanted: Collection[str]) -> list[str]:
    """All elements: the wanted in their order, each other one where the walk over both meets it."""
    order: list[str] = []
    coming = iter(wanted)
    shared = (element for element in wanted if element in live)
    following = next(shared, None)
    for element in live:
        if element not in wanted:
            order.append(element)
        elif element == following:
            for new in coming:
                order.append(new)
                if new == element:
                    break
            following = next(shared, None)
    return [*order, *coming]


def without(
    obj: JsonObject, gone: Collection[Path], kept: Collection[Path], topology: Topology
) -> JsonObject:
    """The object without some paths, and without the containers that this left empty.

    Args:
        obj: The object.
        gone: What goes.
        kept: What stays, even when it is left empty.
        topology: How the kind's lists and maps merge.
    """
    tree = encode(gone)

    def cut(value: Json, node: JsonObject, path: Path, names: Names) -> Json:
        if isinstance(value, dict):
            left: JsonObject = {}
            for name, child in value.items():
                inner = (*path, f"f:{name}")
                below = node.get(inner[-1])
                if below is None:
                    left[name] = child
                elif below and "." not in below:
                    rest = cut(child, below, inner, (*names, name))
                    if rest not in ({}, []) or inner in kept:
                        left[name] = rest
            return left
        keys = topology.keys(names)
        items = elements(value, keys) if isinstance(value, list) and keys is not None else None
        if items is None:
            return value
        remaining = []
        for element, item in items.items():
            below = node.get(element)
            if below is None:
                remaining.append(item)
            elif below and "." not in below:
                remaining.append(cut(item, below, (*path, element), names))
        return remaining

    cut_down: JsonObject = cut(obj, tree, (), ())
    return cut_down
