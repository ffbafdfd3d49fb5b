"""Everything in one file: the account book as JSON Lines, out of one database and into another.

The first line tells the format, its version, when it was written and how many lines of each kind
follow; then come the entities by place and id, which artifacts belong to which contexts, links and
events. A line is one JSON object; its ``kind`` says what it is. Reading is in
:mod:`towpath.registry.restoring`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
from sqlalchemy import Column, Connection, Row, Select, func, select, tuple_

from towpath.registry.events import last_number
from towpath.registry.kinds import KINDS
from towpath.registry.tables import ATTRIBUTION, EVENT, LINK, TABLES
from towpath.spec._wire import JsonObject

__all__ = ["FORMAT", "MEDIA_TYPE", "VERSION", "attribution_line", "entity_line", "header", "lines"]

FORMAT: Final = "towpath-registry"
VERSION: Final = 1
MEDIA_TYPE: Final = "application/jsonl"

CHUNK: Final = 500
"""Rows read at a time."""


def header(now: int, counts: dict[str, int]) -> bytes:
    """The first line.

    Args:
        now: Milliseconds since the epoch.
        counts: How many lines of each kind follow.
    """
    told = {"format": FORMAT, "version": VERSION, "at": str(now), "counts": counts}
    return _line(told)


def entity_line(kind: str, columns: JsonObject) -> bytes:
    """The line of an entity; its scope is told only where it does not follow from the parent.

    Args:
        kind: Name of its kind.
        columns: ``id``, ``name``, ``externalId``, ``parent``, ``scope``, ``created``, ``updated``,
            ``body``; what is None is left out.
    """
    known = KINDS[kind]
    if known.parent is not None or known.place == "context":
        columns = {name: value for name, value in columns.items() if name != "scope"}
    return _line({"kind": kind, **{k: v for k, v in columns.items() if v is not None}})


def lines(tx: Connection, now: int) -> Iterator[bytes]:
    """The whole file, line by line, in constant memory.

    Args:
        tx: A transaction that sees one state to the end.
        now: Milliseconds since the epoch.
    """
    yield header(now, _counts(tx))
    for table in TABLES.values():
        yield from _walk(tx, select(table), (table.c.id,), _entity)
    pair = (ATTRIBUTION.c.context_id, ATTRIBUTION.c.artifact_id)
    yield from _walk(tx, select(ATTRIBUTION), pair, _attribution)
    yield from _walk(tx, select(LINK), (LINK.c.id,), _link)
    numbered = select(EVENT).where(EVENT.c.seq.is_not(None))
    yield from _walk(tx, numbered, (EVENT.c.seq,), _event)
    # what no reader of the feed has numbered yet gets the numbers that it would get now
    seq = last_number(tx)
    for row in _rows(tx, select(EVENT).where(EVENT.c.seq.is_(None)), (EVENT.c.id,)):
        seq += 1
        yield _event(row, seq)


def _counts(tx: Connection) -> dict[str, int]:
    counts = dict.fromkeys(KINDS, 0)
    for table in TABLES.values():
        by_kind = select(table.c.type, func.count()).group_by(table.c.type)
        counts |= {row.type: row[1] for row in tx.execute(by_kind)}
    for kind, table in (("Attribution", ATTRIBUTION), ("Link", LINK), ("Event", EVENT)):
        counts[kind] = tx.execute(select(func.count()).select_from(table)).scalar_one()
    return counts


def _walk(
    tx: Connection,
    statement: Select[Any],
    order: tuple[Column[Any], ...],
    told: Callable[[Row[Any]], bytes],
) -> Iterator[bytes]:
    for row in _rows(tx, statement, order):
        yield told(row)


def _rows(
    tx: Connection, statement: Select[Any], order: tuple[Column[Any], ...]
) -> Iterator[Row[Any]]:
    """The rows of a statement in order, read piece by piece."""
    ordered = statement.order_by(*order).limit(CHUNK)
    found = tx.execute(ordered).all()
    while found:
        yield from found
        last = [getattr(found[-1], column.name) for column in order]
        after = tuple_(*order) > tuple_(*last) if len(order) > 1 else order[0] > last[0]
        found = tx.execute(ordered.where(after)).all() if len(found) == CHUNK else []


def _entity(row: Row[Any]) -> bytes:
    return entity_line(
        row.type,
        {
            "id": row.id,
            "name": row.name,
            "externalId": row.external_id,
            "parent": row.parent_id,
            "scope": row.scope,
            "created": row.created,
            "updated": row.updated,
            "body": row.body,
        },
    )


def attribution_line(context: int, artifact: int) -> bytes:
    """The line that says that an artifact belongs to a context."""
    return _line({"kind": "Attribution", "context": context, "artifact": artifact})


def _attribution(row: Row[Any]) -> bytes:
    return attribution_line(row.context_id, row.artifact_id)


def _link(row: Row[Any]) -> bytes:
    fields = ("id", "subject", "relation", "object", "created")
    return _line({"kind": "Link", **{field: getattr(row, field) for field in fields}})


def _event(row: Row[Any], seq: int | None = None) -> bytes:
    return _line(
        {
            "kind": "Event",
            "seq": seq or row.seq,
            "at": row.at,
            "actor": row.actor,
            "action": row.action,
            "entityKind": row.kind,
            "entity": row.entity_id,
            "before": row.before,
            "after": row.after,
        }
    )


def _line(told: JsonObject) -> bytes:
    return orjson.dumps(told) + b"\n"
