"""Texts compared by their characters everywhere, typed properties with keys, events, links.

Every step can be done again, as MySQL and MariaDB keep those that a crash has left.
"""

import sqlalchemy as sa
from alembic import op

from towpath.registry.tables import Exact

revision = "0002"
down_revision = "0001"

PLACES = ("context", "artifact", "execution")


def upgrade() -> None:
    """From the first release's tables."""
    for place in PLACES:
        _entities(place)
        _properties(place)
    _events()
    _links()
    if _there("towpath_registry_schema"):
        op.drop_table("towpath_registry_schema")


def _entities(place: str) -> None:
    if op.get_bind().dialect.name != "sqlite":  # which compares by characters anyway
        for name, length in (("type", 40), ("name", 255), ("scope", 40)):
            op.alter_column(place, name, type_=Exact(length), existing_nullable=False)
        op.alter_column(place, "external_id", type_=Exact(255), existing_nullable=True)
    _index(f"ix_{place}_name", place, "type", "name", "id")
    if place == "artifact":  # which has no parent
        if f"ix_{place}_parent" in _indexes(place):
            op.drop_index(f"ix_{place}_parent", place)
        return
    _index(f"ix_{place}_parent_created", place, "type", "parent_id", "created", "id")
    _index(f"ix_{place}_parent_updated", place, "type", "parent_id", "updated", "id")


def _properties(place: str) -> None:
    """Empty: they are filled from the documents."""
    table = f"{place}_property"
    if _there(table):
        op.drop_table(table)
    op.create_table(
        table,
        sa.Column("owner_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("custom", sa.Boolean, primary_key=True),
        sa.Column("name", Exact(255), primary_key=True),
        sa.Column("type", Exact(40), nullable=False),
        sa.Column("key", Exact(64)),
        sa.Column("string_value", Exact()),
        sa.Column("int_value", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    keyed = ("type", "name", "custom", "key")
    _index(f"ix_{table}_id", table, *keyed, "owner_id")
    _index(f"ix_{table}_created", table, *keyed, "created", "owner_id")
    _index(f"ix_{table}_updated", table, *keyed, "updated", "owner_id")


def _events() -> None:
    if not _there("event"):
        op.create_table(
            "event",
            sa.Column(
                "id",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                primary_key=True,
                autoincrement=True,
            ),
            sa.Column("seq", sa.BigInteger),
            sa.Column("at", sa.BigInteger, nullable=False),
            sa.Column("actor", Exact(255), nullable=False),
            sa.Column("action", Exact(10), nullable=False),
            sa.Column("kind", Exact(40), nullable=False),
            sa.Column("entity_id", sa.Integer, nullable=False),
            sa.Column("before", sa.JSON),
            sa.Column("after", sa.JSON),
            sa.UniqueConstraint("seq", name="uq_event_seq"),
            sqlite_autoincrement=True,
        )
    _index("ix_event_entity", "event", "kind", "entity_id", "id")
    _index("ix_event_actor", "event", "actor", "id")
    if not _there("feed"):
        op.create_table(
            "feed",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("last", sa.BigInteger, nullable=False),
        )
    op.execute("DELETE FROM feed")
    op.execute("INSERT INTO feed (id, last) VALUES (1, 0)")


def _links() -> None:
    if not _there("link"):
        op.create_table(
            "link",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("subject", Exact(60), nullable=False),
            sa.Column("relation", Exact(60), nullable=False),
            sa.Column("object", Exact(600), nullable=False),
            sa.Column("created", sa.BigInteger, nullable=False),
            sa.UniqueConstraint("subject", "relation", "object", name="uq_link"),
            sqlite_autoincrement=True,
        )
    _index("ix_link_object", "link", "object")


def _there(table: str) -> bool:
    return sa.inspect(op.get_bind()).has_table(table)


def _indexes(table: str) -> set[str | None]:
    return {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}


def _index(name: str, table: str, *columns: str) -> None:
    if name not in _indexes(table):
        op.create_index(name, table, list(columns))
