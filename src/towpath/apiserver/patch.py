"""The three patches that are functions of the object and the patch alone.

Sources: RFC 7386 (JSON Merge Patch), RFC 6902 (JSON Patch), Kubernetes API conventions, "Strategic
Merge Patch". Nothing given is changed; what is returned may share parts with what was given.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["json_patch", "merge_patch", "strategic_merge"]

_OPERATIONS: Final = 10_000
"""Most operations of one JSON patch; the limit of the real API server."""
_COPIED: Final = 3 * 1024 * 1024
"""Most bytes that ``copy`` operations may add; copies of copies grow without bound otherwise."""


def merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(document: Json, operations: Json) -> Json:
    """RFC 6902.

    Raises:
        InvalidError: not a list of operations (reason ``BadRequest``), or one cannot be done.
    """
    if not isinstance(operations, list) or not all(isinstance(o, dict) for o in operations):
        raise InvalidError("a JSON patch is a list of operations", reason=Reason.BAD_REQUEST)
    if len(operations) > _OPERATIONS:
        raise InvalidError(
            f"a JSON patch has at most {_OPERATIONS} operations", reason=Reason.TOO_LARGE
        )
    holder = {"": copy.deepcopy(document)}  # so that the whole document is a member as well
    copied = 0
    for operation in operations:
        name = operation.get("op")
        if not isinstance(name, str) or name not in _OPS:
            raise InvalidError(
                f"JSON patch operation {name!r} is not known", reason=Reason.BAD_REQUEST
            )
        path = _pointer(operation, "path")
        value: Json = None
        if name in ("add", "replace", "test"):
            if "value" not in operation:
                raise InvalidError(f"JSON patch operation {name!r} has no value")
            value = copy.deepcopy(operation["value"])
        elif name in ("copy", "move"):
            source = _pointer(operation, "from")
            value = _get(holder, source)
            if name == "copy":
                copied += _size(value)
                if copied > _COPIED:
                    raise InvalidError("a JSON patch copies too much", reason=Reason.TOO_LARGE)
                value = copy.deepcopy(value)
            elif path[: len(source)] == source and path != source:
                raise InvalidError("JSON patch cannot move a value into itself")
            else:
                _remove(holder, source, None)
        _OPS[name](holder, path, value)
        if "" not in holder:
            raise InvalidError("a JSON patch cannot remove the whole document")
    return holder[""]


def _size(value: Json) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError as exc:
        raise InvalidError("a JSON patch nests too deeply", reason=Reason.BAD_REQUEST) from exc


def _pointer(operation: JsonObject, field: str) -> list[str]:
    """RFC 6901; the leading empty token names the document in its holder."""
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise InvalidError(f"JSON patch needs a JSON pointer as {field!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _index(container: list[Json], token: str, end: int) -> int:
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token[0] == "0"):
        raise InvalidError(f"JSON patch: {token!r} is not an index")
    if len(token) > 9 or int(token) >= end:
        raise InvalidError(f"JSON patch: there is no index {token}")
    return int(token)


def _get(holder: Json, path: list[str]) -> Json:
    value = holder
    for token in path:
        if isinstance(value, list):
            value = value[_index(value, token, len(value))]
        elif isinstance(value, dict) and token in value:
            value = value[token]
        else:
            raise InvalidError(f"JSON patch: there is no {'/'.join(path)!r}")
    return value


def _add(holder: Json, path: list[str], value: Json) -> None:
    parent, last = _get(holder, path[:-1]), path[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else _index(parent, last, len(parent) + 1)
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise InvalidError(f"JSON patch cannot add {'/'.join(path)!r}")


def _remove(holder: Json, path: list[str], _: Json) -> None:
    _get(holder, path)
    parent, last = _get(holder, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]


def _replace(holder: Json, path: list[str], value: Json) -> None:
    _get(holder, path)
    parent, last = _get(holder, path[:-1]), path[-1]
    parent[int(last) if isinstance(parent, list) else last] = value


def _test(holder: Json, path: list[str], value: Json) -> None:
    found = _get(holder, path)
    if found != value or isinstance(found, bool) != isinstance(value, bool):
        raise InvalidError(f"JSON patch: the test of {'/'.join(path)!r} failed")


_OPS: Final[Mapping[str, Callable[[Json, list[str], Json], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
    "move": _add,
    "copy": _add,
}

_MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists of built-in kinds that merge, by field name -> the key of an item (the first present)."""
_SETS: Final = frozenset({"finalizers"})


def strategic_merge(target: Json, patch: Json, name: str = "") -> Json:
    """Strategic merge patch of a built-in kind.

    Args:
        target: What is there.
        patch: Maps are merged, lists of known fields by their key, all else is replaced; the
            directives ``$patch``, ``$retainKeys`` and ``$deleteFromPrimitiveList`` are honoured.
        name: Field that holds the target; decides how a list merges.
    """
    if isinstance(patch, list):
        return _merged_list(target if isinstance(target, list) else [], patch, name)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "delete":
        return None
    base = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    if isinstance(retained := patch.get("$retainKeys"), list):
        base = {key: value for key, value in base.items() if key in retained}
    for field, value in patch.items():
        if field.startswith("$deleteFromPrimitiveList/"):
            field = field.partition("/")[2]  # noqa: PLW2901 - the directive's own field from here
            left = [item for item in base.get(field) or [] if item not in (value or [])]
            if field in base:
                base[field] = left
        elif field.startswith("$"):
            continue
        elif value is None:
            base.pop(field, None)
        else:
            merged = strategic_merge(base.get(field), value, field)
            if merged is None:
                base.pop(field, None)
            else:
                base[field] = merged
    return base


def _merged_list(target: list[Json], patch: list[Json], name: str) -> list[Json]:
    if name in _SETS:
        return target + [item for item in patch if item not in target]
    if any(isinstance(i, dict) and i.get("$patch") == "replace" for i in patch):
        return [i for i in patch if not (isinstance(i, dict) and i.get("$patch") == "replace")]
    if any(not isinstance(item, dict) for item in (*target, *patch)):
        return patch
    key = next((k for k in _MERGE_KEYS.get(name, ()) if all(k in item for item in patch)), None)
    if key is None:
        return patch
    merged = list(target)
    for item in patch:
        at = next((i for i, old in enumerate(merged) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            merged = [old for old in merged if old.get(key) != item[key]]
        elif at is None:
            merged.append(strategic_merge({}, item))
        else:
            merged[at] = strategic_merge(merged[at], item)
    return merged
