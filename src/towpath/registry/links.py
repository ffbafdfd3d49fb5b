"""Relations between an entity and another, or a thing outside that is known by its URI.

A link reads as a sentence, subject relation object: ``ModelVersion/12 servedAt http://…``. Other
stages and other tools write into the account book with them; :mod:`towpath.registry.lineage`
shows them. Any relation name is accepted; those of ours are in :mod:`towpath.spec.towpath`.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from towpath.errors import NotFoundError
from towpath.registry import events
from towpath.registry.events import Stamp
from towpath.registry.paging import Paging
from towpath.registry.records import MissingFieldError, bad_request
from towpath.registry.references import check_there, parse
from towpath.registry.tables import LINK
from towpath.spec._wire import JsonObject

__all__ = [
    "Link",
    "LinkKind",
    "Links",
    "about",
    "accept",
    "create",
    "page",
    "remove",
    "remove_about",
]

FIELDS: Final = ("subject", "relation", "object")

_RELATION = re.compile(r"[A-Za-z][A-Za-z0-9._/-]{0,59}", re.ASCII)


@dataclass(frozen=True)
class LinkKind:
    """What events call a link."""

    type: str = "Link"


@dataclass(frozen=True)
class Links:
    """Which links: those that agree with every part that is given."""

    subject: str | None = None
    relation: str | None = None
    object: str | None = None


@dataclass(frozen=True)
class Link:
    """A stored link; ``id`` is 0 until it is stored."""

    subject: str
    relation: str
    object: str
    created: int = 0
    id: int = 0

    def to_json(self) -> JsonObject:
        """As it is answered."""
        return {
            "id": str(self.id),
            "subject": self.subject,
            "relation": self.relation,
            "object": self.object,
            "createTimeSinceEpoch": str(self.created),
        }


def accept(body: JsonObject) -> Link:
    """A link out of a request's body.

    Raises:
        InvalidError: a field is unknown, missing or not what it should be.
    """
    for field in body:
        if field not in FIELDS:
            raise bad_request(f'json: unknown field "{field[:100]}"')
    for field in FIELDS:
        if body.get(field) in (None, ""):
            raise MissingFieldError(f"required field '{field}' is zero value.")
        if not isinstance(body[field], str):
            raise bad_request(f"field '{field}': Input should be a valid string")
    parse(body["subject"], "subject", entity=True)
    parse(body["object"], "object")
    if not _RELATION.fullmatch(body["relation"]):
        raise bad_request(
            f"relation is {body['relation'][:60]!r}",
            hint="It begins with a letter, and has at most 60 letters, digits and -._/ in all.",
        )
    return Link(body["subject"], body["relation"], body["object"])


def create(tx: Connection, link: Link, stamp: Stamp) -> tuple[Link, bool]:
    """Store a link, if it is not there yet.

    Returns:
        The link as it is stored, and whether it is new.

    Raises:
        NotFoundError: an entity that it names is not there.
    """
    check_there(tx, parse(link.subject, "subject"))
    check_there(tx, parse(link.object, "object"))
    wanted = _narrowed(Links(link.subject, link.relation, link.object))
    known = tx.execute(wanted).first()
    if known is not None:
        return _link(known), False
    values = {
        "subject": link.subject,
        "relation": link.relation,
        "object": link.object,
        "created": stamp.at,
    }
    try:
        with tx.begin_nested():
            result = tx.execute(insert(LINK).values(**values))
    except IntegrityError:  # another writer was faster; the lock reads what it has committed
        return _link(tx.execute(wanted.with_for_update(read=True)).one()), False
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - every insert of one row has a key
    made = replace(link, created=stamp.at, id=key[0])
    events.record(tx, stamp, "create", LinkKind(), None, made.to_json())
    return made, True


def remove(tx: Connection, ident: int, stamp: Stamp) -> None:
    """Delete a link.

    Raises:
        NotFoundError: there is none of that id.
    """
    row = tx.execute(select(LINK).where(LINK.c.id == ident).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"no link found for id {ident}: not found")
    _gone(tx, [_link(row)], stamp)


def remove_about(tx: Connection, names: list[str], stamp: Stamp) -> None:
    """Delete every link that one of these references is an end of."""
    _gone(tx, about(tx, names), stamp)


def about(tx: Connection, names: list[str], limit: int | None = None) -> list[Link]:
    """Links that one of these references is an end of, by id. One statement."""
    either = or_(LINK.c.subject.in_(names), LINK.c.object.in_(names))
    rows = tx.execute(select(LINK).where(either).order_by(LINK.c.id).limit(limit))
    return [_link(row) for row in rows]


def page(tx: Connection, wanted: Links, paging: Paging) -> tuple[list[Link], int | None]:
    """One page of links by id, and the id after which there are more."""
    statement = _narrowed(wanted)
    if paging.after is not None:
        beyond = LINK.c.id < paging.after[1] if paging.descending else LINK.c.id > paging.after[1]
        statement = statement.where(beyond)
    order = LINK.c.id.desc() if paging.descending else LINK.c.id
    found = [_link(row) for row in tx.execute(statement.order_by(order).limit(paging.size + 1))]
    kept = found[: paging.size]
    return kept, kept[-1].id if len(found) > len(kept) else None


def _gone(tx: Connection, links: list[Link], stamp: Stamp) -> None:
    if links:
        tx.execute(delete(LINK).where(LINK.c.id.in_([link.id for link in links])))
        kind = LinkKind()
        told = [(kind, link.to_json(), None) for link in links]
        events.record_all(tx, stamp, "delete", list(told))


def _narrowed(wanted: Links) -> Any:
    statement = select(LINK)
    for field in FIELDS:
        value = getattr(wanted, field)
        if value is not None:
            statement = statement.where(LINK.c[field] == value)
    return statement


def _link(row: Row[Any]) -> Link:
    return Link(row.subject, row.relation, row.object, row.created, row.id)
