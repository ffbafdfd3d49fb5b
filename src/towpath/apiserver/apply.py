"""Who manages which field: server-side apply, and the account kept of every other write.

Pure: the live object, what is wanted, and the time go in; the new object comes out.

Source: Kubernetes documentation, "Server-Side Apply" (field management, conflicts, force).
"""

from collections.abc import Iterable, Sequence, Set
from typing import Final, Literal, NamedTuple

import orjson

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
_UPDATERS: Final = 10
"""Most managers kept apart that do not apply; the oldest are merged beyond that."""
_ANCIENT: Final = "ancient-changes"
_BEFORE: Final = "before-first-apply"


class Manager(NamedTuple):
    """Who writes, and when.

    Attributes:
        name: ``fieldManager`` of the request.
        api_version: Of the kind as written.
        now: RFC 3339 time.
        subresource: ``status`` or ``scale``, or empty.
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
        """Whether it is that of a manager; one that updates has an entry for each version."""
        return (
            self.raw.get("manager") == by.name
            and self.raw.get("operation") == operation
            and self.raw.get("subresource", "") == by.subresource
            and (operation == "Apply" or self.raw.get("apiVersion") == by.api_version)
        )

    @property
    def manager(self) -> str:
        """The manager, as messages write it."""
        text = _quoted(self.raw.get("manager", ""))
        if subresource := self.raw.get("subresource"):
            text += f" with subresource {_quoted(subresource)}"
        if self.raw.get("operation") == "Update":
            text += f" using {self.raw.get('apiVersion', '')}"
        return text


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _entries(metadata: JsonObject) -> list[_Entry]:
    return [
        _Entry(raw, decode(raw.get("fieldsV1")))
        for raw in metadata.get("managedFields") or ()
        if isinstance(raw, dict) and raw.get("fieldsV1")
    ]


def _given(metadata: JsonObject) -> list[_Entry] | None:
    """The account that a caller writes himself; None where he has none, or one that is not legal.

    A list of one empty entry is the way to say that nobody manages anything.
    """
    raw = metadata.get("managedFields")
    if raw == [{}]:
        return []
    legal = isinstance(raw, list) and all(
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and entry.get("fieldsType") == "FieldsV1"
        and isinstance(entry.get("fieldsV1"), dict)
        for entry in raw
    )
    return _entries(metadata) if raw and legal else None


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
    """The account as it stands in metadata: who applies first, the oldest first."""
    ordered = sorted((e for e in entries if e.fields), key=_rank)
    return [{**e.raw, "fieldsV1": encode(e.fields)} for e in ordered]


def _rank(entry: _Entry) -> tuple[str, ...]:
    fields = ("operation", "time", "manager", "apiVersion", "subresource")
    return tuple(entry.raw.get(field) or "" for field in fields)


def tracked(old: JsonObject, new: JsonObject, by: Manager, topology: Topology) -> JsonObject:
    """The new object with the account of what this write changed.

    Where an object has no account, none is begun before somebody applies.

    Args:
        old: As it was; empty for a creation.
        new: As it will be, with the account that the caller gives it, if he does.
        by: Who changes it.
        topology: How the kind's lists and maps merge.
    """
    entries = _given(new["metadata"])
    if entries is None:
        entries = _entries(old["metadata"]) if old else []
    if old and not entries:
        return _with(new, [])
    before, after = flatten(old, topology), flatten(new, topology)
    changed = frozenset(path for path, value in after.items() if before.get(path, _ABSENT) != value)
    removed = before.keys() - after.keys()
    if changed or removed:
        mine = next((e for e in entries if e.same(by, "Update")), None)
        there = after.keys() | _inner(after).keys() if removed else None
        lost = changed | removed
        entries = [e if e is mine else _without(e, lost, there) for e in entries]
        fields = (mine.fields if mine else frozenset()) | changed
        entries = [e for e in entries if e is not mine]
        entries.append(_entry(by, "Update", fields & after.keys()))
    return _with(new, _capped([e for e in entries if e.fields]))


def _without(entry: _Entry, lost: Fields, there: Set[Path] | None) -> _Entry:
    """An entry of another manager, without what is lost or stood in what is no longer there."""
    left = entry.fields - lost
    return _Entry(entry.raw, left if there is None else left & there)


def _capped(entries: list[_Entry]) -> list[_Entry]:
    """Entries with the oldest of those who update merged, version by version."""
    updates = [e for e in entries if e.raw.get("operation") == "Update"]
    over = len(updates) - _UPDATERS
    if over <= 0:
        return entries
    first: dict[str, _Entry] = {}
    for entry in sorted(updates, key=lambda e: (e.raw.get("time") or "", e.raw.get("manager", ""))):
        version = entry.raw.get("apiVersion", "")
        if version not in first:
            first[version] = entry
            continue
        ancient = first[version]
        raw = {
            "manager": _ANCIENT,
            "operation": "Update",
            "apiVersion": version,
            "fieldsType": "FieldsV1",
        }
        if time := entry.raw.get("time"):
            raw["time"] = time
        first[version] = _Entry(raw, ancient.fields | entry.fields)
        entries = [e for e in entries if e is not ancient and e is not entry]
        entries.append(first[version])
        over -= 1
        if not over:
            break
    return entries


def _with(obj: JsonObject, entries: Sequence[_Entry]) -> JsonObject:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if written := _written(entries):
        metadata["managedFields"] = written
    return {**obj, "metadata": metadata}


def apply(
    live: JsonObject,
    wanted: JsonObject,
    by: Manager,
    topology: Topology,
    *,
    force: bool,
    yielding: str = "",
) -> JsonObject:
    """The live object with a manager's wishes applied.

    What the manager applied before and no longer wants goes, unless another manages it too.

    Args:
        live: As it is; for a creation only ``apiVersion``, ``kind`` and ``metadata``.
        wanted: Everything the manager has an opinion on.
        by: Who applies.
        topology: How the kind's lists and maps merge.
        force: Take over fields that others manage.
        yielding: A manager whose fields may be taken over all the same.

    Raises:
        ConflictError: others manage a field with another value, and ``force`` is not set.
    """
    wanted = _strip(wanted)
    wishes = flatten(wanted, topology)
    entries = _entries(live["metadata"])
    if not entries and "uid" in live["metadata"]:
        unmanaged = frozenset(flatten(live, topology))
        entries = [_entry(by._replace(name=_BEFORE, subresource=""), "Update", unmanaged)]
    mine = next((e for e in entries if e.same(by, "Apply")), None)
    others = [e for e in entries if e is not mine]
    contested = _contested(flatten(live, topology), wishes, others)
    conflicts = [
        (label(path), e.manager) for e, path in contested if e.raw.get("manager") != yielding
    ]
    if conflicts and not force:
        raise failures.apply_conflict(conflicts)
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
    inner, within = _inner(wishes), _inner(live)
    found = []
    for entry in others:
        for path in sorted(entry.fields):
            if path in wishes:
                wish = wishes[path]
                nothing = (wish == {} and within.get(path) == "f") or (
                    wish == [] and within.get(path, "f") != "f"
                )
                contested = not nothing and (path not in live or live[path] != wish)
            elif path in inner:
                found_there, under = live.get(path, {}), inner[path]
                fits = found_there == {} or (found_there == [] and under != "f")
                contested = path[-1].startswith("f:") and not fits
            else:
                contested = _replaced(path, wishes)
            if contested:
                found.append((entry, path))
    return found


def _inner(leaves: dict[Path, Json]) -> dict[Path, str]:
    """The containers of leaves, with how their parts are named: ``f``, ``k`` or ``v``."""
    return {path[:n]: path[n][0] for path in leaves for n in range(1, len(path))}


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
