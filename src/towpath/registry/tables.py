"""The schema: three tables of entities, their properties, and the links between them.

The specification has one sequence of ids, and one space of external ids, for each of three places:
contexts (models, versions, environments, services, experiments, runs), artifacts and executions.
So each place is one table with the same columns, whatever kinds are added later. What a lookup,
an order or a uniqueness rule needs is a column; the rest of the document is one JSON column, so a
page of a list is one statement and no property is fetched for itself. ``<place>_property`` repeats
the custom properties and the searchable fields, one typed row each, for filters; it follows from
the document and can be rebuilt from it. ``attribution`` tells which artifacts belong to which
contexts, many to many. Orders are served by indexes that end in the id, as paging does.
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
    "METADATA",
    "PROPERTIES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "TABLES",
    "property_rows",
]

SCHEMA_VERSION: Final = 1

METADATA: Final = MetaData()


def _exact(length: int) -> String:
    """A text compared by its characters, on every database."""
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")


def _long() -> Text:
    return Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


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
        Column("int_value", Integer),
        Column("double_value", Double),
        Column("bool_value", Boolean),
        Index(f"ix_{place}_property_name", "name", "custom", "owner_id"),
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
        searchable: Its searchable fields and their texts.
    """
    empty = {"string_value": None, "int_value": None, "double_value": None, "bool_value": None}
    rows = [
        {**empty, "owner_id": owner, "custom": False, "name": name, "string_value": value}
        for name, value in searchable.items()
    ]
    for name, value in custom.items():
        row = {**empty, "owner_id": owner, "custom": True, "name": name}
        match value["metadataType"]:
            case "MetadataIntValue":
                row["int_value"] = int(value["int_value"])
            case "MetadataDoubleValue":
                row["double_value"] = value["double_value"]
            case "MetadataBoolValue":
                row["bool_value"] = value["bool_value"]
            case "MetadataStructValue":
                row["string_value"] = value["struct_value"]
            case _:
                row["string_value"] = value["string_value"]
        rows.append(row)
    return rows
