"""How the body of a built-in kind is read: as the API server reads it into its own types.

Null is the same as none, an empty word where one of a few is expected as well; a value of another
type than the field's is refused. Fields that are not known stay as they are: they are told and
dropped elsewhere. Custom kinds need none of this: null is a value there, and types are checked
with everything else.

Source: Kubernetes API conventions, "Optional vs. Required" and "Nullable"; the messages are those
of Go's JSON decoder, which users know.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from towpath.apiserver.quantity import canonical
from towpath.apiserver.structures import REFERENCE
from towpath.spec._wire import Json, JsonObject

__all__ = ["decoded"]

_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "bool",
    type(None): "null",
    dict: "object",
    float: "number",
    int: "number",
    list: "array",
    str: "string",
}
_RANGES: Final = {"int32": 2**31, "int64": 2**63}
_ZEROS: Final[Mapping[str, Json]] = {"boolean": False, "integer": 0, "number": 0, "string": ""}


def decoded(document: JsonObject, types: Mapping[str, JsonObject], value: Json) -> Json:
    """A value as its type reads it.

    Args:
        document: Schema of the value, which may refer to named types.
        types: The named types.
        value: JSON.

    Raises:
        ValueError: a field is of another type; says which, in the decoder's words.
    """
    return _Reader(types).read(document, value, "", "")


class _Reader:
    """Walks a value along its schema.

    ``owner`` is the type whose field is looked at, ``path`` the fields that lead there.
    """

    def __init__(self, types: Mapping[str, JsonObject]) -> None:
        self._types = types

    def read(self, node: JsonObject, value: Json, owner: str, path: str) -> Json:
        name, node = self._resolved(node)
        if name in _SPECIAL:
            return _SPECIAL[name](value)
        kind = node.get("type")
        if kind == "object":
            return self._object(name, node, value, (owner, path))
        if kind == "array":
            if not isinstance(value, list):
                raise self._refused(node, value, owner, path)
            return [
                self._zero(node["items"])
                if item is None
                else self.read(node["items"], item, owner, path)
                for item in value
            ]
        if kind is not None:
            self._check(node, value, owner, path)
        return value

    def _object(self, name: str, node: JsonObject, value: Json, at: tuple[str, str]) -> JsonObject:
        owner, path = at
        if not isinstance(value, dict):
            raise self._refused({**node, "name": name}, value, owner, path)
        fields, rest = node.get("properties"), node.get("additionalProperties")
        found: JsonObject = {}
        for key, member in value.items():
            if fields is not None and key in fields:
                empty = "enum" in fields[key] and member == "" and "" not in fields[key]["enum"]
                if member is not None and not empty:
                    inner = f"{path}.{key}" if path else key
                    found[key] = self.read(fields[key], member, name or owner, inner)
            elif isinstance(rest, dict):
                found[key] = (
                    self._zero(rest) if member is None else self.read(rest, member, owner, path)
                )
            elif member is not None or node.get("x-kubernetes-preserve-unknown-fields"):
                found[key] = member
        return found

    def _resolved(self, node: JsonObject) -> tuple[str, JsonObject]:
        if "$ref" not in node:
            return "", node
        name = node["$ref"].removeprefix(REFERENCE)
        return name, self._types[name]

    def _zero(self, node: JsonObject) -> Json:
        """What null is as a member: the zero value of its type."""
        name, node = self._resolved(node)
        if name == "Quantity":
            return "0"
        kind = node.get("type")
        return _ZEROS.get(str(kind), [] if kind == "array" else {})

    def _check(self, node: JsonObject, value: Json, owner: str, path: str) -> None:
        kind, form = node["type"], node.get("format", "")
        if kind == "integer":
            limit = _RANGES.get(form, 2**63)
            if isinstance(value, bool) or not isinstance(value, int):
                raise self._refused(node, value, owner, path)
            if not -limit <= value < limit:
                raise self._refused(node, value, owner, path, f"number {value}")
        elif kind == "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._refused(node, value, owner, path)
        elif kind == "boolean":
            if not isinstance(value, bool):
                raise self._refused(node, value, owner, path)
        elif not isinstance(value, str):
            raise self._refused(node, value, owner, path)
        elif form == "byte":
            _base64(value)

    def _refused(
        self, node: JsonObject, value: Json, owner: str, path: str, given: str = ""
    ) -> ValueError:
        if not given:
            given = f"number {value}" if isinstance(value, float) else _JSON_NAMES[type(value)]
        where = f"Go struct field {owner}.{path}" if path else "Go value"
        return ValueError(f"json: cannot unmarshal {given} into {where} of type {self._go(node)}")

    def _go(self, node: JsonObject) -> str:
        """A type as the decoder's messages write it."""
        name = str(node.get("name", ""))
        if not name:
            name, node = self._resolved(node)
        kind = node.get("type")
        if name:
            return f"v1.{name}"
        if kind == "array":
            return "[]uint8" if node.get("format") == "byte" else f"[]{self._go(node['items'])}"
        if kind == "object":
            rest = node.get("additionalProperties")
            return f"map[string]{self._go(rest) if isinstance(rest, dict) else 'interface {}'}"
        if kind == "integer":
            return str(node.get("format", "int64"))
        if node.get("format") == "byte":
            return "[]uint8"
        return {"boolean": "bool", "number": "float64"}.get(str(kind), str(kind))


def _base64(text: str) -> None:
    try:
        base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as exc:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n"
        at = next((i for i, char in enumerate(text) if char not in alphabet), len(text))
        raise ValueError(f"illegal base64 data at input byte {at}") from exc


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise _mistyped(value, "string")
    return value


def _mistyped(value: Json, wanted: str) -> ValueError:
    given = _JSON_NAMES[type(value)]
    return ValueError(f"json: cannot unmarshal {given} into Go value of type {wanted}")


def _time(value: Json, layout: str = "2006-01-02T15:04:05Z07:00") -> Json:
    text = _text(value)
    try:
        if "T" in text and datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise ValueError(
        f'parsing time "{text[:100]}" as "{layout}": cannot parse "{text[:100]}" as "2006"'
    )


def _micro_time(value: Json) -> Json:
    return _time(value, "2006-01-02T15:04:05.000000Z07:00")


def _quantity(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        value = ""
    return canonical(str(value).strip())


def _int_or_string(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _mistyped(value, "int32")
    return value


_SPECIAL: Final = {
    "IntOrString": _int_or_string,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "Time": _time,
}
"""Types that read themselves."""
