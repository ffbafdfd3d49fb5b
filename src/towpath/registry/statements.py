"""The statements of the hot paths, made once: an SQL expression costs more to make than to run.

Each takes what differs from call to call by name.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BindParameter,
    Delete,
    FromClause,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    union_all,
    update,
)

from towpath.registry.kinds import Kinds
from towpath.registry.tables import ATTRIBUTION, EVENT, PROPERTIES, TABLES, Exact

__all__ = [
    "ATTACH",
    "ATTACHED",
    "STATEMENTS",
    "Order",
    "Shape",
    "by_index",
    "chosen",
    "listed",
    "ordered",
    "several",
    "walked",
    "whole",
]


@dataclass(frozen=True)
class Statements:
    """Those of one place. The entity is ``ident``, or ``row`` where its columns are set.

    Args:
        read: The entity.
        locked: The same, kept from others' changes until the transaction ends.
        kept: The same, kept from being deleted until then.
        insert: Of an entity.
        update: Of an entity.
        touch: Sets the time of update in its property rows.
        forget: Delete of its property rows.
    """

    read: Select[Any]
    locked: Select[Any]
    kept: Select[Any]
    insert: Insert
    update: Update
    touch: Update
    forget: Delete


@dataclass(frozen=True)
class Shape:
    """Which of the simple conditions a list has; ``scope`` is that of a name."""

    name: bool = False
    scope: bool = False
    external_id: bool = False
    parent: bool = False


@dataclass(frozen=True)
class Order:
    """How a list is ordered, then by id, and whether the page is not its first one."""

    column: str
    descending: bool
    continued: bool


def _statements(table: Table, properties: Table) -> Statements:
    read = select(table).where(table.c.id == bindparam("ident"))
    row: BindParameter[int] = bindparam("row")
    changed: dict[str, Any] = {name: bindparam(name) for name in ("external_id", "updated", "body")}
    return Statements(
        read=read,
        locked=read.with_for_update(),
        kept=read.with_for_update(read=True, key_share=True),
        insert=insert(table),
        update=update(table).where(table.c.id == row).values(changed),
        touch=update(properties)
        .where(properties.c.owner_id == row)
        .values(updated=bindparam("updated")),
        forget=delete(properties).where(properties.c.owner_id == row),
    )


STATEMENTS: Final[dict[str, Statements]] = {
    place: _statements(table, PROPERTIES[place]) for place, table in TABLES.items()
}


@lru_cache(maxsize=256)
def several(table: Table, rows: int) -> Insert:
    """The insert of so many rows at once: one round trip, where some drivers make one for each.

    The column ``c`` of the row ``n`` is the parameter ``c_n``.
    """
    columns = list(table.columns)
    parts = [
        select(*(bindparam(f"{column.name}_{row}", type_=column.type) for column in columns))
        for row in range(rows)
    ]
    return insert(table).from_select(columns, union_all(*parts), include_defaults=False)


@cache
def whole(place: str, *, below: bool, under: bool) -> Select[Any]:
    """A new entity with all that belongs to it, in one statement; gives its id. PostgreSQL only.

    A create is half a dozen round trips otherwise, which cost more than the work that they ask for.
    The property rows are one parameter, a JSON array: so the statement is the same for any number
    of them, and stays prepared.

    Args:
        place: Of the entity; its column ``c`` is the parameter ``new_c``, its rows are ``rows``.
        below: It has a parent, of the type ``parent_type``; no id is given when that is not there.
        under: It is an artifact of the context ``under``.
    """
    table, properties = TABLES[place], PROPERTIES[place]
    columns = [column for column in table.columns if column.name != "id"]
    source = select(*(bindparam(f"new_{column.name}", type_=column.type) for column in columns))
    if below:
        parent = TABLES["context"].alias("parent")
        source = source.select_from(parent).where(
            parent.c.id == bindparam("new_parent_id"), parent.c.type == bindparam("parent_type")
        )
    made = insert(table).from_select(columns, source).returning(table.c.id).cte("made")
    filled = [one for one in properties.columns if one.name != "owner_id"]
    rows = (
        func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON))
        .table_valued(*(column(one.name, _PLAIN.get(one.name, Text())) for one in filled))
        .render_derived(with_types=True)
    )
    indexed = insert(properties).from_select(
        ["owner_id", *filled], select(made.c.id, *rows.c).select_from(made.join(rows, true()))
    )
    found = select(made.c.id).add_cte(indexed.cte("indexed"))
    if under:
        attached = select(bindparam("under", type_=Integer()), made.c.id)
        columns_of = [ATTRIBUTION.c.context_id, ATTRIBUTION.c.artifact_id]
        found = found.add_cte(insert(ATTRIBUTION).from_select(columns_of, attached).cte("attached"))
    ident = cast(made.c.id, Text)
    document = literal('{"id":"') + ident + literal('",') + bindparam("document", type_=Text())
    told = [EVENT.c.at, EVENT.c.actor, EVENT.c.action, EVENT.c.kind]
    event = select(
        *(bindparam(f"event_{column.name}", type_=column.type) for column in told),
        made.c.id,
        cast(document, JSON),
    )
    written = insert(EVENT).from_select([*told, EVENT.c.entity_id, EVENT.c.after], event)
    return found.add_cte(written.cte("written"))


_PLAIN: Final[dict[str, Any]] = {
    one.name: one.type for one in PROPERTIES["context"].columns if not isinstance(one.type, Exact)
}
"""The columns of a property that are no text."""

ATTACH: Final = insert(ATTRIBUTION).inline()
ATTACHED: Final = select(ATTRIBUTION.c.artifact_id).where(
    ATTRIBUTION.c.context_id == bindparam("context_id"),
    ATTRIBUTION.c.artifact_id == bindparam("artifact_id"),
)


def listed(kinds: Kinds, shape: Shape) -> Select[Any]:
    """Entities of these kinds, by parameters that are named as the parts of the shape."""
    table = TABLES[kinds[0].place]
    types = [kind.type for kind in kinds]
    statement = select(table).where(
        table.c.type == types[0] if len(types) == 1 else table.c.type.in_(types)
    )
    for name in ("name", "scope", "external_id"):
        if getattr(shape, name):
            statement = statement.where(table.c[name] == bindparam(name))
    if shape.parent and kinds[0].place == "artifact":
        statement = statement.join(ATTRIBUTION, ATTRIBUTION.c.artifact_id == table.c.id)
        statement = statement.where(ATTRIBUTION.c.context_id == bindparam("parent"))
    elif shape.parent:
        statement = statement.where(table.c.parent_id == bindparam("parent"))
    return statement


@lru_cache(maxsize=1024)
def chosen(kinds: Kinds, shape: Shape, order: Order | None = None) -> Select[Any]:
    """Entities of these kinds, by parameters that are named as the parts of the shape.

    Args:
        kinds: What they may be.
        shape: What is asked for.
        order: Of the list; without, all that are there.
    """
    table, statement = TABLES[kinds[0].place], listed(kinds, shape)
    if order is None:
        return statement.limit(bindparam("size"))
    if not (shape.name or shape.external_id):
        statement = ordered(statement, kinds, order.column, of_parent=shape.parent)
    after: tuple[Any, Any] | None = None
    if order.continued:
        after = (bindparam("value"), bindparam("after"))
    place = (table.c[order.column], table.c.id)
    return walked(statement, place, after, bindparam("size"), descending=order.descending)


def ordered(statement: Select[Any], kinds: Kinds, column: str, *, of_parent: bool) -> Select[Any]:
    """A list of one kind that is read by the index of its order: see :func:`by_index`."""
    place = kinds[0].place
    if len(kinds) > 1 or (of_parent and place == "artifact"):
        return statement
    name = f"ix_{place}_parent_{column}" if of_parent else f"ix_{place}_{column}"
    return by_index(statement, TABLES[place], name.removesuffix("_id") if of_parent else name)


def by_index(statement: Select[Any], table: FromClause, name: str) -> Select[Any]:
    """A statement that MySQL and MariaDB read by an index.

    They would look up all of one kind, or of one value, and leave out those before the place of
    the page one by one; the page at 80,000 took ten times as long as the first.
    """
    for dialect in ("mysql", "mariadb"):
        statement = statement.with_hint(table, f"FORCE INDEX ({name})", dialect)
    return statement


def walked(
    statement: Select[Any],
    place: tuple[Any, Any],
    after: tuple[Any, Any] | None,
    size: Any,
    *,
    descending: bool,
) -> Select[Any]:
    """A statement's rows in an order, from a place on.

    Args:
        statement: The rows.
        place: What they are ordered by, and their ids.
        after: The same of the last row of the page before; nothing for the first page.
        size: How many.
        descending: Largest first.
    """
    value, ident = place
    if after is not None:
        last, last_id = after
        if descending:
            beyond = and_(value <= last, or_(value < last, ident < last_id))
        else:
            beyond = and_(value >= last, or_(value > last, ident > last_id))
        statement = statement.where(beyond)
    if descending:
        return statement.order_by(value.desc(), ident.desc()).limit(size)
    return statement.order_by(value, ident).limit(size)
