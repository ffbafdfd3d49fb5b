"""The operations of the account book, each within one transaction of its caller.

Rules live in :mod:`records`; here they meet the tables. Statements per call are bounded: a list is
one statement, with a filter two, whatever its length.
"""

import uuid
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, cast

import orjson
from sqlalchemy import (
    Connection,
    CursorResult,
    Row,
)
from sqlalchemy.exc import IntegrityError

from towpath.errors import ConflictError, NotFoundError, Reason
from towpath.registry import events
from towpath.registry.engines import taken
from towpath.registry.events import Stamp
from towpath.registry.filters import Expression, filtered
from towpath.registry.kinds import Kind, Kinds, title_of
from towpath.registry.paging import Paging
from towpath.registry.records import (
    Record,
    check_id,
    check_seen,
    document,
    drafted,
    identifier,
    kind_named,
    merged,
)
from towpath.registry.statements import (
    ATTACH,
    ATTACHED,
    STATEMENTS,
    Order,
    Shape,
    chosen,
    several,
    whole,
)
from towpath.registry.tables import PROPERTIES, property_rows
from towpath.spec._wire import JsonObject

__all__ = [
    "Filter",
    "attach",
    "create",
    "find",
    "get",
    "page",
    "record_of",
    "rows_of",
    "update_record",
]

AT_ONCE: Final = 32
"""Property rows written by one statement; databases limit what a statement may bind."""


COLUMNS: Final = {"ID": "id", "CREATE_TIME": "created", "LAST_UPDATE_TIME": "updated"}
"""Which column a list is in the order of."""


@dataclass(frozen=True)
class Filter:
    """Which entities: by exact name or external id, by the context they belong to, by a filter."""

    name: str | None = None
    external_id: str | None = None
    parent: int | None = None
    expression: Expression | None = None


def get(
    tx: Connection, kinds: Kinds, ident: int, *, lock: bool = False, keep: bool = False
) -> Record:
    """One entity by its id.

    Args:
        tx: The transaction.
        kinds: What it may be.
        ident: Its id.
        lock: Keep others from changing it until the transaction ends.
        keep: Keep others from deleting it until then.

    Raises:
        NotFoundError: none of these kinds has that id.
    """
    one = STATEMENTS[kinds[0].place]
    statement = one.locked if lock else one.kept if keep else one.read
    row = tx.execute(statement, {"ident": ident}).one_or_none()
    found = None if row is None else record_of(row)
    if found is None or found.kind not in kinds:
        raise _missing(f"no {title_of(kinds)} found for id {ident}")
    return found


def create(
    tx: Connection, kind: Kind, fields: JsonObject, stamp: Stamp, *, under: int | None = None
) -> Record:
    """Store a new entity.

    Args:
        tx: The transaction.
        kind: Its kind.
        fields: Accepted fields.
        stamp: Who, and when.
        under: Id of the context an artifact is made in; other kinds name their parent themselves.

    Raises:
        NotFoundError: a context it names is not there.
        ConflictError: its name or external id is taken.
        InvalidError: its name is too long, an id in it is none, or no id is left for it.
    """
    parent = under
    if kind.parent is not None:
        field, parent_kind = kind.parent
        parent = identifier(fields[field], parent_kind.title)
    fields = _referenced(tx, kind, fields)
    draft = drafted(kind, fields, stamp.at, parent=parent, spare=str(uuid.uuid4()))
    context = under if kind.place == "artifact" else None
    if tx.dialect.name == "postgresql":
        return _created_at_once(tx, draft, stamp, context)
    if kind.parent is not None and parent is not None:
        get(tx, (kind.parent[1],), parent)
    try:
        result = tx.execute(STATEMENTS[kind.place].insert, _row(draft))
    except IntegrityError as exc:
        raise _taken(draft, exc) from exc
    record = check_id(replace(draft, id=_new_id(result)))
    _index(tx, record)
    if context is not None:
        tx.execute(ATTACH, {"context_id": context, "artifact_id": record.id})
    events.record(tx, stamp, "create", record.kind, None, document(record))
    return record


def _created_at_once(tx: Connection, draft: Record, stamp: Stamp, context: int | None) -> Record:
    """As :func:`create`, in one statement."""
    told = document(draft)
    del told["id"]
    values = {
        **{f"new_{name}": value for name, value in _row(draft).items()},
        "rows": orjson.dumps(rows_of(draft)).decode(),
        "document": orjson.dumps(told)[1:].decode(),
        "event_at": stamp.at,
        "event_actor": stamp.actor,
        "event_action": "create",
        "event_kind": draft.kind.type,
    }
    if context is not None:
        values["under"] = context
    below = draft.kind.parent
    if below is not None:
        values["parent_type"] = below[1].type
    statement = whole(draft.kind.place, below=below is not None, under=context is not None)
    try:
        ident = tx.execute(statement, values).scalar_one_or_none()
    except IntegrityError as exc:
        raise _taken(draft, exc) from exc
    if ident is None and below is not None:
        raise _missing(f"no {below[1].title} found for id {draft.parent}")
    return check_id(replace(draft, id=cast(int, ident)))


def update_record(tx: Connection, record: Record, fields: JsonObject, stamp: Stamp) -> Record:
    """Store an update of an entity that was read with a lock.

    Raises:
        NotFoundError: a context it names is not there.
        ConflictError: its new external id is taken, or the caller has seen an older state of it
            (reason ``PreconditionFailed``).
    """
    check_seen(record, stamp.expected)
    new = merged(record, _referenced(tx, record.kind, fields), stamp.at)
    statements = STATEMENTS[record.kind.place]
    changed = {"external_id": new.external_id, "updated": new.updated, "body": new.body}
    try:
        tx.execute(statements.update, {"row": record.id, **changed})
    except IntegrityError as exc:
        raise _taken(new, exc) from exc
    if rows_of(replace(new, updated=record.updated)) == rows_of(record):
        tx.execute(statements.touch, {"row": record.id, "updated": new.updated})
    else:
        tx.execute(statements.forget, {"row": record.id})
        _index(tx, new)
    events.record(tx, stamp, "update", record.kind, document(record), document(new))
    return new


def attach(tx: Connection, artifact: int, context: int) -> None:
    """Let an artifact belong to a context, if it does not yet."""
    link = {"context_id": context, "artifact_id": artifact}
    if tx.execute(ATTACHED, link).one_or_none() is None:
        tx.execute(ATTACH, link)


def find(tx: Connection, kinds: Kinds, wanted: Filter) -> Record:
    """The one entity that fits.

    Raises:
        NotFoundError: none fits, or several do.
    """
    shape, values = _asked(kinds, wanted)
    rows = tx.execute(chosen(kinds, shape), {**values, "size": 2}).all()
    if len(rows) != 1:
        found = "multiple" if rows else "no"
        by = f"name {wanted.name}" if wanted.name else f"externalId {wanted.external_id}"
        raise _missing(f"{found} {title_of(kinds)}s found for {by}")
    return record_of(rows[0])


def page(
    tx: Connection, kinds: Kinds, wanted: Filter, paging: Paging
) -> tuple[list[Record], tuple[int, int] | None]:
    """One page of what fits, and the place after it when there is more.

    One statement, and one more that counts where a filter leaves a choice of ways.
    """
    shape, values = _asked(kinds, wanted)
    values["size"] = paging.size + 1
    if paging.after is not None:
        values["value"], values["after"] = paging.after
    column = COLUMNS[paging.order]
    order = Order(column, paging.descending, paging.after is not None)
    if wanted.expression is None:
        rows = tx.execute(chosen(kinds, shape, order), values).all()
    else:
        rows = filtered(tx, (kinds, shape, wanted.expression), values, order)
    kept = rows[: paging.size]
    more = (getattr(kept[-1], column), kept[-1].id) if len(rows) > len(kept) else None
    return [record_of(row) for row in kept], more


def _asked(kinds: Kinds, wanted: Filter) -> tuple[Shape, dict[str, Any]]:
    """What a list is asked for besides a filter: which parts, and their values."""
    values: dict[str, Any] = {"parent": wanted.parent}
    if wanted.name is not None:
        values |= {"name": wanted.name, "scope": _scope(kinds[0], wanted.parent)}
    else:
        values["external_id"] = wanted.external_id
    values = {part: value for part, value in values.items() if value is not None}
    return Shape(**dict.fromkeys(values, True)), values


def _scope(kind: Kind, parent: int | None) -> str | None:
    """The space that a name is unique in, where that is known: names are indexed by it."""
    if kind.parent is None:
        return "" if kind.place == "context" else None
    return None if parent is None else str(parent)


def record_of(row: Row[Any]) -> Record:
    """The entity of a row of its table."""
    return Record(
        kind=kind_named(row.type),
        name=row.name,
        scope=row.scope,
        external_id=row.external_id,
        body=row.body,
        created=row.created,
        updated=row.updated,
        parent=row.parent_id,
        id=row.id,
    )


def rows_of(record: Record) -> list[Any]:
    """The rows of its properties."""
    owner = {
        "owner_id": record.id,
        "type": record.kind.type,
        "created": record.created,
        "updated": record.updated,
    }
    custom = record.body.get("customProperties", {})
    return property_rows(owner, custom, record.kind.searched(record.body))


def _index(tx: Connection, record: Record) -> None:
    table = PROPERTIES[record.kind.place]
    walk = iter(rows_of(record))
    while some := list(islice(walk, AT_ONCE)):
        tx.execute(several(table, len(some)), _numbered(some))


def _numbered(rows: list[Any]) -> dict[str, Any]:
    return {
        f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()
    }


def _referenced(tx: Connection, kind: Kind, fields: JsonObject) -> JsonObject:
    found = {
        field: str(get(tx, (target,), identifier(fields[field], target.title), keep=True).id)
        for field, target in kind.references.items()
        if field in fields
    }
    return {**fields, **found}


def _new_id(result: CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - every insert of one row has a key
    return cast(int, key[0])


def _missing(message: str) -> NotFoundError:
    return NotFoundError(f"{message}: not found")


def _taken(record: Record, exc: IntegrityError) -> ConflictError:
    """What a broken rule means; any other than of uniqueness is the database's matter."""
    rule = taken(exc)
    if rule is None:
        raise exc
    by = f"externalId {record.external_id}" if "external_id" in rule else f"name {record.name}"
    return ConflictError(
        f"{record.kind.title} with {by} already exists: conflict", reason=Reason.ALREADY_EXISTS
    )


def _row(record: Record) -> dict[str, Any]:
    return {
        "type": record.kind.type,
        "name": record.name,
        "scope": record.scope,
        "parent_id": record.parent,
        "external_id": record.external_id,
        "created": record.created,
        "updated": record.updated,
        "body": record.body,
    }
