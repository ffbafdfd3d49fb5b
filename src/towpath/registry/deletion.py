"""Deleting for good, which the specification does not know: there, deleting is a state.

Only what was put aside before may be deleted, and nothing that something else still relies on.
What has no meaning without it goes with it: versions with their model, artifacts that belong to
nothing else, properties, attributions and links. Every entity that goes is told as an event.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table, delete, false, select

from towpath.errors import ConflictError, NotFoundError
from towpath.registry import events, links, store
from towpath.registry.events import Stamp
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    SERVING_ENVIRONMENT,
    Kind,
    Kinds,
)
from towpath.registry.records import Record, check_seen, document
from towpath.registry.references import reference
from towpath.registry.tables import ATTRIBUTION, PROPERTIES, TABLES, key_of

__all__ = ["erase"]

T = TypeVar("T")

CHUNK: Final = 500
"""Entities read, told and deleted at a time."""
NAMED: Final = 5
"""Names of what is in the way that a refusal tells."""

_ARCHIVED: Final = ("state", ("ARCHIVED",))
_PUT_ASIDE: Final[Mapping[Kind, tuple[str, tuple[str, ...]]]] = {
    **dict.fromkeys((REGISTERED_MODEL, MODEL_VERSION, EXPERIMENT, EXPERIMENT_RUN), _ARCHIVED),
    **dict.fromkeys(ARTIFACTS, ("state", ("DELETED", "MARKED_FOR_DELETION", "ABANDONED"))),
    INFERENCE_SERVICE: ("desiredState", ("UNDEPLOYED",)),
}
"""The field that says that somebody wants to be rid of it, and what it says then."""

_CHILDREN: Final[Mapping[Kind, Kind]] = {
    REGISTERED_MODEL: MODEL_VERSION,
    EXPERIMENT: EXPERIMENT_RUN,
    INFERENCE_SERVICE: SERVE_MODEL,
}
"""What goes with it; artifacts go with the last context that they belong to."""


def erase(
    tx: Connection, kinds: Kinds, ident: int, stamp: Stamp, *, parent: int | None = None
) -> None:
    """Delete an entity, with all that has no meaning without it.

    Args:
        tx: The transaction.
        kinds: What it may be.
        ident: Its id.
        stamp: Who, when, and what the caller has seen.
        parent: The context it has to belong to, where the caller names one.

    Raises:
        NotFoundError: none of these kinds has that id, or it belongs elsewhere.
        ConflictError: it was not put aside before, something still refers to it, or it has
            changed since the caller read it.
    """
    record = store.get(tx, kinds, ident, lock=True)
    if parent not in (None, record.parent):
        raise NotFoundError(f"no {record.kind.title} found for id {ident} there: not found")
    check_seen(record, stamp.expected)
    _check_put_aside(record)
    _check_unused(tx, record)
    contexts: list[int] = []
    if child := _CHILDREN.get(record.kind):
        for chunk in _children(tx, child, record.id):
            _check_unserved(tx, chunk, record)
            if child.place == "context":
                contexts += [found.id for found in chunk]
            else:
                _gone(tx, chunk, stamp)
    if record.kind.place == "context":
        contexts.append(record.id)
    for some in _chunks(contexts):
        for artifacts in _left_alone(tx, some):
            _gone(tx, artifacts, stamp)
    for some in _chunks(contexts[:-1]):
        table = TABLES["context"]
        rows = tx.execute(select(table).where(table.c.id.in_(some)).order_by(table.c.id))
        _gone(tx, [store.record_of(row) for row in rows], stamp)
    _gone(tx, [record], stamp)


def _check_put_aside(record: Record) -> None:
    field, values = _PUT_ASIDE.get(record.kind, ("", ()))
    if values and record.body.get(field) not in values:
        raise ConflictError(
            f"this {record.kind.title} is {record.body.get(field, 'without ' + field)}: conflict",
            hint=f"What is to be deleted is {' or '.join(values)} first.",
        )


def _check_unused(tx: Connection, record: Record) -> None:
    """That nothing outside of what goes with it refers to it."""
    if record.kind is SERVING_ENVIRONMENT:
        table = TABLES["context"]
        inside = select(table).where(
            table.c.type == INFERENCE_SERVICE.type, table.c.parent_id == record.id
        )
        _refuse(record, _some(tx, inside.order_by(table.c.id)))
    elif record.kind is REGISTERED_MODEL:
        _refuse(record, _naming(tx, INFERENCE_SERVICE, "registeredModelId", [record.id]))
    elif record.kind is MODEL_VERSION:
        _check_unserved(tx, [record], record)


def _check_unserved(tx: Connection, versions: Sequence[Record], root: Record) -> None:
    if versions and versions[0].kind is MODEL_VERSION:
        idents = [version.id for version in versions]
        for kind in (INFERENCE_SERVICE, SERVE_MODEL):
            _refuse(root, _naming(tx, kind, "modelVersionId", idents))


def _naming(tx: Connection, kind: Kind, field: str, idents: list[int]) -> list[Record]:
    table, properties = TABLES[kind.place], PROPERTIES[kind.place]
    statement = (
        select(table)
        .join(properties, properties.c.owner_id == table.c.id)
        .where(properties.c.type == kind.type, properties.c.custom == false())
        .where(properties.c.name == field, properties.c.key.in_(map(key_of, idents)))
    )
    return _some(tx, statement.order_by(table.c.id))


def _some(tx: Connection, statement: Any) -> list[Record]:
    return [store.record_of(row) for row in tx.execute(statement.limit(NAMED + 1))]


def _refuse(record: Record, users: list[Record]) -> None:
    if users:
        names = [f"{user.kind.title} {user.name!r} (id {user.id})" for user in users[:NAMED]]
        more = " and more" if len(users) > NAMED else ""
        raise ConflictError(
            f"this {record.kind.title} is still used by {', '.join(names)}{more}: conflict",
            hint="Delete those first.",
        )


def _children(tx: Connection, kind: Kind, parent: int) -> Iterator[list[Record]]:
    """Those of one parent, locked, so that nothing new hangs itself on them."""
    table, last = TABLES[kind.place], 0
    while True:
        some = (
            select(table)
            .where(table.c.type == kind.type, table.c.parent_id == parent, table.c.id > last)
            .order_by(table.c.id)
            .limit(CHUNK)
        )
        found = [store.record_of(row) for row in tx.execute(some.with_for_update())]
        if not found:
            return
        last = found[-1].id
        yield found


def _left_alone(tx: Connection, contexts: list[int]) -> Iterator[list[Record]]:
    """Artifacts that belonged to nothing but these contexts, which they no longer do."""
    mine = select(ATTRIBUTION.c.artifact_id).where(ATTRIBUTION.c.context_id.in_(contexts))
    idents = sorted(set(tx.execute(mine).scalars()))
    table = TABLES["artifact"]
    for some in _chunks(idents):
        # locked before it is asked who else has them, so that the answer stays true
        wanted = select(table).where(table.c.id.in_(some)).order_by(table.c.id)
        found = [store.record_of(row) for row in tx.execute(wanted.with_for_update())]
        others = select(ATTRIBUTION.c.artifact_id).where(
            ATTRIBUTION.c.artifact_id.in_(some), ATTRIBUTION.c.context_id.not_in(contexts)
        )
        kept = set(tx.execute(others.with_for_update(read=True)).scalars())
        alone = [artifact for artifact in found if artifact.id not in kept]
        if alone:
            yield alone
    tx.execute(delete(ATTRIBUTION).where(ATTRIBUTION.c.context_id.in_(contexts)))


def _gone(tx: Connection, records: Sequence[Record], stamp: Stamp) -> None:
    """Delete entities of one place that nothing hangs on any more, and tell it."""
    place = records[0].kind.place
    idents = [record.id for record in records]
    table: Table = TABLES[place]
    names = [reference(record.kind, record.id) for record in records]
    links.remove_about(tx, names, stamp)
    if place == "artifact":
        tx.execute(delete(ATTRIBUTION).where(ATTRIBUTION.c.artifact_id.in_(idents)))
    properties = PROPERTIES[place]
    tx.execute(delete(properties).where(properties.c.owner_id.in_(idents)))
    tx.execute(delete(table).where(table.c.id.in_(idents)))
    events.record_all(
        tx, stamp, "delete", [(record.kind, document(record), None) for record in records]
    )


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    walk = iter(items)
    while some := list(islice(walk, CHUNK)):
        yield some
