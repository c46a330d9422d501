"""Policies and models that verdicts were reached with, by digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0007"
down_revision = "v0006"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "registered",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registered"),
        sa.UniqueConstraint("kind", "digest", name="uq_registered_kind_digest"),
    )
    if op.get_bind().dialect.name == "sqlite":
        said = "BEGIN SELECT RAISE(ABORT, 'rows of registered are never edited or deleted'); END"
        for act in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER registered_no_{act.lower()} BEFORE {act} ON registered {said}")
        # INSERT OR REPLACE deletes without asking the trigger above
        there = "SELECT 1 FROM registered WHERE id = NEW.id OR (kind = NEW.kind AND digest = NEW.digest)"
        op.execute(
            f"CREATE TRIGGER registered_no_replace BEFORE INSERT ON registered WHEN EXISTS ({there}) {said}"
        )
        return
    # the function came with the first migration
    for name, when in (("no_edit", "UPDATE OR DELETE"), ("no_truncate", "TRUNCATE")):
        each = "ROW" if name == "no_edit" else "STATEMENT"
        op.execute(
            f"CREATE TRIGGER registered_{name} BEFORE {when} ON registered "
            f"FOR EACH {each} EXECUTE FUNCTION moderator_refuse_edit()"
        )


def downgrade() -> None:
    rows = op.get_bind().execute(sa.text("SELECT count(*) FROM registered")).scalar_one()
    if rows:
        raise RuntimeError(
            f"{rows} policies and models are kept, which the log covers; without them it could not be "
            "verified any more, so the schema stays at v0007"
        )
    op.drop_table("registered")
