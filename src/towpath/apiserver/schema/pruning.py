"""What a schema does not know goes, and so does null where it is no value.

Source: CustomResourceDefinition documentation, "Field pruning" and "Defaulting and Nullable".
"""

from towpath.apiserver.schema.problem import below
from towpath.apiserver.schema.structural import META, Node
from towpath.spec._wire import Json, JsonObject

__all__ = ["prune"]


def prune(value: Json, node: Node, path: str, gone: list[str]) -> Json:
    """A value without what its schema does not know; itself, where that is nothing.

    Args:
        value: What is looked at. Not changed.
        node: What holds for it.
        path: Where it stands.
        gone: Is told the paths of the fields that went.
    """
    node.settle()
    if isinstance(value, dict):
        return _fields(value, node, path, gone)
    if not isinstance(value, list):
        return value
    if node.items is None:
        if node.preserve:
            return value
        return _items(value, [_emptied(v, f"{path}[{i}]", gone) for i, v in enumerate(value)])
    kept = node.items
    if kept.plain:
        return value
    return _items(value, [prune(v, kept, f"{path}[{i}]", gone) for i, v in enumerate(value)])


def _items(old: list[Json], new: list[Json]) -> list[Json]:
    return old if all(a is b for a, b in zip(old, new, strict=True)) else new


def _fields(value: JsonObject, node: Node, path: str, gone: list[str]) -> JsonObject:
    if node.inert:
        return value
    properties, additional = node.properties, node.additional
    changed: dict[str, Json] = {}
    dropped: set[str] = set()
    for name, child in value.items():
        if node.embedded and name in META:
            continue
        kept = properties.get(name, additional)
        if kept is None:
            if node.open and not node.preserve:
                changed[name] = _emptied(child, below(path, name), gone)
            elif not node.preserve:
                dropped.add(name)
                gone.append(below(path, name))
        elif type(child) in kept.plain:
            continue
        elif child is None:
            if not _null(kept):
                dropped.add(name)
        elif isinstance(child, dict | list):
            new = prune(child, kept, below(path, name), gone)
            if new is not child:
                changed[name] = new
    if not changed and not dropped:
        return value
    return {name: changed.get(name, v) for name, v in value.items() if name not in dropped}


def _null(node: Node) -> bool:
    """Whether null stays: as a value, or until a default takes its place."""
    node.settle()
    return node.nullable or node.defaults


def _emptied(value: Json, path: str, gone: list[str]) -> Json:
    """A value of which nothing is known but that it may be there."""
    if isinstance(value, dict) and value:
        gone += [below(path, name) for name in value]
        return {}
    if isinstance(value, list):
        return _items(value, [_emptied(v, f"{path}[{i}]", gone) for i, v in enumerate(value)])
    return value
