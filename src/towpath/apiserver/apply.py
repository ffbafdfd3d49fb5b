"""Who manages which field: server-side apply, and the account kept of every other write.

Pure: the live object, what is wanted, and the time go in; the new object comes out.

Source: Kubernetes documentation, "Server-Side Apply" (field management, conflicts, force).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from towpath.apiserver import failures
from towpath.apiserver.fields import (
    Fields,
    Path,
    Topology,
    decode,
    encode,
    flatten,
    label,
    merge,
    without,
)
from towpath.spec._wire import Json, JsonObject

__all__ = ["Manager", "apply", "tracked"]

Operation = Literal["Apply", "Update"]

_ABSENT: Final = object()


@dataclass(frozen=True)
class Manager:
    """Who writes, and when.

    Attributes:
        name: ``fieldManager`` of the request.
        api_version: Of the kind as written.
        now: RFC 3339 time.
        subresource: ``status``, or empty.
    """

    name: str
    api_version: str
    now: str
    subresource: str = ""


class _Entry(NamedTuple):
    """One entry of managedFields: as it came, and its set."""

    raw: JsonObject
    fields: Fields

    def same(self, by: Manager, operation: Operation) -> bool:
        return (
            self.raw.get("manager") == by.name
            and self.raw.get("operation") == operation
            and self.raw.get("subresource", "") == by.subresource
        )


def _entries(metadata: JsonObject) -> list[_Entry]:
    return [
        _Entry(raw, decode(raw.get("fieldsV1")))
        for raw in metadata.get("managedFields") or ()
        if isinstance(raw, dict) and raw.get("fieldsV1")
    ]


def _entry(by: Manager, operation: Operation, fields: Fields) -> _Entry:
    raw: JsonObject = {
        "manager": by.name,
        "operation": operation,
        "apiVersion": by.api_version,
        "time": by.now,
        "fieldsType": "FieldsV1",
    }
    if by.subresource:
        raw["subresource"] = by.subresource
    return _Entry(raw, fields)


def _written(entries: Iterable[_Entry]) -> list[JsonObject]:
    return [{**e.raw, "fieldsV1": encode(e.fields)} for e in entries if e.fields]


def tracked(old: JsonObject, new: JsonObject, by: Manager, topology: Topology) -> JsonObject:
    """The new object with the account of what this write changed.

    Args:
        old: As it was; empty for a creation.
        new: As it will be.
        by: Who changes it.
        topology: How the kind's lists and maps merge.
    """
    before, after = flatten(old, topology), flatten(new, topology)
    changed = frozenset(path for path, value in after.items() if before.get(path, _ABSENT) != value)
    removed = before.keys() - after.keys()
    entries = _entries(new.get("metadata") or {})
    if changed or removed:
        mine = next((e for e in entries if e.same(by, "Update")), None)
        entries = [e if e is mine else _Entry(e.raw, e.fields - changed - removed) for e in entries]
        fields = (mine.fields if mine else frozenset()) | changed
        entries = [e for e in entries if e is not mine]
        entries.append(_entry(by, "Update", fields & after.keys()))
    return _with(new, entries)


def _with(obj: JsonObject, entries: Sequence[_Entry]) -> JsonObject:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if written := _written(entries):
        metadata["managedFields"] = written
    return {**obj, "metadata": metadata}


def apply(
    live: JsonObject, wanted: JsonObject, by: Manager, topology: Topology, *, force: bool
) -> JsonObject:
    """The live object with a manager's wishes applied.

    What the manager applied before and no longer wants goes, unless another manages it too.

    Args:
        live: As it is; for a creation only ``apiVersion``, ``kind`` and ``metadata``.
        wanted: Everything the manager has an opinion on.
        by: Who applies.
        topology: How the kind's lists and maps merge.
        force: Take over fields that others manage.

    Raises:
        ConflictError: others manage a field with another value, and ``force`` is not set.
    """
    wanted = _strip(wanted)
    wishes = flatten(wanted, topology)
    entries = _entries(live["metadata"])
    mine = next((e for e in entries if e.same(by, "Apply")), None)
    others = [e for e in entries if e is not mine]
    contested = _contested(flatten(live, topology), wishes, others)
    if contested and not force:
        raise failures.apply_conflict(
            [(label(path), entry.raw.get("manager", "")) for entry, path in contested]
        )
    lost = frozenset(path for _, path in contested)
    others = [_Entry(e.raw, e.fields - lost) for e in others]
    merged = merge(live, wanted, topology)
    kept = {
        path[:length]
        for fields in (wishes.keys(), *(e.fields for e in others))
        for path in fields
        for length in range(1, len(path) + 1)
    }
    gone = [path for path in (mine.fields if mine else ()) if path not in kept]
    result = without(merged, gone, kept, topology) if gone else merged
    own = _entry(by, "Apply", frozenset(wishes))
    if mine is not None and mine.fields == own.fields and result == live:
        own = mine
    return _with(result, [own, *others])


def _contested(
    live: dict[Path, Json], wishes: dict[Path, Json], others: Sequence[_Entry]
) -> list[tuple[_Entry, Path]]:
    """Fields of others that would change: of another value, or under one that is replaced."""
    inner = {path[:n]: path[n][0] for path in wishes for n in range(1, len(path))}
    found = []
    for entry in others:
        for path in sorted(entry.fields):
            if path in wishes:
                contested = path not in live or live[path] != wishes[path]
            elif path in inner:
                found_there, under = live.get(path, {}), inner[path]
                fits = found_there == {} or (found_there == [] and under != "f")
                contested = path[-1].startswith("f:") and not fits
            else:
                contested = _replaced(path, wishes)
            if contested:
                found.append((entry, path))
    return found


def _replaced(path: Path, wishes: dict[Path, Json]) -> bool:
    """Whether a wish puts something without parts where this path leads through."""
    for length in range(1, len(path)):
        above = path[:length]
        if above in wishes and above[-1].startswith("f:") and wishes[above] != {}:
            return wishes[above] != [] or path[length].startswith("f:")
    return False


def _strip(value: Json) -> Json:
    """Without nulls, which have no opinion."""
    if isinstance(value, dict):
        return {k: _strip(v) for k, v in value.items() if v is not None}
    return value
