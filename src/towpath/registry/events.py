"""Every change, told once: who changed what and when, with what was before and after.

One table is both the audit log and the change feed. An event is written in the transaction of its
change, so neither is ever without the other.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import Connection, insert

from towpath.registry.kinds import Kind
from towpath.registry.tables import EVENT
from towpath.spec._wire import JsonObject

__all__ = ["Action", "Stamp", "record"]

Action: TypeAlias = Literal["create", "update", "delete"]


@dataclass(frozen=True)
class Stamp:
    """Who changes something, and when.

    Args:
        at: Milliseconds since the epoch.
        actor: Name of the caller; empty where callers have none.
        expected: The entity's time of update that the caller has seen (``If-Match``); None lets
            the last writer win.
    """

    at: int
    actor: str = ""
    expected: int | None = None


def record(
    tx: Connection,
    stamp: Stamp,
    action: Action,
    kind: Kind,
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
    entity = after or before or {}
    tx.execute(
        insert(EVENT).values(
            at=stamp.at,
            actor=stamp.actor,
            action=action,
            kind=kind.type,
            entity_id=int(entity["id"]),
            before=before,
            after=after,
        )
    )
