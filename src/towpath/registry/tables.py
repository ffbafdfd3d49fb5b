"""The schema: three tables of entities, their properties, and the links between them.

The specification has one sequence of ids, and one space of external ids, for each of three places:
contexts (models, versions, environments, services, experiments, runs), artifacts and executions.
So each place is one table with the same columns, whatever kinds are added later. What a lookup,
an order or a uniqueness rule needs is a column; the rest of the document is one JSON column, so a
page of a list is one statement and no property is fetched for itself. ``<place>_property`` repeats
the custom properties and the searchable fields, one typed row each, for filters; it follows from
the document and can be rebuilt from it. ``attribution`` tells which artifacts belong to which
contexts, many to many. Orders are served by indexes that end in the id, as paging does.

``event`` holds every change with what was before and after. Its ``seq`` is given after the change
was committed, by the next reader of the feed, so that a reader who has seen one number never
misses a smaller one; ``feed`` is the last number given, and the lock of giving them. ``link`` is a
relation between an entity and another, or a thing outside that is known by its URI.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

__all__ = [
    "ATTRIBUTION",
    "EVENT",
    "FEED",
    "KEY_LENGTH",
    "LINK",
    "METADATA",
    "PROPERTIES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "TABLES",
    "property_rows",
]

SCHEMA_VERSION: Final = 1

METADATA: Final = MetaData()

KEY_LENGTH: Final = 64
"""Characters of a text that its index holds: all databases limit the length of a key."""


def _exact(length: int) -> String:
    """A text compared by its characters, on every database."""
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")


def _long() -> Text:
    return Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def _counted() -> BigInteger:
    """An id without an end; SQLite counts only plain integers."""
    return BigInteger().with_variant(Integer(), "sqlite")


def _entities(place: str) -> Table:
    return Table(
        place,
        METADATA,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("type", String(40), nullable=False),
        Column("name", _exact(255), nullable=False),
        Column("scope", String(40), nullable=False),
        Column("parent_id", ForeignKey("context.id"), nullable=True),
        Column("external_id", _exact(255), nullable=True),
        Column("created", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
        Column("body", JSON, nullable=False),
        UniqueConstraint("type", "scope", "name", name=f"uq_{place}_name"),
        UniqueConstraint("external_id", name=f"uq_{place}_external_id"),
        Index(f"ix_{place}_id", "type", "id"),
        Index(f"ix_{place}_created", "type", "created", "id"),
        Index(f"ix_{place}_updated", "type", "updated", "id"),
        Index(f"ix_{place}_parent", "type", "parent_id", "id"),
        Index(f"ix_{place}_parent_created", "type", "parent_id", "created", "id"),
        Index(f"ix_{place}_parent_updated", "type", "parent_id", "updated", "id"),
        sqlite_autoincrement=True,
    )


def _properties(place: str) -> Table:
    return Table(
        f"{place}_property",
        METADATA,
        Column("owner_id", ForeignKey(f"{place}.id"), primary_key=True),
        Column("custom", Boolean, primary_key=True),
        Column("name", _exact(255), primary_key=True),
        Column("string_value", _long()),
        Column("string_key", _exact(KEY_LENGTH)),
        Column("int_value", BigInteger),
        Column("number", Double),
        Column("bool_value", Boolean),
        Index(f"ix_{place}_property_string", "name", "custom", "string_key", "owner_id"),
        Index(f"ix_{place}_property_number", "name", "custom", "number", "owner_id"),
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
    Column("actor", _exact(255), nullable=False),
    Column("action", String(10), nullable=False),
    Column("kind", String(40), nullable=False),
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
    Column("subject", _exact(60), nullable=False),
    Column("relation", _exact(60), nullable=False),
    Column("object", _exact(600), nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("subject", "relation", "object", name="uq_link"),
    Index("ix_link_object", "object"),
    sqlite_autoincrement=True,
)

SCHEMA: Final = Table(
    "towpath_registry_schema",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
)


def property_rows(owner: int, custom: dict[str, Any], searchable: dict[str, Any]) -> list[Any]:
    """The property rows of one entity.

    Args:
        owner: Its id.
        custom: Its custom properties, in their wire form.
        searchable: Its searchable fields and their values.
    """
    common = {"owner_id": owner, "custom": False}
    rows = [
        {**common, "name": name, **_typed(value)}
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
        rows.append({**common, "custom": True, "name": name, **typed})
    return rows


_EMPTY: Final[dict[str, Any]] = {
    "string_value": None,
    "string_key": None,
    "int_value": None,
    "number": None,
    "bool_value": None,
}


def _typed(value: str | int | float | bool) -> dict[str, Any]:
    """The value's columns: ``number`` holds integers too, and ``int_value`` tells them apart."""
    match value:
        case bool():
            return {**_EMPTY, "bool_value": value}
        case int():
            return {**_EMPTY, "int_value": value, "number": float(value)}
        case float():
            return {**_EMPTY, "number": value}
        case _:
            return {**_EMPTY, "string_value": value, "string_key": value[:KEY_LENGTH]}
