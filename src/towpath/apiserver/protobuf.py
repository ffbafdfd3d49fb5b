"""Kubernetes' protobuf encoding of request bodies, as far as kubectl sends it.

``kubectl create namespace`` and its siblings send built-in kinds in protobuf and do not fall back
to JSON. Only decoding is needed: every client that sends protobuf accepts JSON answers. A message
is a table of field numbers; fields not in it are left out.

Source: Kubernetes API concepts, "Kubernetes Protobuf encoding"; field numbers of the published
``generated.proto`` files of meta/v1 and core/v1.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from towpath.apiserver import failures
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["MEDIA", "decoded"]

MEDIA: Final = "application/vnd.kubernetes.protobuf"

_MAGIC: Final = b"k8s\x00"

Message = Mapping[int, tuple[str, str]]

_MESSAGES: Final[Mapping[str, Message]] = {
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", "bytes")},
    "TypeMeta": {1: ("apiVersion", "string"), 2: ("kind", "string")},
    "ObjectMeta": {
        1: ("name", "string"),
        2: ("generateName", "string"),
        3: ("namespace", "string"),
        5: ("uid", "string"),
        6: ("resourceVersion", "string"),
        8: ("creationTimestamp", "Time"),
        11: ("labels", "{}string"),
        12: ("annotations", "{}string"),
        13: ("ownerReferences", "[]OwnerReference"),
        14: ("finalizers", "[]string"),
    },
    "OwnerReference": {
        1: ("kind", "string"),
        3: ("name", "string"),
        4: ("uid", "string"),
        5: ("apiVersion", "string"),
        6: ("controller", "bool?"),
        7: ("blockOwnerDeletion", "bool?"),
    },
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int?"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "bool?"),
        4: ("propagationPolicy", "string"),
        5: ("dryRun", "[]string"),
    },
    "Preconditions": {1: ("uid", "string"), 2: ("resourceVersion", "string")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "{}string"),
        3: ("binaryData", "{}bytes"),
        4: ("immutable", "bool?"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "{}bytes"),
        3: ("type", "string"),
        4: ("stringData", "{}string"),
        5: ("immutable", "bool?"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "NamespaceSpec")},
    "NamespaceSpec": {1: ("finalizers", "[]string")},
    "ServiceAccount": {
        1: ("metadata", "ObjectMeta"),
        2: ("secrets", "[]ObjectReference"),
        3: ("imagePullSecrets", "[]LocalObjectReference"),
        4: ("automountServiceAccountToken", "bool?"),
    },
    "ObjectReference": {
        1: ("kind", "string"),
        2: ("namespace", "string"),
        3: ("name", "string"),
        4: ("uid", "string"),
        5: ("apiVersion", "string"),
        6: ("resourceVersion", "string"),
        7: ("fieldPath", "string"),
    },
    "LocalObjectReference": {1: ("name", "string")},
    "Service": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ServiceSpec")},
    "ServiceSpec": {
        1: ("ports", "[]ServicePort"),
        2: ("selector", "{}string"),
        3: ("clusterIP", "string"),
        4: ("type", "string"),
        5: ("externalIPs", "[]string"),
        7: ("sessionAffinity", "string"),
        10: ("externalName", "string"),
    },
    "ServicePort": {
        1: ("name", "string"),
        2: ("protocol", "string"),
        3: ("port", "int"),
        4: ("targetPort", "IntOrString"),
        5: ("nodePort", "int"),
        6: ("appProtocol", "string"),
    },
    "Time": {1: ("seconds", "int"), 2: ("nanos", "int")},
    "IntOrString": {1: ("type", "int"), 2: ("intVal", "int"), 3: ("strVal", "string")},
}
_KINDS: Final = frozenset(
    {"ConfigMap", "DeleteOptions", "Namespace", "Secret", "Service", "ServiceAccount"}
)
"""Kinds that may be a body; the other messages are parts of them."""


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
        if kind not in _KINDS:
            raise InvalidError(
                f"{kind or 'this body'} is not accepted as {MEDIA}; send application/json",
                reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            )
        raw = base64.b64decode(envelope.get("raw", ""))
        return {**about, **_message(kind, raw)}
    except (IndexError, OverflowError, ValueError) as exc:
        raise failures.bad_request(f"the body is not Kubernetes protobuf: {exc}") from exc


def _message(name: str, data: bytes) -> JsonObject:
    table = _MESSAGES[name]
    found: JsonObject = {}
    for number, raw in _fields(data):
        if number not in table:
            continue
        field, kind = table[number]
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
