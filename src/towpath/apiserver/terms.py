"""On what terms something is written, and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from towpath.apiserver import intake
from towpath.apiserver.deletion import Policy
from towpath.apiserver.kinds import Resource
from towpath.apiserver.record import Address, Record
from towpath.spec._wire import JsonObject

__all__ = ["Admit", "Options", "Outcome", "Preconditions", "Removed"]

Admit = Callable[[Resource, JsonObject | None, JsonObject], None]
"""The kind, the object as it is (None: a new one) and as it is to be: refuses by an error."""


@dataclass(frozen=True)
class Options:
    """What every write can be told.

    Attributes:
        manager: Who writes, for managedFields.
        dry_run: Answer as if, and write nothing.
        force: Server-side apply: take over fields that others manage.
        policy: Deletion: what becomes of what the object owns; empty: as its kind has it.
        admit: Looks at what is about to be written on behalf of a caller.
        scrutiny: What is done about fields that are unknown.
    """

    manager: str
    dry_run: bool = False
    force: bool = False
    policy: Policy = ""
    admit: Admit | None = None
    scrutiny: intake.Scrutiny = intake.TRUSTED


class Preconditions(NamedTuple):
    """What a deletion insists on; empty is anything."""

    uid: str = ""
    revision: str = ""


class Outcome(NamedTuple):
    """What became of a write.

    Attributes:
        record: The object, as it is now or was last.
        new: Whether it was created.
        gone: Whether it is no longer there.
        warnings: What the caller should know.
    """

    record: Record
    new: bool = False
    gone: bool = False
    warnings: Sequence[str] = ()


class Removed(NamedTuple):
    """An object that went: what it owned may have to go as well."""

    address: Address
    uid: str
