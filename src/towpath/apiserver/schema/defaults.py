"""What a schema gives where nothing is said.

Source: CustomResourceDefinition documentation, "Defaulting".
"""

from towpath.apiserver.schema.structural import Node
from towpath.spec._wire import Json, JsonObject

__all__ = ["complete"]


def complete(value: Json, node: Node) -> Json:
    """A value with the defaults of its schema, and of all that is in it; itself, where all is said.

    Args:
        value: What is looked at. Not changed.
        node: What holds for it.
    """
    node.settle()
    if not node.defaulting:
        return value
    if isinstance(value, dict):
        return _fields(value, node)
    if isinstance(value, list) and node.items is not None:
        new = [_completed(item, node.items) for item in value]
        return value if all(a is b for a, b in zip(value, new, strict=True)) else new
    return value


def _fields(value: JsonObject, node: Node) -> JsonObject:
    new: JsonObject = {}
    for name, child in node.giving:
        if name in value:
            new[name] = _completed(value[name], child)
            continue
        child.settle()
        if child.defaults:
            new[name] = complete(child.default(), child)
    if (rest := node.additional) is not None and (rest.defaulting or rest.defaults):
        for name, found in value.items():
            if name not in node.properties:
                new[name] = _completed(found, rest)
    if all(name in value and value[name] is found for name, found in new.items()):
        return value
    return {**value, **new}


def _completed(value: Json, node: Node) -> Json:
    if value is None:
        node.settle()
        if node.defaults and not node.nullable:
            value = node.default()
    return complete(value, node)
