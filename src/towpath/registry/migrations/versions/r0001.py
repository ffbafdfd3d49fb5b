"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

PLACES = ("context", "artifact", "execution")


def _text(length: int) -> sa.String:
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def upgrade() -> None:
    """Make them, in a database that has none."""
    long = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    for place in PLACES:
        op.create_table(
            place,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("type", sa.String(40), nullable=False),
            sa.Column("name", _text(255), nullable=False),
            sa.Column("scope", sa.String(40), nullable=False),
            sa.Column("parent_id", sa.Integer, sa.ForeignKey("context.id")),
            sa.Column("external_id", _text(255)),
            sa.Column("created", sa.BigInteger, nullable=False),
            sa.Column("updated", sa.BigInteger, nullable=False),
            sa.Column("body", sa.JSON, nullable=False),
            sa.UniqueConstraint("type", "scope", "name", name=f"uq_{place}_name"),
            sa.UniqueConstraint("external_id", name=f"uq_{place}_external_id"),
            sqlite_autoincrement=True,
        )
        op.create_index(f"ix_{place}_id", place, ["type", "id"])
        op.create_index(f"ix_{place}_created", place, ["type", "created", "id"])
        op.create_index(f"ix_{place}_updated", place, ["type", "updated", "id"])
        op.create_index(f"ix_{place}_parent", place, ["type", "parent_id", "id"])
        op.create_table(
            f"{place}_property",
            sa.Column("owner_id", sa.Integer, sa.ForeignKey(f"{place}.id"), primary_key=True),
            sa.Column("custom", sa.Boolean, primary_key=True),
            sa.Column("name", _text(255), primary_key=True),
            sa.Column("string_value", long),
            sa.Column("int_value", sa.Integer),
            sa.Column("double_value", sa.Double),
            sa.Column("bool_value", sa.Boolean),
        )
        columns = ["name", "custom", "owner_id"]
        op.create_index(f"ix_{place}_property_name", f"{place}_property", columns)
    op.create_table(
        "attribution",
        sa.Column("context_id", sa.Integer, sa.ForeignKey("context.id"), primary_key=True),
        sa.Column("artifact_id", sa.Integer, sa.ForeignKey("artifact.id"), primary_key=True),
    )
    op.create_index("ix_attribution_artifact", "attribution", ["artifact_id"])
    op.create_table(
        "towpath_registry_schema",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    )
