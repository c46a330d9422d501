"""Run by Alembic, always on a connection that is already inside the migration's own transaction."""

from __future__ import annotations

from alembic import context

from moderator.store.tables import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run through `moderator db upgrade`, which holds the lock they need")

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
