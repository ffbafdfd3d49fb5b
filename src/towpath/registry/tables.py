"""The schema: three tables of entities, their properties, and the links between them.

The specification has one sequence of ids, and one space of external ids, for each of three places:
contexts (models, versions, environments, services, experiments, runs), artifacts and executions.
So each place is one table with the same columns, whatever kinds are added later. What a lookup,
an order or a uniqueness rule needs is a column; the rest of the document is one JSON column, so a
page of a list is one statement and no property is fetched for itself. ``<place>_property`` repeats
the custom properties and the searchable fields, one typed row each, for filters; it follows from
the document and can be rebuilt from it, so no constraint guards it. Its ``key`` begins with the
type of the value (``s``, ``n`` or ``b``), and it repeats what lists are ordered by, so that all
entities with one value can be walked in any order. ``attribution`` tells which artifacts belong to
which contexts, many to many. Orders are served by indexes that end in the id, as paging does.

``event`` holds every change with what was before and after. Its ``seq`` is given after the change
was committed, by the next reader of the feed, so that a reader who has seen one number never
misses a smaller one; ``feed`` is the last number given, and the lock of giving them. ``link`` is a
relation between an entity and another, or a thing outside that is known by its URI.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

__all__ = [
    "ATTRIBUTION",
    "EVENT",
    "FEED",
    "HEAD",
    "KEY_LENGTH",
    "LINK",
    "METADATA",
    "PROPERTIES",
    "REVISION",
    "TABLES",
    "Exact",
    "key_of",
    "property_rows",
]

HEAD: Final = "0002"
"""The revision of these tables, the last one in :mod:`towpath.registry.migrations`."""

METADATA: Final = MetaData()

KEY_LENGTH: Final = 64
"""Characters of a property's key: all databases limit what an index holds."""


class Exact(TypeDecorator[str]):
    """A text that is compared and ordered by its characters, on every database.

    PostgreSQL orders by a locale unless it is told not to. MySQL and MariaDB fold cases, and pad
    the shorter of two texts with spaces before they compare them, in all but a few collations.

    Args:
        length: Most characters; without, as many as the database can hold.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """The type of this text in a database."""
        if dialect.name in ("mysql", "mariadb"):
            of_mariadb = getattr(dialect, "is_mariadb", False)
            collation = "utf8mb4_nopad_bin" if of_mariadb else "utf8mb4_0900_bin"
            if self.length is None:
                return mysql.LONGTEXT(charset="utf8mb4", collation=collation)
            return mysql.VARCHAR(self.length, charset="utf8mb4", collation=collation)
        collate = "C" if dialect.name == "postgresql" else None
        return String(self.length, collate) if self.length else Text(collation=collate)


def _counted() -> BigInteger:
    """An id without an end; SQLite counts only plain integers."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _entities(place: str) -> Table:
    found = Table(
        place,
        METADATA,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("type", Exact(40), nullable=False),
        Column("name", Exact(255), nullable=False),
        Column("scope", Exact(40), nullable=False),
        Column("parent_id", ForeignKey("context.id"), nullable=True),
        Column("external_id", Exact(255), nullable=True),
        Column("created", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
        Column("body", JSON, nullable=False),
        UniqueConstraint("type", "scope", "name", name=f"uq_{place}_name"),
        UniqueConstraint("external_id", name=f"uq_{place}_external_id"),
        Index(f"ix_{place}_id", "type", "id"),
        Index(f"ix_{place}_created", "type", "created", "id"),
        Index(f"ix_{place}_updated", "type", "updated", "id"),
        Index(f"ix_{place}_name", "type", "name", "id"),
        sqlite_autoincrement=True,
    )
    if place != "artifact":  # an artifact belongs to contexts by attribution
        columns = found.c
        Index(f"ix_{place}_parent", columns.type, columns.parent_id, columns.id)
        for time in (columns.created, columns.updated):
            name = f"ix_{place}_parent_{time.name}"
            Index(name, columns.type, columns.parent_id, time, columns.id)
    return found


_KEYED: Final = ("type", "name", "custom", "key")


def _properties(place: str) -> Table:
    return Table(
        f"{place}_property",
        METADATA,
        Column("owner_id", Integer, primary_key=True, autoincrement=False),
        Column("custom", Boolean, primary_key=True),
        Column("name", Exact(255), primary_key=True),
        Column("type", Exact(40), nullable=False),
        Column("key", Exact(KEY_LENGTH)),
        Column("string_value", Exact()),
        Column("int_value", BigInteger),
        Column("created", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
        Index(f"ix_{place}_property_id", *_KEYED, "owner_id"),
        Index(f"ix_{place}_property_created", *_KEYED, "created", "owner_id"),
        Index(f"ix_{place}_property_updated", *_KEYED, "updated", "owner_id"),
    )


TABLES: Final[dict[str, Table]] = {
    place: _entities(place) for place in ("context", "artifact", "execution")
}
PROPERTIES: Final[dict[str, Table]] = {place: _properties(place) for place in TABLES}

ATTRIBUTION: Final = Table(
    "attribution",
    METADATA,
    Column("context_id", ForeignKey("context.id"), primary_key=True),
    Column("artifact_id", ForeignKey("artifact.id"), primary_key=True),
    Index("ix_attribution_artifact", "artifact_id"),
)

EVENT: Final = Table(
    "event",
    METADATA,
    Column("id", _counted(), primary_key=True, autoincrement=True),
    Column("seq", BigInteger, nullable=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Exact(255), nullable=False),
    Column("action", Exact(10), nullable=False),
    Column("kind", Exact(40), nullable=False),
    Column("entity_id", Integer, nullable=False),
    Column("before", JSON(none_as_null=True), nullable=True),
    Column("after", JSON(none_as_null=True), nullable=True),
    UniqueConstraint("seq", name="uq_event_seq"),
    Index("ix_event_entity", "kind", "entity_id", "id"),
    Index("ix_event_actor", "actor", "id"),
    sqlite_autoincrement=True,
)

FEED: Final = Table(
    "feed",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

LINK: Final = Table(
    "link",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("subject", Exact(60), nullable=False),
    Column("relation", Exact(60), nullable=False),
    Column("object", Exact(600), nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("subject", "relation", "object", name="uq_link"),
    Index("ix_link_object", "object"),
    sqlite_autoincrement=True,
)

REVISION: Final = Table(
    "towpath_registry_revision",
    MetaData(),  # it tells about the others and is none of them
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="towpath_registry_revision_pkc"),
)


def property_rows(
    owner: Mapping[str, Any], custom: dict[str, Any], searchable: dict[str, Any]
) -> list[Any]:
    """The property rows of one entity.

    Args:
        owner: Its ``owner_id``, ``type``, ``created`` and ``updated``.
        custom: Its custom properties, in their wire form.
        searchable: Its searchable fields and their values.
    """
    rows = [
        {**owner, "custom": False, "name": name, **_typed(value)}
        for name, value in searchable.items()
        if value is not None
    ]
    for name, value in custom.items():
        match value["metadataType"]:
            case "MetadataIntValue":
                typed = _typed(int(value["int_value"]))
            case "MetadataDoubleValue":
                typed = _typed(float(value["double_value"]))
            case "MetadataBoolValue":
                typed = _typed(value["bool_value"])
            case "MetadataStructValue":
                typed = _EMPTY  # there, but nothing compares with it
            case _:
                typed = _typed(value["string_value"])
        rows.append({**owner, "custom": True, "name": name, **typed})
    return rows


def key_of(value: str | int | float | bool) -> str:
    """The key of a property: values of one type are in the order of their keys.

    That holds for a text as far as its first characters go, and for an integer as far as a double
    can tell it. An integer and a double of one value differ in the last letter, ``i`` or ``d``.
    """
    match value:
        case bool():
            return f"b{value:d}"
        case str():
            return f"s{value[: KEY_LENGTH - 1]}"
    bits = int.from_bytes(struct.pack(">d", value + 0.0))  # which makes -0.0 the same as 0.0
    ordered = bits ^ _SIGN if bits < _SIGN else bits ^ (2 * _SIGN - 1)
    return f"n{ordered:016x}{'i' if isinstance(value, int) else 'd'}"


_SIGN: Final = 1 << 63


_EMPTY: Final[dict[str, Any]] = {"key": None, "string_value": None, "int_value": None}


def _typed(value: str | int | float | bool) -> dict[str, Any]:
    """The value's columns; an integer's key is that of the same double."""
    typed = {**_EMPTY, "key": key_of(value)}
    if isinstance(value, str):
        typed["string_value"] = value
    elif isinstance(value, int) and not isinstance(value, bool):
        typed["int_value"] = value
    return typed
