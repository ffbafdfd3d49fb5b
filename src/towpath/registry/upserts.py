"""Creates that become updates: whole entities with an id, artifacts and metrics below a context."""

from typing import Final

from sqlalchemy import Connection

from towpath.registry import history, store
from towpath.registry.events import Stamp
from towpath.registry.kinds import (
    ARTIFACTS,
    DOC_ARTIFACT,
    EXPERIMENT_RUN,
    METRIC,
    MODEL_ARTIFACT,
    PARAMETER,
    Kind,
)
from towpath.registry.paging import Paging
from towpath.registry.records import Record, bad_request, check_type, identifier, require
from towpath.registry.store import Filter
from towpath.spec._wire import JsonObject

__all__ = ["NAMED", "artifact", "owned"]

NAMED: Final = (METRIC, PARAMETER)
"""Kinds of which a name below a context is the same one again, not a conflict."""


def owned(tx: Connection, kind: Kind, fields: JsonObject, stamp: Stamp) -> Record:
    """Store a whole entity that has a parent: a new one, or the one that its ``id`` names.

    Args:
        tx: The transaction.
        kind: Its kind.
        fields: Accepted fields, the parent's id among them.
        stamp: Who, and when.

    Raises:
        NotFoundError: the parent, or the entity, is not there.
        InvalidError: the entity has another parent.
        ConflictError: a name or an external id is taken, or the caller has seen an older state.
    """
    assert kind.parent is not None  # noqa: S101 - the caller's kinds have one
    field, parent_kind = kind.parent
    if "id" not in fields:
        return store.create(tx, kind, _only(fields, kind.creatable), stamp)
    parent = store.get(tx, (parent_kind,), identifier(fields[field], parent_kind.title))
    record = store.get(tx, (kind,), identifier(fields["id"], kind.title), lock=True)
    if record.parent != parent.id:
        raise bad_request(
            f"{kind.title} {record.id} does not belong to {parent_kind.title} {parent.id}"
        )
    return store.update_record(tx, record, _only(fields, kind.updatable), stamp)


def artifact(
    tx: Connection, parent: Record, kind: Kind, fields: JsonObject, stamp: Stamp
) -> tuple[Record, bool]:
    """Store an artifact below a version or a run (registry specification 1.4).

    With an ``id`` that artifact is updated and belongs here too. A metric or a parameter whose
    name is known here is updated. Anything else is new.

    Args:
        tx: The transaction.
        parent: The version or run; read with a lock for :data:`NAMED` kinds, so that two reports
            of a new metric are one metric.
        kind: The artifact's kind.
        fields: Accepted fields.
        stamp: Who, and when.

    Returns:
        The artifact, and whether the answer is to say that it was created: upstream says so of
        models and documents only.

    Raises:
        NotFoundError: the artifact is not there.
        InvalidError: it is of another type, or a field that it must have is missing.
        ConflictError: a name or an external id is taken, or the caller has seen an older state.
    """
    run = parent if parent.kind is EXPERIMENT_RUN else None
    known = _known(tx, parent, kind, fields)
    if known is None:
        links = _links(run) if run else {}
        new = {**_only(fields, kind.creatable), **links}
        found = store.create(tx, kind, new, stamp, under=parent.id)
    else:
        check_type(known.kind, fields, must=True)
        links = _links(run) if run and "experimentRunId" not in known.body else {}
        changed = {**_only(fields, kind.updatable), **links}
        found = store.update_record(tx, known, changed, stamp)
        store.attach(tx, found.id, parent.id)
    if run and kind is METRIC:
        history.append(tx, run, found, fields, stamp)
    return found, known is None and kind in (MODEL_ARTIFACT, DOC_ARTIFACT)


def _known(tx: Connection, parent: Record, kind: Kind, fields: JsonObject) -> Record | None:
    if "id" in fields:
        return store.get(tx, ARTIFACTS, identifier(fields["id"], "artifact"), lock=True)
    require(kind, fields)
    if kind not in NAMED or not fields.get("name"):
        return None
    same = Filter(name=fields["name"], parent=parent.id)
    found, _ = store.page(tx, (kind,), same, Paging(size=1))
    return store.get(tx, (kind,), found[0].id, lock=True) if found else None


def _links(run: Record) -> JsonObject:
    return {"experimentId": str(run.parent), "experimentRunId": str(run.id)}


def _only(fields: JsonObject, allowed: frozenset[str]) -> JsonObject:
    return {field: value for field, value in fields.items() if field in allowed}
