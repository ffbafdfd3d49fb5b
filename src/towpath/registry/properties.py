"""Custom properties: from plain values to their wire form and back, and what a server accepts."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import orjson

from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject
from towpath.spec.registry import (
    MetadataBoolValue,
    MetadataDoubleValue,
    MetadataIntValue,
    MetadataProtoValue,
    MetadataStringValue,
    MetadataStructValue,
    MetadataValue,
)

__all__ = ["Plain", "accepted", "plain", "wire"]

Plain: TypeAlias = str | int | float | bool

INT_DIGITS: Final = 9
"""The official clients refuse an answer with a longer integer."""
NAME_LENGTH: Final = 255

_INT = re.compile(r"[+-]?[0-9]{1,20}")
_LARGEST: Final = 10**INT_DIGITS - 1
_EXACT: Final = 2**53


def wire(values: Mapping[str, Plain]) -> dict[str, MetadataValue]:
    """The wire form of plain values.

    An integer of more than nine digits becomes a number (double), as long as that is exact.

    Raises:
        InvalidError: an integer is too large to be kept exactly.
    """
    return {name: _wire(name, value) for name, value in values.items()}


def _wire(name: str, value: Plain) -> MetadataValue:
    if isinstance(value, bool):
        return MetadataBoolValue(bool_value=value)
    if isinstance(value, str):
        return MetadataStringValue(string_value=value)
    if isinstance(value, float):
        return MetadataDoubleValue(double_value=value)
    if abs(value) <= _LARGEST:
        return MetadataIntValue(int_value=str(value))
    if abs(value) <= _EXACT:
        return MetadataDoubleValue(double_value=float(value))
    raise InvalidError(
        f"custom property {name!r} is an integer too large to be kept exactly",
        hint="Store it as a text.",
    )


def plain(properties: Mapping[str, MetadataValue] | None) -> dict[str, Plain]:
    """The plain values of custom properties; structs and protos, which have none, are left out."""
    values: dict[str, Plain] = {}
    for name, value in (properties or {}).items():
        match value:
            case MetadataStringValue():
                values[name] = value.string_value
            case MetadataIntValue():
                values[name] = int(value.int_value)
            case MetadataDoubleValue():
                values[name] = value.double_value
            case MetadataBoolValue():
                values[name] = value.bool_value
    return values


def accepted(properties: Mapping[str, MetadataValue]) -> JsonObject:
    """Custom properties as they are stored and answered (registry specification 1.3).

    Integers lose leading zeros; a struct may come as base64 or as JSON text and is kept as base64,
    so that what was read can be written back.

    Raises:
        InvalidError: a value is of a type that is not stored, or outside its range.
    """
    return {name: _accepted(name, value) for name, value in properties.items()}


def _accepted(name: str, value: MetadataValue) -> Json:
    if len(name) > NAME_LENGTH:
        raise _refused(name, f"has a name of more than {NAME_LENGTH} characters")
    match value:
        case MetadataIntValue():
            return {"int_value": _int(name, value.int_value), "metadataType": value.metadataType}
        case MetadataStructValue():
            struct = _struct(name, value.struct_value)
            return {"metadataType": value.metadataType, "struct_value": struct}
        case MetadataProtoValue():
            raise _refused(name, "is a MetadataProtoValue, which is not stored")
        case MetadataStringValue():
            return {"metadataType": value.metadataType, "string_value": value.string_value}
        case MetadataDoubleValue():
            return {"double_value": value.double_value, "metadataType": value.metadataType}
        case MetadataBoolValue():
            return {"bool_value": value.bool_value, "metadataType": value.metadataType}


def _int(name: str, text: str) -> str:
    if not _INT.fullmatch(text) or abs(int(text)) > _LARGEST:
        raise _refused(
            name,
            f"is not an integer of at most {INT_DIGITS} digits",
            "Larger numbers fit a MetadataDoubleValue or a MetadataStringValue.",
        )
    return str(int(text))


def _struct(name: str, text: str) -> str:
    raw = text.encode()
    if not text.lstrip().startswith("{"):
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise _refused(name, "is a struct that is not base64") from exc
    try:
        decoded = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise _refused(name, "is a struct that is not JSON") from exc
    if not isinstance(decoded, dict):
        raise _refused(name, "is a struct that is not a JSON object")
    return base64.b64encode(raw).decode()


def _refused(name: str, why: str, hint: str = "") -> InvalidError:
    shown = name if len(name) <= 60 else name[:60] + "…"
    return InvalidError(
        f"custom property '{shown}' {why}: bad request", reason=Reason.BAD_REQUEST, hint=hint
    )
