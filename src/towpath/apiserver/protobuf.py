"""Kubernetes' protobuf encoding of request bodies, as far as kubectl sends it.

``kubectl create namespace`` and its siblings send built-in kinds in protobuf and do not fall back
to JSON. Only decoding is needed: every client that sends protobuf accepts JSON answers. What is not
known is refused, so that nothing is lost unseen.

Source: Kubernetes API concepts, "Kubernetes Protobuf encoding".
"""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from towpath.apiserver import failures
from towpath.apiserver.messages import ALIKE, IGNORED, KINDS, MESSAGES
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["MEDIA", "decoded"]

MEDIA: Final = "application/vnd.kubernetes.protobuf"

_MAGIC: Final = b"k8s\x00"


def decoded(data: bytes) -> JsonObject:
    """The object in a protobuf body.

    Raises:
        InvalidError: it is not one (reason ``BadRequest``), or of a kind that is taken as JSON only
            (reason ``UnsupportedMediaType``).
    """
    if not data.startswith(_MAGIC):
        raise failures.bad_request("the body is not Kubernetes protobuf")
    try:
        envelope = _message("Unknown", data[len(_MAGIC) :])
        about = envelope.get("typeMeta") or {}
        kind = about.get("kind", "")
        if kind not in KINDS:
            raise _unread(kind or "this body")
        raw = base64.b64decode(envelope.get("raw", ""))
        return {**about, **_message(ALIKE.get(kind, kind), raw)}
    except (IndexError, OverflowError, ValueError) as exc:
        raise failures.bad_request(f"the body is not Kubernetes protobuf: {exc}") from exc


def _unread(what: str) -> InvalidError:
    told = f"{what} is not accepted as {MEDIA}; send application/json"
    return InvalidError(told, reason=Reason.UNSUPPORTED_MEDIA_TYPE)


def _message(name: str, data: bytes) -> JsonObject:
    table = MESSAGES[name]
    found: JsonObject = {}
    for number, raw in _fields(data):
        if number not in table:
            if raw:
                raise _unread(f"field {number} of {name}")
            continue
        field, kind = table[number]
        if kind == IGNORED:
            continue
        if kind.startswith("[]"):
            found.setdefault(field, []).append(_value(kind[2:], raw))
        elif kind.startswith("{}"):
            pair = dict(_fields(_bytes(raw)))
            key = _bytes(pair.get(1, b"")).decode()
            found.setdefault(field, {})[key] = _value(kind[2:], pair.get(2, b""))
        else:
            value = _value(kind.removesuffix("?"), raw)
            if kind.endswith("?") or value not in ("", 0, False, None, {}):
                found[field] = value
    return found


def _value(kind: str, raw: int | bytes) -> Json:
    if kind in ("bool", "int"):
        if isinstance(raw, bytes):
            raise ValueError("a number was expected")
        signed = raw - (1 << 64) if raw >> 63 else raw
        return bool(raw) if kind == "bool" else signed
    if kind == "string":
        return _bytes(raw).decode()
    if kind == "bytes":
        return base64.b64encode(_bytes(raw)).decode()
    message = _message(kind, _bytes(raw))
    if kind == "Time":
        seconds = message.get("seconds")
        return seconds and datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind == "ExtraValue":
        return message.get("items", [])
    if kind == "Quantity":
        return message.get("string", "0")
    if kind == "IntOrString":
        return message.get("strVal", "") if message.get("type") else message.get("intVal", 0)
    return message


def _bytes(raw: int | bytes) -> bytes:
    if isinstance(raw, int):
        raise ValueError("bytes were expected")  # noqa: TRY004 - the input is wrong, not the caller
    return raw


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and raw values of a message, in order."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"wire type {kind}")
        size, at = _varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
    raise ValueError("a number is too long")
