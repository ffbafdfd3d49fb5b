"""The three patches that are functions of the object and the patch alone.

Sources: RFC 7386 (JSON Merge Patch), RFC 6902 (JSON Patch), Kubernetes API conventions, "Strategic
Merge Patch". Nothing given is changed; what is returned may share parts with what was given.
"""

import copy
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import orjson

from towpath.apiserver import failures
from towpath.apiserver.fields import Topology
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
        raise failures.bad_request("a JSON patch is a list of operations")
    if len(operations) > _OPERATIONS:
        raise InvalidError(
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{_OPERATIONS}, got {len(operations)}",
            reason=Reason.TOO_LARGE,
        )
    holder = {"": copy.deepcopy(document)}  # so that the whole document is a member as well
    copied = 0
    for operation in operations:
        name = operation.get("op")
        if not isinstance(name, str) or name not in _OPS:
            raise failures.bad_request(f"JSON patch operation {name!r} is not known")
        path = _pointer(operation, "path")
        value: Json = None
        if name in ("add", "replace", "test"):
            if "value" not in operation:
                raise failures.patch_failed(f"JSON patch operation {name!r} has no value")
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
                raise failures.patch_failed("JSON patch cannot move a value into itself")
            else:
                _remove(holder, source, None)
        _OPS[name](holder, path, value)
        if "" not in holder:
            raise failures.patch_failed("a JSON patch cannot remove the whole document")
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
        raise failures.patch_failed(f"JSON patch needs a JSON pointer as {field!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _index(container: list[Json], token: str, end: int) -> int:
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token[0] == "0"):
        raise failures.patch_failed(f"JSON patch: {token!r} is not an index")
    if len(token) > 9 or int(token) >= end:
        raise failures.patch_failed(f"JSON patch: there is no index {token}")
    return int(token)


def _get(holder: Json, path: list[str]) -> Json:
    value = holder
    for token in path:
        if isinstance(value, list):
            value = value[_index(value, token, len(value))]
        elif isinstance(value, dict) and token in value:
            value = value[token]
        else:
            raise failures.patch_failed(f"JSON patch: there is no {'/'.join(path)!r}")
    return value


def _add(holder: Json, path: list[str], value: Json) -> None:
    parent, last = _get(holder, path[:-1]), path[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else _index(parent, last, len(parent) + 1)
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise failures.patch_failed(f"JSON patch cannot add {'/'.join(path)!r}")


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
        raise failures.patch_failed(f"JSON patch: the test of {'/'.join(path)!r} failed")


_OPS: Final[Mapping[str, Callable[[Json, list[str], Json], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
    "move": _add,
    "copy": _add,
}

_ORDER: Final = "$setElementOrder/"
_DELETE: Final = "$deleteFromPrimitiveList/"
_RETAIN: Final = "$retainKeys"


def strategic_merge(
    target: Json, patch: Json, topology: Topology, names: tuple[str, ...] = ()
) -> Json:
    """Strategic merge patch of a built-in kind.

    Maps are merged, lists that have keys by the first of them, sets by their members, all else is
    replaced. The directives ``$patch``, ``$retainKeys``, ``$deleteFromPrimitiveList`` and
    ``$setElementOrder`` are honoured.

    Args:
        target: What is there.
        patch: What is to change.
        topology: How the kind's lists merge.
        names: Fields that lead to the target.

    Raises:
        InvalidError: a directive is not one, or an item lacks its key (reason ``BadRequest``).
    """
    if isinstance(patch, list):
        return _merged_list(target if isinstance(target, list) else [], patch, topology, names)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive not in (None, "delete", "merge", "replace"):
        raise failures.bad_request(f"Unknown patch type: {str(directive)[:100]}")
    if directive == "delete":
        return None
    base = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    if _RETAIN in patch:
        retained = {_token(name) for name in _listed(patch, _RETAIN)}
        base = {key: value for key, value in base.items() if _token(key) in retained}
    _delete_from_lists(base, patch)
    for field, value in patch.items():
        if field.startswith("$"):
            continue
        inner = (*names, field)
        merged = None if value is None else strategic_merge(base.get(field), value, topology, inner)
        if merged is None:
            base.pop(field, None)
        else:
            base[field] = merged
    for directive in patch:
        field = directive.removeprefix(_ORDER)
        if field != directive and isinstance(base.get(field), list):
            order = _listed(patch, directive)
            base[field] = _ordered(base[field], order, topology.keys((*names, field)))
    return base


def _delete_from_lists(base: JsonObject, patch: JsonObject) -> None:
    for directive in patch:
        field = directive.removeprefix(_DELETE)
        if field != directive and isinstance(base.get(field), list):
            gone = {_token(item) for item in _listed(patch, directive)}
            base[field] = [item for item in base[field] if _token(item) not in gone]


def _token(value: Json) -> Hashable:
    """What stands for a value in a set or as a key: equal for equal values, and only for those."""
    if isinstance(value, dict):
        return frozenset([(name, _token(child)) for name, child in value.items()])
    if isinstance(value, list):
        return tuple([_token(child) for child in value])
    return isinstance(value, bool), value


def _listed(patch: JsonObject, directive: str) -> list[Json]:
    value = patch[directive]
    if not isinstance(value, list):
        raise failures.bad_request(f"a strategic merge patch has no list as {directive[:100]!r}")
    return value


def _merged_list(
    target: list[Json], patch: list[Json], topology: Topology, names: tuple[str, ...]
) -> list[Json]:
    keys = topology.keys(names)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [i for i in patch if not (isinstance(i, dict) and i.get("$patch") == "replace")]
    if keys == ():
        there = {_token(item) for item in target}
        return target + [item for item in patch if _token(item) not in there]
    if keys is None:
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    key = keys[0]
    merged: dict[int, Json] = dict(enumerate(target))
    places: dict[Hashable, list[int]] = {}
    for at, old in merged.items():
        places.setdefault(_token(_key_of(old, key)), []).append(at)
    for new_at, item in enumerate(patch, len(target)):
        if not isinstance(item, dict) or key not in item:
            where = ".".join(names)
            raise failures.bad_request(
                f"an item of {where} in the patch does not contain declared merge key: {key}"
            )
        token = _token(item[key])
        if item.get("$patch") == "delete":
            for at in places.pop(token, ()):
                del merged[at]
        else:
            at = places.setdefault(token, [new_at])[0]
            merged[at] = strategic_merge(merged.get(at, {}), item, topology, names)
    return list(merged.values())


def _key_of(item: Json, key: str) -> Json:
    return item.get(key) if isinstance(item, dict) else None


def _ordered(items: list[Json], order: list[Json], keys: tuple[str, ...] | None) -> list[Json]:
    """The items with those that an order names in that order, the others where they are."""
    if keys is None:
        return items
    known: dict[Hashable, int] = {}
    for at, wanted in enumerate(order):
        known.setdefault(_token(_key_of(wanted, keys[0]) if keys else wanted), at)
    named: list[tuple[int, Json]] = []
    places = []
    for at, item in enumerate(items):
        found = _token(_key_of(item, keys[0]) if keys else item)
        if found in known:
            places.append(at)
            named.append((known[found], item))
    result = list(items)
    for at, (_, item) in zip(places, sorted(named, key=lambda pair: pair[0]), strict=True):
        result[at] = item
    return result
