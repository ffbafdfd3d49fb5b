"""An OpenAPI 2.0 document as the protobuf message that Go clients ask for.

Kinds and what is below them go in full; of the operations what clients look at: the kind they are
for, what they take and give, and how they are called.

Source: google/gnostic, ``openapiv2/OpenAPIv2.proto`` (field numbers).
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from towpath.spec._wire import Json, JsonObject

__all__ = ["encoded"]

_TEXTS: Final[Mapping[str, int]] = {
    "$ref": 1,
    "format": 2,
    "title": 3,
    "description": 4,
    "pattern": 13,
}
_DOUBLES: Final[Mapping[str, int]] = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_NUMBERS: Final[Mapping[str, int]] = {
    "exclusiveMaximum": 8,
    "exclusiveMinimum": 10,
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "uniqueItems": 16,
    "maxProperties": 17,
    "minProperties": 18,
    "readOnly": 27,
}
_METHODS: Final[Mapping[str, int]] = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encoded(document: JsonObject) -> bytes:
    """The bytes of an ``openapi.v2.Document``."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    routes = b"".join(_named(2, path, _item(item)) for path, item in document["paths"].items())
    types = b"".join(
        _named(1, name, _schema(schema)) for name, schema in document["definitions"].items()
    )
    return (
        _text(1, document["swagger"]) + _message(2, info) + _message(8, routes) + _message(9, types)
    )


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _texts(field: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(field, value) for value in values)


def _named(field: int, name: str, data: bytes) -> bytes:
    """One of gnostic's ``Named…`` messages: a name and what it stands for."""
    return _message(field, _text(1, name) + _message(2, data))


def _any(value: Json) -> bytes:
    """``Any``: the value as YAML, of which JSON is a part."""
    return _message(2, orjson.dumps(value) + b"\n")


def _extensions(field: int, node: JsonObject) -> bytes:
    return b"".join(_named(field, k, _any(v)) for k, v in node.items() if k.startswith("x-"))


def _schema(schema: JsonObject) -> bytes:
    out = bytearray()
    for key, value in schema.items():
        if key in _TEXTS:
            out += _text(_TEXTS[key], value)
        elif key in _DOUBLES:
            out += _varint(_DOUBLES[key] << 3 | 1) + struct.pack("<d", value)
        elif key in _NUMBERS:
            out += _varint(_NUMBERS[key] << 3) + _varint(int(value))
        elif key == "default":
            out += _message(5, _any(value))
        elif key == "required":
            out += _texts(19, value)
        elif key == "enum":
            out += b"".join(_message(20, _any(item)) for item in value)
        elif key == "additionalProperties":
            flag = isinstance(value, bool)
            out += _message(21, b"\x10" + _varint(value) if flag else _message(1, _schema(value)))
        elif key == "type":
            out += _message(22, _text(1, value))
        elif key == "items":
            out += _message(23, _message(1, _schema(value)))
        elif key == "properties":
            inner = b"".join(_named(1, name, _schema(child)) for name, child in value.items())
            out += _message(25, inner)
    return bytes(out) + _extensions(31, schema)


def _item(item: JsonObject) -> bytes:
    return b"".join(_message(_METHODS[m], _operation(o)) for m, o in item.items() if m in _METHODS)


def _operation(operation: JsonObject) -> bytes:
    answers = b"".join(
        _named(1, code, _message(1, _text(1, answer["description"])))
        for code, answer in operation["responses"].items()
    )
    return (
        _texts(1, operation["tags"])
        + _text(3, operation["description"])
        + _text(5, operation["operationId"])
        + _texts(6, operation["produces"])
        + _texts(7, operation.get("consumes", ()))
        + _message(9, answers)
        + _texts(10, operation["schemes"])
        + _extensions(13, operation)
    )
