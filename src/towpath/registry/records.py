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

from towpath.errors import ConflictError, InvalidError, Reason
from towpath.registry import properties
from towpath.registry.kinds import KINDS, Kind, Kinds
from towpath.spec._wire import JsonObject

__all__ = [
    "ID_LARGEST",
    "NAME_LENGTH",
    "MissingFieldError",
    "Record",
    "accept",
    "bad_request",
    "check_id",
    "check_seen",
    "check_type",
    "decode",
    "document",
    "drafted",
    "identifier",
    "kind_named",
    "kind_of_artifact",
    "merged",
    "require",
]

ID_LARGEST: Final = 999_999_999
"""What the official clients can read."""
NAME_LENGTH: Final = 255
EXTERNAL_ID_LENGTH: Final = 255

_ID = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_RESERVED: Final = ("experiment_id", "experiment_run_id")
"""Custom properties of artifacts under which upstream hides the fields of these names."""


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

    @property
    def tag(self) -> str:
        """Its entity tag (RFC 9110, section 8.8.3): of no other entity, and of no other state."""
        return f'"{self.id}-{self.updated}"'


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


def check_type(kind: Kind, body: Mapping[str, object], *, must: bool) -> None:
    """Check that a body does not give an artifact another type.

    Args:
        kind: The artifact's.
        body: What was sent.
        must: The body has to name the type.

    Raises:
        InvalidError: it names another, or none.
    """
    if kind.artifact_type is None or ("artifactType" not in body and not must):
        return
    sent = body.get("artifactType")
    if sent != kind.artifact_type:
        shown = sent[:40] if isinstance(sent, str) else "unknown"
        raise bad_request(
            f"cannot change artifact type from '{kind.artifact_type}' to '{shown}': artifact type "
            "is immutable"
        )


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
        _check_reserved(kind, shape.customProperties)
        fields["customProperties"] = properties.accepted(shape.customProperties)
    for field in kind.integers & fields.keys():
        fields[field] = _integer(field, fields[field])
    if len(fields.get("externalId", "")) > EXTERNAL_ID_LENGTH:
        raise bad_request(f"externalId is longer than {EXTERNAL_ID_LENGTH} characters")
    return fields


def _check_reserved(kind: Kind, custom: Collection[str]) -> None:
    for name in _RESERVED:
        if kind.place == "artifact" and name in custom:
            raise bad_request(f"custom property '{name}' is reserved")


def _integer(field: str, value: object) -> object:
    """A 64-bit integer, as which its field holds it: a step is a number, a time is a text.

    Raises:
        InvalidError: it is none.
    """
    text = str(value)
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise bad_request(f"field '{field}' is not a 64-bit integer")
    return int(text) if field == "step" else str(int(text))


def require(kind: Kind, fields: Mapping[str, object]) -> None:
    """Check that a create holds what it must.

    Raises:
        MissingFieldError: a field that the specification requires is absent or empty.
        InvalidError: a field is absent without which clients cannot read the entity.
    """
    for field in kind.required:
        if not fields.get(field):
            raise MissingFieldError(f"required field '{field}' is zero value.")
    for field in kind.told:
        if field not in fields:
            raise bad_request(f"{kind.title} {field} is required")


def drafted(kind: Kind, fields: JsonObject, now: int, *, parent: int | None, spare: str) -> Record:
    """A new record, not yet stored.

    Args:
        kind: Its kind.
        fields: From :func:`accept`, with what :func:`require` wants.
        now: Milliseconds since the epoch.
        parent: Id of the context it belongs to.
        spare: Something unique: the name where none is given, the scope where there is no parent.

    Raises:
        InvalidError: the name is too long, a field that is never empty is, or a time is before
            another.
    """
    name = cast(str, fields.get("name") or spare)
    owned = kind.parent is not None or kind.place != "context"
    own = str(parent) if parent is not None and kind.unique else spare
    longest = NAME_LENGTH - (len(str(parent)) + 1 if parent is not None and kind.unique else 0)
    if len(name) > longest:
        raise bad_request(f"the name of this {kind.title} is longer than {longest} characters")
    record = Record(
        kind=kind,
        name=name,
        scope=own if owned else "",
        external_id=fields.get("externalId") or None,
        body={**kind.defaults, **_body(kind, fields)},
        created=now,
        updated=now,
        parent=parent if kind.parent else None,
    )
    _check(record)
    return record


def merged(record: Record, fields: JsonObject, now: int) -> Record:
    """A record after an update: what is absent is kept, properties are replaced as a whole.

    The time of update grows strictly, even when the clock does not.

    Raises:
        InvalidError: a field that is never empty is emptied, or a time is before another.
    """
    external_id = fields["externalId"] or None if "externalId" in fields else record.external_id
    new = replace(
        record,
        body={**record.body, **_body(record.kind, fields)},
        external_id=external_id,
        updated=max(now, record.updated + 1),
    )
    _check(new)
    return new


def _check(record: Record) -> None:
    for field in record.kind.filled:
        if record.body.get(field) == "":
            raise bad_request(f"{record.kind.title} {field} is required")
    first, second = record.kind.ordered or ("", "")
    begin, end = record.body.get(first), record.body.get(second)
    if begin is not None and end is not None and int(end) < int(begin):
        raise bad_request(f"{second} is before {first}")


def check_id(record: Record) -> Record:
    """A new entity, whose id clients can read.

    Raises:
        InvalidError: they cannot; there is no id left (reason ``NoSpace``).
    """
    if record.id > ID_LARGEST:
        raise InvalidError(
            f"this registry has given every id up to {ID_LARGEST}, and clients read no larger one",
            reason=Reason.NO_SPACE,
        )
    return record


def check_seen(record: Record, expected: str | None) -> None:
    """Check that a caller who wants to change an entity has seen it as it is.

    Args:
        record: The entity, read with a lock.
        expected: The entity tag of what the caller has seen; None lets the last writer win.

    Raises:
        ConflictError: it has changed since (reason ``PreconditionFailed``).
    """
    if expected is not None and expected != record.tag:
        raise ConflictError(
            f"{record.kind.title} {record.id} is not as the header If-Match has it",
            reason=Reason.PRECONDITION_FAILED,
            hint="Read it again; its ETag is the one to send.",
        )


def _body(kind: Kind, fields: JsonObject) -> JsonObject:
    elsewhere = {"name", "externalId", "artifactType", *([kind.parent[0]] if kind.parent else [])}
    return {field: value for field, value in fields.items() if field not in elsewhere}


def document(record: Record) -> JsonObject:
    """The entity as it is answered: no unset field, customProperties always there."""
    found: JsonObject = {"id": str(record.id), "name": record.name}
    if record.external_id is not None:
        found["externalId"] = record.external_id
    if record.kind.parent is not None and record.kind.parent[0] in record.kind.fields:
        found[record.kind.parent[0]] = str(record.parent)
    if record.kind.artifact_type is not None:
        found["artifactType"] = record.kind.artifact_type
    found["customProperties"] = {}
    found |= record.body
    for field in record.kind.inherited:
        found.pop(field, None)
    found["createTimeSinceEpoch"] = str(record.created)
    found["lastUpdateTimeSinceEpoch"] = str(record.updated)
    return found


def kind_named(name: str) -> Kind:
    """The kind of a stored record."""
    return KINDS[name]
