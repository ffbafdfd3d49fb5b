"""Reading an export into an empty account book: all of it or nothing.

Ids, times and the numbers of events stay as they were, so that links from outside stay true. What
is wrong is told with the number of its line. Rows go in batch by batch; what only the whole can
tell, such as a reference to an entity further down, is asked of the database at the end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final, NoReturn

import orjson
from sqlalchemy import Connection, Table, and_, false, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from towpath.errors import ConflictError, InvalidError
from towpath.registry import events, links, store
from towpath.registry.events import Stamp
from towpath.registry.exchange import FORMAT, VERSION
from towpath.registry.kinds import KINDS, RUN_LINKS, Kind
from towpath.registry.records import (
    ID_LARGEST,
    NAME_LENGTH,
    Record,
    accept,
    bad_request,
    document,
)
from towpath.registry.tables import (
    ATTRIBUTION,
    EVENT,
    FEED,
    LINK,
    PROPERTIES,
    TABLES,
)
from towpath.spec._wire import JsonObject

__all__ = ["restore"]

LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line: an event with an entity of 16 MB before and after, and room for its escapes."""
BATCH: Final = 500
BATCH_BYTES: Final = 16 * 1024 * 1024
"""A batch is this large at most, and one line larger."""
SEQ_LARGEST: Final = 10**15
"""New events go on from the largest one: this leaves them room."""
TIME_LARGEST: Final = 10**15

_SECTIONS: Final = (*TABLES, "Attribution", "Link", "Event")
_PLACES: Final[dict[str, Table]] = {
    **TABLES,
    "Attribution": ATTRIBUTION,
    "Link": LINK,
    "Event": EVENT,
}
_ID: Final = re.compile(r"[1-9][0-9]{0,8}")
_ENTITY: Final = frozenset(
    {"kind", "id", "name", "externalId", "parent", "scope", "created", "updated", "body"}
)


@dataclass
class _Batch:
    """Rows of one table, with the lines they came from."""

    section: str
    lines: list[int] = field(default_factory=list)
    rows: list[JsonObject] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it is time to write it down."""
        return len(self.rows) == BATCH or self.bytes >= BATCH_BYTES


def restore(tx: Connection, file: IO[bytes], stamp: Stamp) -> dict[str, int]:
    """Take in a whole export.

    Args:
        tx: A transaction that writes.
        file: The export; it is read once, and once more when something is wrong with it.
        stamp: Who takes it in, and when: for a file that has no events, as one that was made by
            listing another server, every entity gets the event of its creation.

    Returns:
        How many of each kind were taken in.

    Raises:
        ConflictError: the registry is not empty.
        InvalidError: a line is wrong; its number and field are told.
    """
    _lock(tx)
    file.seek(0)  # the transaction may be run again
    reader = _lines(file)
    expected = _header(next(reader, (1, b"")))
    counts = dict.fromkeys(expected, 0)
    batch = _Batch(_SECTIONS[0])
    told = None if "Event" in expected else stamp
    for number, data in reader:
        line = _object(number, data)
        section, kind = _section(number, line)
        if section != batch.section or batch.full:
            _store(tx, batch, told)
            if _SECTIONS.index(section) < _SECTIONS.index(batch.section):
                _wrong(number, f"kind: {line['kind']} comes after {batch.section} lines")
            batch = _Batch(section)
        _take(number, line, kind, batch)
        batch.bytes += len(data)
        counts[line["kind"]] = counts.get(line["kind"], 0) + 1
    _store(tx, batch, told)
    for name in counts:
        if counts[name] != expected.get(name, 0):
            raise bad_request(
                f"line 1: counts: the file has {counts[name]} lines of kind {name[:40]}, not "
                f"{expected.get(name, 0)}",
                hint="It is cut off, or was changed.",
            )
    _check_references(tx, file)
    _go_on(tx)
    return counts


def _lock(tx: Connection) -> None:
    """Keep others from writing, where the database can, and check that there is nothing."""
    events.last_number(tx, lock=True)
    if tx.dialect.name == "postgresql":
        names = ", ".join(table.name for table in (*TABLES.values(), LINK, EVENT))
        tx.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
    for table in (*TABLES.values(), LINK, EVENT):
        if tx.execute(select(table.c.id).limit(1)).first() is not None:
            raise ConflictError(
                "this registry is not empty, and an import keeps ids: conflict",
                hint="Import into a new database.",
            )


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while data := file.readline(LINE_BYTES + 1):
        number += 1
        if len(data) > LINE_BYTES:
            _wrong(number, f"it is longer than {LINE_BYTES} bytes")
        if data.strip():
            yield number, data


def _object(number: int, data: bytes) -> JsonObject:
    if b"\x00" in data or b"\\u0000" in data:
        _wrong(number, "it holds a NUL character")
    try:
        line = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        _wrong(number, f"it is not JSON: {exc}")
    if not isinstance(line, dict):
        _wrong(number, "it is not a JSON object")
    return line


def _header(first: tuple[int, bytes]) -> dict[str, int]:
    number, data = first
    line = _object(number, data) if data else {}
    if line.get("format") != FORMAT:
        _wrong(number, f"format: this is no export of a registry, which has {FORMAT!r} here")
    if line.get("version") != VERSION:
        _wrong(number, f"version: {str(line.get('version'))[:20]} is not {VERSION}")
    counts = line.get("counts")
    if not isinstance(counts, dict) or not all(isinstance(n, int) for n in counts.values()):
        _wrong(number, "counts: it is not an object of numbers")
    return counts


def _section(number: int, line: JsonObject) -> tuple[str, Kind | None]:
    name = line.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is not None:
        return kind.place, kind
    if name not in _SECTIONS:
        _wrong(number, f"kind: {str(name)[:40]!r} is unknown")
    return str(name), None


def _take(number: int, line: JsonObject, kind: Kind | None, batch: _Batch) -> None:
    try:
        if kind is not None:
            record = _record(line, kind)
            batch.records.append(record)
            row = _entity_row(record)
        elif batch.section == "Attribution":
            row = {
                "context_id": _integer(line, "context", 1, ID_LARGEST),
                "artifact_id": _integer(line, "artifact", 1, ID_LARGEST),
            }
        elif batch.section == "Link":
            row = _link_row(line)
        else:
            row = _event_row(line)
    except InvalidError as exc:
        raise bad_request(f"line {number}: {exc.message.removesuffix(': bad request')}") from exc
    batch.lines.append(number)
    batch.rows.append(row)


def _record(line: JsonObject, kind: Kind) -> Record:
    for name in line:
        if name not in _ENTITY:
            raise bad_request(f"{name[:60]}: unknown field")
    body = line.get("body")
    if not isinstance(body, dict):
        raise bad_request("body: it is not an object")
    elsewhere = {"name", "externalId", "artifactType"} | (
        {kind.parent[0]} if kind.parent else set()
    )
    taken_over = {name: body[name] for name in kind.inherited if name in body}
    for name in {*kind.references, *kind.inherited, *RUN_LINKS} & body.keys():
        if not isinstance(body[name], str) or not _ID.fullmatch(body[name]):
            raise bad_request(f"body: {name} is no id")
    for name in kind.required:
        if name not in elsewhere and name not in body:
            raise bad_request(f"body: {name} is missing")
    allowed = (kind.creatable | (set(RUN_LINKS) & kind.fields)) - elsewhere
    own = {name: value for name, value in body.items() if name not in taken_over}
    parent = _integer(line, "parent", 1, ID_LARGEST) if kind.parent else None
    if parent is not None:
        scope = str(parent)
    else:
        scope = _text(line, "scope", 40) if kind.place != "context" else ""
    return Record(
        kind=kind,
        id=_integer(line, "id", 1, ID_LARGEST),
        name=_text(line, "name", NAME_LENGTH),
        scope=scope,
        parent=parent,
        external_id=_text(line, "externalId", 255) if "externalId" in line else None,
        body={**kind.defaults, **accept(kind, own, allowed), **taken_over},
        created=_integer(line, "created", 0, TIME_LARGEST),
        updated=_integer(line, "updated", 0, TIME_LARGEST),
    )


def _entity_row(record: Record) -> JsonObject:
    return {
        "id": record.id,
        "type": record.kind.type,
        "name": record.name,
        "scope": record.scope,
        "parent_id": record.parent,
        "external_id": record.external_id,
        "created": record.created,
        "updated": record.updated,
        "body": record.body,
    }


def _link_row(line: JsonObject) -> JsonObject:
    link = links.accept({name: line[name] for name in links.FIELDS if name in line})
    return {
        "id": _integer(line, "id", 1, ID_LARGEST),
        "subject": link.subject,
        "relation": link.relation,
        "object": link.object,
        "created": _integer(line, "created", 0, TIME_LARGEST),
    }


def _event_row(line: JsonObject) -> JsonObject:
    for name in ("before", "after"):
        if line.get(name) is not None and not isinstance(line[name], dict):
            raise bad_request(f"{name}: it is not an object")
    actor = line.get("actor")
    if not isinstance(actor, str) or len(actor) > NAME_LENGTH:
        raise bad_request(f"actor: it is not a text of at most {NAME_LENGTH} characters")
    if line.get("action") not in ("create", "update", "delete"):
        raise bad_request("action: it is not one of create, update, delete")
    return {
        "seq": _integer(line, "seq", 1, SEQ_LARGEST),
        "at": _integer(line, "at", 0, TIME_LARGEST),
        "actor": actor,
        "action": line["action"],
        "kind": _text(line, "entityKind", 40),
        "entity_id": _integer(line, "entity", 1, ID_LARGEST),
        "before": line.get("before"),
        "after": line.get("after"),
    }


def _integer(line: JsonObject, name: str, least: int, most: int) -> int:
    value = line.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise bad_request(f"{name}: it is not a number from {least} to {most}")
    return value


def _text(line: JsonObject, name: str, longest: int) -> str:
    value = line.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise bad_request(f"{name}: it is not a text of 1 to {longest} characters")
    return value


def _store(tx: Connection, batch: _Batch, told: Stamp | None) -> None:
    if not batch.rows:
        return
    table = _PLACES[batch.section]
    try:
        with tx.begin_nested():
            tx.execute(insert(table), batch.rows)
    except IntegrityError:
        for number, row in zip(batch.lines, batch.rows, strict=True):
            try:
                with tx.begin_nested():
                    tx.execute(insert(table), row)
            except IntegrityError as exc:
                _clash(number, row, exc)
    if not batch.records:
        return
    properties = [row for record in batch.records for row in store.rows_of(record)]
    if properties:
        tx.execute(insert(PROPERTIES[batch.section]), properties)
    if told is not None:
        changes = [(record.kind, None, document(record)) for record in batch.records]
        events.record_all(tx, told, "create", list(changes))


def _clash(number: int, row: JsonObject, exc: IntegrityError) -> NoReturn:
    told = str(exc.orig).partition("\n")[0].lower()
    if "foreign key" in told:
        named = [name for name in ("parent_id", "context_id", "artifact_id") if row.get(name)]
        _wrong(number, f"{' or '.join(name.removesuffix('_id') for name in named)}: no such entity")
    found = next((n for n in ("external_id", "seq", "name") if n in told and n in row), "id")
    _wrong(number, f"{'externalId' if found == 'external_id' else found}: it is there twice")


def _check_references(tx: Connection, file: IO[bytes]) -> None:
    """That what an entity names is of the right kind, wherever it stood in the file."""
    context = TABLES["context"]
    for kind in KINDS.values():
        table, properties = TABLES[kind.place], PROPERTIES[kind.place]
        target = context.alias("target")
        if kind.parent is not None:
            found = (
                select(table.c.id)
                .join(target, target.c.id == table.c.parent_id)
                .where(table.c.type == kind.type, target.c.type != kind.parent[1].type)
            )
            _check_none(tx, found, kind, "parent", file)
        for name, wanted in kind.references.items():
            there = and_(target.c.id == properties.c.int_value, target.c.type == wanted.type)
            found = (
                select(table.c.id)
                .join(properties, properties.c.owner_id == table.c.id)
                .outerjoin(target, there)
                .where(properties.c.type == kind.type, properties.c.custom == false())
                .where(properties.c.name == name, target.c.id.is_(None))
            )
            _check_none(tx, found, kind, name, file)


def _check_none(tx: Connection, found: Any, kind: Kind, name: str, file: IO[bytes]) -> None:
    ident = tx.execute(found.limit(1)).scalar()
    if ident is None:
        return
    file.seek(0)
    for number, data in _lines(file):
        line = orjson.loads(data)
        if line.get("kind") == kind.type and line.get("id") == ident:
            _wrong(number, f"{name}: no such entity")


def _go_on(tx: Connection) -> None:
    """Let new ids and numbers begin after all that were ever given, deleted entities' too."""
    last = tx.execute(select(func.max(EVENT.c.seq))).scalar() or 0
    tx.execute(update(FEED).values(last=last))
    for table in (*TABLES.values(), LINK):
        kinds = [kind.type for kind in KINDS.values() if kind.place == table.name] or ["Link"]
        told = select(func.max(EVENT.c.entity_id)).where(EVENT.c.kind.in_(kinds))
        here = tx.execute(select(func.max(table.c.id))).scalar() or 0
        largest = max(here, tx.execute(told).scalar() or 0)
        if not largest:
            continue
        if tx.dialect.name == "postgresql":
            sequence = "SELECT setval(pg_get_serial_sequence(:name, 'id'), :largest)"
            tx.execute(text(sequence), {"name": table.name, "largest": largest})
        elif largest > here:  # the others count on from the largest id that was ever there
            with tx.begin_nested():
                tx.execute(insert(table).values(**_filler(table, largest)))
                tx.execute(table.delete().where(table.c.id == largest))


def _filler(table: Table, ident: int) -> JsonObject:
    """A row that holds nothing but an id."""
    numbers = {name: 0 for name in ("created", "updated") if name in table.c}
    exact = ("type", "name", "scope", "subject", "relation", "object")
    texts = {name: "0" for name in exact if name in table.c}
    body: JsonObject = {"body": {}} if "body" in table.c else {}
    return {"id": ident, **numbers, **texts, **body}


def _wrong(number: int, what: str) -> NoReturn:
    raise bad_request(f"line {number}: {what}")
