"""Every change, told once: who changed what and when, with what was before and after.

One table is both the audit log and the change feed. An event is written in the transaction of its
change, so neither is ever without the other. Transactions do not commit in the order of their
rows' ids, so an event gets its number (``seq``) afterwards, by the next reader of the feed, who
holds the lock of the one row of ``feed``: whoever has seen a number has seen all smaller ones.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from towpath.registry.database import Database
from towpath.registry.tables import EVENT, FEED
from towpath.spec._wire import JsonObject

__all__ = [
    "Action",
    "Event",
    "Page",
    "Span",
    "Stamp",
    "Wanted",
    "last_number",
    "look",
    "number",
    "record",
    "record_all",
    "settle",
    "unnumbered",
]

Action: TypeAlias = Literal["create", "update", "delete"]

_INSERT: Final = insert(EVENT).inline()
_NUMBER: Final = (
    update(EVENT)
    .where(EVENT.c.id.between(bindparam("first"), bindparam("last")))
    .values(seq=EVENT.c.id + bindparam("more"))
)

BATCH: Final = 5000
"""Events numbered in one transaction, where so many were written since the last look."""


@dataclass(frozen=True)
class Stamp:
    """Who changes something, and when.

    Args:
        at: Milliseconds since the epoch.
        actor: Name of the caller; empty where callers have none.
        expected: The entity tag that the caller has seen (``If-Match``); None lets the last
            writer win.
    """

    at: int
    actor: str = ""
    expected: str | None = None


@dataclass(frozen=True)
class Event:
    """One change, numbered."""

    seq: int
    at: int
    actor: str
    action: str
    kind: str
    entity: int
    before: JsonObject | None = None
    after: JsonObject | None = None

    def to_json(self) -> JsonObject:
        """As it is answered: ids and times are texts, as everywhere in this API."""
        return {
            "seq": self.seq,
            "at": str(self.at),
            "actor": self.actor,
            "action": self.action,
            "kind": self.kind,
            "entityId": str(self.entity),
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class Wanted:
    """Which events: all that agree with every part that is given.

    Args:
        kind: Name of the kind of entity.
        entity: Its id.
        actor: Who changed it.
        action: What was done.
        earliest: Not before, in milliseconds since the epoch.
        latest: Not after.
    """

    kind: str | None = None
    entity: int | None = None
    actor: str | None = None
    action: str | None = None
    earliest: int | None = None
    latest: int | None = None

    def fits(self, event: Event) -> bool:
        """Whether an event is one of them."""
        return (
            self.kind in (None, event.kind)
            and self.entity in (None, event.entity)
            and self.actor in (None, event.actor)
            and self.action in (None, event.action)
            and (self.earliest is None or event.at >= self.earliest)
            and (self.latest is None or event.at <= self.latest)
        )

    def narrowed(self, statement: Select[Any]) -> Select[Any]:
        """The same rule for the database."""
        exact = {
            EVENT.c.kind: self.kind,
            EVENT.c.entity_id: self.entity,
            EVENT.c.actor: self.actor,
            EVENT.c.action: self.action,
        }
        for column, value in exact.items():
            if value is not None:
                statement = statement.where(column == value)
        if self.earliest is not None:
            statement = statement.where(EVENT.c.at >= self.earliest)
        if self.latest is not None:
            statement = statement.where(EVENT.c.at <= self.latest)
        return statement


@dataclass(frozen=True)
class Span:
    """Which part of the feed: after one number, before another, at most so many."""

    since: int = 0
    before: int | None = None
    size: int = 100
    newest_first: bool = False


@dataclass(frozen=True)
class Page:
    """Some events, and the number to go on from (``since``, or ``before`` when newest first)."""

    events: list[Event]
    next: int
    more: bool


class Typed(Protocol):
    """A kind of thing that changes; its ``type`` is its name."""

    @property
    def type(self) -> str:
        """Its name."""
        ...


def record(
    tx: Connection,
    stamp: Stamp,
    action: Action,
    kind: Typed,
    before: JsonObject | None,
    after: JsonObject | None,
) -> None:
    """Write down one change, in the transaction that makes it.

    Args:
        tx: The transaction.
        stamp: Who, and when.
        action: What was done.
        kind: Of the entity.
        before: Its document before; nothing for a new one.
        after: Its document after; nothing for one that is gone.
    """
    record_all(tx, stamp, action, [(kind, before, after)])


def record_all(
    tx: Connection,
    stamp: Stamp,
    action: Action,
    changes: list[tuple[Typed, JsonObject | None, JsonObject | None]],
) -> None:
    """Write down several changes of one sort; each is kind, before, after."""
    rows = [
        {
            "at": stamp.at,
            "actor": stamp.actor,
            "action": action,
            "kind": kind.type,
            "entity_id": int((after or before or {})["id"]),
            "before": before,
            "after": after,
        }
        for kind, before, after in changes
    ]
    if rows:
        tx.execute(_INSERT, rows[0] if len(rows) == 1 else rows)


def unnumbered(tx: Connection) -> bool:
    """Whether some committed event has no number yet."""
    found = select(EVENT.c.id).where(EVENT.c.seq.is_(None)).limit(1)
    return tx.execute(found).first() is not None


def number(tx: Connection) -> int:
    """Give committed events their numbers, in the order of their rows.

    The lock comes first: what is read after it was committed before, or gets a larger number.

    Returns:
        How many were numbered; fewer than :data:`BATCH` when none is left.
    """
    last = last_number(tx, lock=True)
    fresh = select(EVENT.c.id).where(EVENT.c.seq.is_(None)).order_by(EVENT.c.id).limit(BATCH)
    rows = tx.execute(fresh).scalars().all()
    if not rows:
        return 0
    runs: dict[int, list[int]] = {}  # of ids without a gap, by what is added to them
    for seq, row in enumerate(rows, start=last + 1):
        runs.setdefault(seq - row, []).append(row)
    tx.execute(
        _NUMBER, [{"more": more, "first": run[0], "last": run[-1]} for more, run in runs.items()]
    )
    tx.execute(update(FEED).values(last=last + len(rows)))
    return len(rows)


def last_number(tx: Connection, *, lock: bool = False) -> int:
    """The last number given.

    Args:
        tx: The transaction.
        lock: Keep others from giving numbers until the transaction ends.
    """
    row = select(FEED.c.last)
    found: int | None = tx.execute(row.with_for_update() if lock else row).scalar_one_or_none()
    return found or 0


async def settle(database: Database) -> None:
    """Number what was committed so far, batch by batch; all of it is in the feed afterwards."""
    if await database.read(unnumbered):
        while await database.write(number) == BATCH:
            pass


def look(tx: Connection, wanted: Wanted, span: Span) -> Page:
    """Numbered events. Two statements."""
    last = last_number(tx)  # what is numbered between the two statements comes with the next look
    statement = select(EVENT).where(EVENT.c.seq > span.since, EVENT.c.seq <= last)
    if span.before is not None:
        statement = statement.where(EVENT.c.seq < span.before)
    order = EVENT.c.seq.desc() if span.newest_first else EVENT.c.seq
    rows = tx.execute(wanted.narrowed(statement).order_by(order).limit(span.size + 1)).all()
    events = [
        Event(
            row.seq, row.at, row.actor, row.action, row.kind, row.entity_id, row.before, row.after
        )
        for row in rows[: span.size]
    ]
    if len(rows) > span.size:
        return Page(events, events[-1].seq, more=True)
    if span.newest_first:
        return Page(events, span.since + 1, more=False)
    end = last if span.before is None else min(last, span.before - 1)
    return Page(events, max(span.since, end), more=False)
