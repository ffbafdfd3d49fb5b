"""Runs revisions in the transaction of whoever asked; Alembic looks for this file."""

from alembic import context

from towpath.registry.tables import METADATA, REVISION

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=REVISION.name,
)
context.run_migrations()
