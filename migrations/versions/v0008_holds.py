"""Legal holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0008"
down_revision = "v0007"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("item", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("placed_by", sa.String(), nullable=False),
        sa.Column("placed_at", _INT, nullable=False),
        sa.Column("released_at", _INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_legal_holds"),
    )


def downgrade() -> None:
    op.drop_table("legal_holds")
