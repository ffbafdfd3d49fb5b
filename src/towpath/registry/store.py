"""The operations of the account book, each within one transaction of its caller.

Rules live in :mod:`records`; here they meet the tables. Statements per call are bounded: a list is
one statement, whatever its length.
"""

import uuid
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    Row,
    Select,
    Table,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from towpath.errors import ConflictError, NotFoundError, Reason
from towpath.registry import events
from towpath.registry.events import Stamp
from towpath.registry.kinds import MODEL_VERSION, REGISTERED_MODEL, Kind, Kinds, title_of
from towpath.registry.paging import Paging
from towpath.registry.records import (
    Record,
    document,
    drafted,
    identifier,
    kind_named,
    merged,
)
from towpath.registry.tables import ATTRIBUTION, PROPERTIES, TABLES, property_rows
from towpath.spec._wire import JsonObject

__all__ = [
    "Filter",
    "attach",
    "create",
    "find",
    "get",
    "page",
    "served_model",
    "served_version",
    "update_record",
]


@dataclass(frozen=True)
class Filter:
    """Which entities: by exact name or external id, and by the context they belong to."""

    name: str | None = None
    external_id: str | None = None
    parent: int | None = None


def get(tx: Connection, kinds: Kinds, ident: int, *, lock: bool = False) -> Record:
    """One entity by its id.

    Args:
        tx: The transaction.
        kinds: What it may be.
        ident: Its id.
        lock: Keep others from changing it until the transaction ends.

    Raises:
        NotFoundError: none of these kinds has that id.
    """
    table = _table(kinds)
    statement = _of(kinds, table).where(table.c.id == ident)
    row = tx.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        raise _missing(f"no {title_of(kinds)} found for id {ident}")
    return _record(row)


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
        InvalidError: its name is too long, or an id in it is none.
    """
    parent = under
    if kind.parent is not None:
        field, parent_kind = kind.parent
        parent = get(tx, (parent_kind,), identifier(fields[field], parent_kind.title)).id
    fields = _referenced(tx, kind, fields)
    draft = drafted(kind, fields, stamp.at, parent=parent, spare=str(uuid.uuid4()))
    table = TABLES[kind.place]
    try:
        result = tx.execute(
            insert(table).values(
                type=kind.type, scope=draft.scope, parent_id=draft.parent, **_columns(draft)
            )
        )
    except IntegrityError as exc:
        raise _taken(draft, exc) from exc
    record = replace(draft, id=_new_id(result))
    _index(tx, record)
    if under is not None and kind.place == "artifact":
        tx.execute(insert(ATTRIBUTION).values(context_id=under, artifact_id=record.id))
    events.record(tx, stamp, "create", record.kind, None, document(record))
    return record


def update_record(tx: Connection, record: Record, fields: JsonObject, stamp: Stamp) -> Record:
    """Store an update of an entity that was read with a lock.

    Raises:
        NotFoundError: a context it names is not there.
        ConflictError: its new external id is taken.
    """
    new = merged(record, _referenced(tx, record.kind, fields), stamp.at)
    table = TABLES[record.kind.place]
    try:
        tx.execute(update(table).where(table.c.id == record.id).values(**_columns(new)))
    except IntegrityError as exc:
        raise _taken(new, exc) from exc
    if new.body != record.body:
        properties = PROPERTIES[record.kind.place]
        tx.execute(delete(properties).where(properties.c.owner_id == record.id))
        _index(tx, new)
    events.record(tx, stamp, "update", record.kind, document(record), document(new))
    return new


def attach(tx: Connection, artifact: int, context: int) -> None:
    """Let an artifact belong to a context, if it does not yet."""
    link = {"context_id": context, "artifact_id": artifact}
    known = select(ATTRIBUTION).filter_by(**link)
    if tx.execute(known).one_or_none() is None:
        tx.execute(insert(ATTRIBUTION).values(**link))


def find(tx: Connection, kinds: Kinds, wanted: Filter) -> Record:
    """The one entity that fits.

    Raises:
        NotFoundError: none fits, or several do.
    """
    rows = tx.execute(_filtered(kinds, wanted).limit(2)).all()
    if len(rows) != 1:
        found = "multiple" if rows else "no"
        by = f"name {wanted.name}" if wanted.name else f"externalId {wanted.external_id}"
        raise _missing(f"{found} {title_of(kinds)}s found for {by}")
    return _record(rows[0])


def page(
    tx: Connection, kinds: Kinds, wanted: Filter, paging: Paging
) -> tuple[list[Record], tuple[int, int] | None]:
    """One page of what fits, and the place after it when there is more. One statement."""
    table = _table(kinds)
    column = {
        "ID": table.c.id,
        "CREATE_TIME": table.c.created,
        "LAST_UPDATE_TIME": table.c.updated,
    }[paging.order]
    statement = _filtered(kinds, wanted)
    if paging.after is not None:
        value, ident = paging.after
        if paging.descending:
            beyond = and_(column <= value, or_(column < value, table.c.id < ident))
        else:
            beyond = and_(column >= value, or_(column > value, table.c.id > ident))
        statement = statement.where(beyond)
    if paging.descending:
        statement = statement.order_by(column.desc(), table.c.id.desc())
    else:
        statement = statement.order_by(column, table.c.id)
    rows = tx.execute(statement.limit(paging.size + 1)).all()
    kept = rows[: paging.size]
    more = (getattr(kept[-1], column.name), kept[-1].id) if len(rows) > len(kept) else None
    return [_record(row) for row in kept], more


def served_version(tx: Connection, service: Record) -> Record:
    """The version that an inference service serves: the one it names, or its model's latest.

    Raises:
        NotFoundError: it names none and the model has none.
    """
    named = service.body.get("modelVersionId")
    if named:
        return get(tx, (MODEL_VERSION,), int(named))
    model = int(service.body["registeredModelId"])
    latest = Paging(size=1, order="CREATE_TIME", descending=True)
    found, _ = page(tx, (MODEL_VERSION,), Filter(parent=model), latest)
    if not found:
        raise _missing(f"no model version found for registered model {model}")
    return found[0]


def served_model(tx: Connection, service: Record) -> Record:
    """The model that an inference service serves. Raises NotFoundError."""
    return get(tx, (REGISTERED_MODEL,), int(service.body["registeredModelId"]))


def _table(kinds: Kinds) -> Table:
    return TABLES[kinds[0].place]


def _of(kinds: Kinds, table: Table) -> Select[Any]:
    if len(kinds) == 1:
        return select(table).where(table.c.type == kinds[0].type)
    return select(table).where(table.c.type.in_([kind.type for kind in kinds]))


def _filtered(kinds: Kinds, wanted: Filter) -> Select[Any]:
    table = _table(kinds)
    statement = _of(kinds, table)
    if wanted.name is not None:
        statement = statement.where(table.c.name == wanted.name)
    elif wanted.external_id is not None:
        statement = statement.where(table.c.external_id == wanted.external_id)
    if wanted.parent is None:
        return statement
    if table is TABLES["artifact"]:
        linked = statement.join(ATTRIBUTION, ATTRIBUTION.c.artifact_id == table.c.id)
        return linked.where(ATTRIBUTION.c.context_id == wanted.parent)
    return statement.where(table.c.parent_id == wanted.parent)


def _columns(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "external_id": record.external_id,
        "created": record.created,
        "updated": record.updated,
        "body": record.body,
    }


def _record(row: Row[Any]) -> Record:
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


def _index(tx: Connection, record: Record) -> None:
    searchable = {
        field: record.body[field] for field in record.kind.searchable if field in record.body
    }
    rows = property_rows(record.id, record.body.get("customProperties", {}), searchable)
    if rows:
        tx.execute(insert(PROPERTIES[record.kind.place]), rows)


def _referenced(tx: Connection, kind: Kind, fields: JsonObject) -> JsonObject:
    found = {
        field: str(get(tx, (target,), identifier(fields[field], target.title)).id)
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
    by_name = "external_id" not in str(exc.orig).partition("\n")[0]
    by = f"name {record.name}" if by_name else f"externalId {record.external_id}"
    return ConflictError(
        f"{record.kind.title} with {by} already exists: conflict", reason=Reason.ALREADY_EXISTS
    )
