"""The rules of the account book: values in, values out; no clock, no database.

A create or an update goes ``decode`` → ``accept`` → ``drafted`` or ``merged``; an answer is
``document``. Messages are the upstream server's, where its own tests or clients look at them.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

import orjson
from pydantic import ValidationError

from towpath.errors import InvalidError, Reason
from towpath.registry import properties
from towpath.registry.kinds import KINDS, Kind, Kinds
from towpath.spec._wire import JsonObject

__all__ = [
    "MissingFieldError",
    "Record",
    "accept",
    "bad_request",
    "decode",
    "document",
    "drafted",
    "identifier",
    "kind_named",
    "kind_of_artifact",
    "merged",
    "require",
]

NAME_LENGTH: Final = 255
EXTERNAL_ID_LENGTH: Final = 255

_ID = re.compile(r"-?[0-9]{1,10}", re.ASCII)


class MissingFieldError(InvalidError):
    """A required field is absent or empty."""

    status = 422


@dataclass(frozen=True)
class Record:
    """An entity: what the database looks it up by, and the rest of its document.

    ``id`` is 0 until it is stored. ``scope`` is the space in which its name is unique: nothing for
    kinds without a parent, the parent's id, or something random for an artifact without one.
    """

    kind: Kind
    name: str
    scope: str
    external_id: str | None
    body: JsonObject
    created: int
    updated: int
    parent: int | None = None
    id: int = 0


def bad_request(message: str, hint: str = "") -> InvalidError:
    """An input error in upstream's words."""
    return InvalidError(f"{message}: bad request", reason=Reason.BAD_REQUEST, hint=hint)


def decode(data: bytes) -> JsonObject:
    """A request body as a JSON object.

    Raises:
        InvalidError: it is no JSON object, or holds a NUL character anywhere.
    """
    if b"\x00" in data or b"\\u0000" in data:
        raise bad_request("the request body holds a NUL character")
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise bad_request(f"the request body is not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise bad_request("the request body is not a JSON object")
    return body


def identifier(text: str, title: str) -> int:
    """An id out of a path, a query or a field.

    Raises:
        InvalidError: it is not a 32-bit integer.
    """
    if not _ID.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        raise bad_request(f"invalid {title} ID: {text[:20]!r} is not a 32-bit integer")
    return int(text)


def kind_of_artifact(kinds: Kinds, artifact_type: object) -> Kind:
    """The kind that ``artifactType`` names.

    Raises:
        InvalidError: it names none of these.
    """
    for kind in kinds:
        if artifact_type == kind.artifact_type:
            return kind
    shown = repr(artifact_type[:40]) if isinstance(artifact_type, str) else "missing"
    known = ", ".join(str(kind.artifact_type) for kind in kinds)
    raise bad_request(f"artifactType is {shown}", hint=f"Served here: {known}.")


def accept(
    kind: Kind, body: JsonObject, allowed: Collection[str], *, lenient: bool = False
) -> JsonObject:
    """The fields of a body, checked. ``null`` counts as absent.

    Args:
        kind: What the body describes.
        body: From :func:`decode`.
        allowed: Fields it may hold.
        lenient: Leave other fields out instead of refusing them: the manner of bodies whose kind
            ``artifactType`` decides.

    Raises:
        InvalidError: a field is unknown or of the wrong type.
    """
    if not lenient:
        for field in body:
            if field not in allowed:
                raise InvalidError(
                    f'json: unknown field "{field[:100]}"', reason=Reason.BAD_REQUEST
                )
    known = {field: value for field, value in body.items() if field in allowed}
    try:
        shape = kind.wire.model_validate(known)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part)[:60] for part in first["loc"])
        raise bad_request(f"field '{path}': {first['msg']}") from exc
    fields = {field: getattr(shape, field) for field in known if known[field] is not None}
    if shape.customProperties is not None:
        fields["customProperties"] = properties.accepted(shape.customProperties)
    if len(fields.get("externalId", "")) > EXTERNAL_ID_LENGTH:
        raise bad_request(f"externalId is longer than {EXTERNAL_ID_LENGTH} characters")
    return fields


def require(kind: Kind, fields: Mapping[str, object]) -> None:
    """Check that a create holds what it must.

    Raises:
        MissingFieldError: a required field is absent or empty.
    """
    for field in kind.required:
        if not fields.get(field):
            raise MissingFieldError(f"required field '{field}' is zero value.")


def drafted(kind: Kind, fields: JsonObject, now: int, *, parent: int | None, spare: str) -> Record:
    """A new record, not yet stored.

    Args:
        kind: Its kind.
        fields: From :func:`accept`, with what :func:`require` wants.
        now: Milliseconds since the epoch.
        parent: Id of the context it belongs to.
        spare: Something unique: the name where none is given, the scope where there is no parent.

    Raises:
        InvalidError: the name is too long.
    """
    name = cast(str, fields.get("name") or spare)
    owned = kind.parent is not None or kind.place != "context"
    scope = (str(parent) if parent is not None else spare) if owned else ""
    longest = NAME_LENGTH - (len(str(parent)) + 1 if parent is not None else 0)
    if len(name) > longest:
        raise bad_request(f"the name of this {kind.title} is longer than {longest} characters")
    return Record(
        kind=kind,
        name=name,
        scope=scope,
        external_id=fields.get("externalId") or None,
        body={**kind.defaults, **_body(kind, fields)},
        created=now,
        updated=now,
        parent=parent if kind.parent else None,
    )


def merged(record: Record, fields: JsonObject, now: int) -> Record:
    """A record after an update: what is absent is kept, properties are replaced as a whole.

    The time of update grows strictly, even when the clock does not.
    """
    external_id = fields["externalId"] or None if "externalId" in fields else record.external_id
    return replace(
        record,
        body={**record.body, **_body(record.kind, fields)},
        external_id=external_id,
        updated=max(now, record.updated + 1),
    )


def _body(kind: Kind, fields: JsonObject) -> JsonObject:
    elsewhere = {"name", "externalId", "artifactType", *([kind.parent[0]] if kind.parent else [])}
    return {field: value for field, value in fields.items() if field not in elsewhere}


def document(record: Record) -> JsonObject:
    """The entity as it is answered: no unset field, customProperties always there."""
    found: JsonObject = {"id": str(record.id), "name": record.name}
    if record.external_id is not None:
        found["externalId"] = record.external_id
    if record.kind.parent is not None:
        found[record.kind.parent[0]] = str(record.parent)
    if record.kind.artifact_type is not None:
        found["artifactType"] = record.kind.artifact_type
    found["customProperties"] = {}
    found |= record.body
    found["createTimeSinceEpoch"] = str(record.created)
    found["lastUpdateTimeSinceEpoch"] = str(record.updated)
    return found


def kind_named(name: str) -> Kind:
    """The kind of a stored record."""
    return KINDS[name]
