"""Named queues: where a task waits, until when, and for whom."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNFINISHED = "state NOT IN ('decided', 'closed')"
_INDEXES = {
    "ix_review_tasks_due": ("due_at", "id"),
    "ix_review_tasks_queue_urgency": ("queue", "needs", "priority DESC", "id"),
    "ix_review_tasks_queue_due": ("queue", "needs", "due_at", "id"),
}
_DAY = 86_400_000_000
_WEEK = 7 * _DAY
_FAR = 4_102_444_800_000_000
"""2100-01-01: priorities count back from there (``store/placing.py``)."""
_STEP = 2 * _DAY // 1_000_000
"""A priority was the action's severity plus the highest score, in millionths. Now what is blocked goes where
tasks to review that are two days older do, as by the default weights."""


def upgrade() -> None:
    now = time.time_ns() // 1000
    for column in (
        sa.Column("queue", sa.String(100), nullable=False, server_default="default"),
        sa.Column("due_at", _INT, nullable=False, server_default="0"),
        sa.Column("due", _INT, nullable=False, server_default=str(_WEEK)),
        sa.Column("role", sa.String(16), nullable=False, server_default="reviewer"),
        sa.Column("needs", sa.String(16), nullable=False, server_default="reviewer"),
        sa.Column("lease", _INT, nullable=True),
    ):
        op.add_column("review_tasks", column)
    # nobody had promised a time before: what waits is due a week from now, in the order it had
    op.execute(
        f"UPDATE review_tasks SET priority = {_FAR} - opened_at + priority * {_STEP}, due_at = {_WEEK} + "  # noqa: S608
        f"CASE WHEN {_UNFINISHED} AND opened_at < {now} THEN {now} ELSE opened_at END"
    )
    op.execute("UPDATE review_tasks SET needs = 'senior' WHERE stage IN ('escalation', 'appeal')")
    for name, columns in _INDEXES.items():
        op.create_index(
            name,
            "review_tasks",
            [sa.text(column) for column in columns],
            sqlite_where=sa.text(_UNFINISHED),
            postgresql_where=sa.text(_UNFINISHED),
        )
    op.add_column("review_events", sa.Column("queue", sa.String(100), nullable=True))
    op.add_column("review_events", sa.Column("due_at", _INT, nullable=True))


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "review_tasks")
    was = f"(priority - {_FAR} + opened_at) / {_STEP}"
    op.execute(f"UPDATE review_tasks SET priority = CASE WHEN {was} > 0 THEN {was} ELSE 0 END")  # noqa: S608
    for column in ("queue", "due_at", "due", "role", "needs", "lease"):
        op.drop_column("review_tasks", column)
    for column in ("queue", "due_at"):
        op.drop_column("review_events", column)
