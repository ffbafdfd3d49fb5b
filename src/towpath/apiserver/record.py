"""What the store keeps: an object's bytes at an address, and the changes between them.

The bytes are the object as it goes over the wire, its resourceVersion included, so a read needs no
JSON at all and one change is encoded once for every watcher.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import orjson

from towpath.spec._wire import JsonObject

__all__ = ["Address", "Change", "Listing", "Range", "Record", "Write"]

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class Address(NamedTuple):
    """Where an object lies: ``plural.group`` (``plural`` in the core group), namespace, name."""

    resource: str
    namespace: str
    name: str


class Record(NamedTuple):
    """An object as stored."""

    address: Address
    revision: int
    data: bytes

    def object(self) -> JsonObject:
        """The object, decoded afresh: the caller may change it."""
        decoded: JsonObject = orjson.loads(self.data)
        return decoded


class Write(NamedTuple):
    """One change asked for.

    Attributes:
        address: The object's.
        before: What the caller read: None where nothing may be, else the revision that must still
            be there.
        after: The new object; None removes it.
        within: Name of the namespace that must exist, and stay, when the change is made.
        defined: Name of the definition of which the same is true.
        emptied: Where nothing may lie when the change is made: a namespace, or every object of a
            resource; empty parts of the address stand for any.
        size: Bytes of the new object, as far as known.
    """

    address: Address
    before: Record | None
    after: JsonObject | None
    within: str = ""
    defined: str = ""
    emptied: Address | None = None
    size: int = 0


@dataclass(eq=False)
class Change:
    """One change made.

    Attributes:
        type: What became of the object.
        record: The object after the change; for ``DELETED`` its last state, at the new revision.
        before: The bytes before the change, where they are still known.
    """

    type: ChangeType
    record: Record
    before: bytes | None

    @cached_property
    def object(self) -> JsonObject:
        """The object, decoded once for all watchers: nobody may change it."""
        return self.record.object()

    @cached_property
    def old_object(self) -> JsonObject | None:
        """The object before the change, decoded once for all watchers."""
        decoded: JsonObject | None = None if self.before is None else orjson.loads(self.before)
        return decoded

    def forget(self) -> None:
        """Let go what was decoded; who needs it decodes it again."""
        for name in ("object", "old_object"):
            vars(self).pop(name, None)

    @property
    def size(self) -> int:
        """Bytes this change keeps in memory, about."""
        return len(self.record.data) + len(self.before or b"")


class Range(NamedTuple):
    """Which records a page is to have.

    Attributes:
        resource: As in :class:`Address`.
        namespace: Only this one; ``""`` is any.
        after: The (namespace, name) that the page follows.
        limit: Most records; None is all.
        size: Bytes of records after which the page ends; None is no end.
        at: The revision at which things are read; 0 is the newest.
    """

    resource: str
    namespace: str = ""
    after: tuple[str, str] = ("", "")
    limit: int | None = None
    size: int | None = None
    at: int = 0


class Listing(NamedTuple):
    """A page of records.

    Attributes:
        revision: The store's revision whose state the page shows.
        records: In order of namespace and name.
        more: Whether others follow.
    """

    revision: int
    records: list[Record]
    more: bool
