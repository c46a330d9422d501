"""Golden items, and an index to count what a reviewer has claimed lately."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0005"
down_revision = "v0004"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = ("golden_items", "golden_trials")
_UNIQUE = "uq_review_tasks_verdict_id"
_INDEX = "ix_review_tasks_verdict_id"


def upgrade() -> None:
    _one_task_a_verdict(False)
    op.create_index(_INDEX, "review_tasks", ["verdict_id"])
    op.create_index("ix_review_events_reviewer_created_at", "review_events", ["reviewer", "created_at"])
    op.create_table(
        "golden_items",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, nullable=False),
        sa.Column("action", sa.String(16), nullable=True),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_golden_items"),
        sa.ForeignKeyConstraint(
            ["task_id"], ["review_tasks.id"], name="fk_golden_items_task_id_review_tasks"
        ),
    )
    op.create_index("ix_golden_items_task_id", "golden_items", ["task_id"])
    op.create_table(
        "golden_trials",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, nullable=False),
        sa.Column("golden_id", _INT, nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_golden_trials"),
        sa.ForeignKeyConstraint(
            ["task_id"], ["review_tasks.id"], name="fk_golden_trials_task_id_review_tasks"
        ),
        sa.ForeignKeyConstraint(
            ["golden_id"], ["golden_items.id"], name="fk_golden_trials_golden_id_golden_items"
        ),
        sa.UniqueConstraint("task_id", name="uq_golden_trials_task_id"),
    )
    _refuse_edits()


def downgrade() -> None:
    copies = op.get_bind().execute(sa.text("SELECT count(*) FROM golden_trials")).scalar_one()
    if copies:
        raise RuntimeError(
            f"{copies} tasks are golden ones, whose answers older versions would take for decisions in "
            "force; the schema stays at v0005"
        )
    for table in ("golden_trials", "golden_items"):
        op.drop_table(table)  # its triggers and indexes go with it
    op.drop_index("ix_review_events_reviewer_created_at", "review_events")
    op.drop_index(_INDEX, "review_tasks")
    _one_task_a_verdict(True)


def _one_task_a_verdict(unique: bool) -> None:
    """Add or drop the constraint. SQLite builds the table anew for it, without what hangs on it."""
    if op.get_bind().dialect.name != "sqlite":
        if unique:
            op.create_unique_constraint(_UNIQUE, "review_tasks", ["verdict_id"])
        else:
            op.drop_constraint(_UNIQUE, "review_tasks", type_="unique")
        return
    hanging = (
        op.get_bind()
        .execute(
            sa.text(
                "SELECT type, name, sql FROM sqlite_master "
                "WHERE tbl_name = 'review_tasks' AND type IN ('index', 'trigger') AND sql IS NOT NULL"
            )
        )
        .all()
    )
    for kind, name, _ in hanging:
        op.execute(f"DROP {kind} {name}")
    with op.batch_alter_table("review_tasks", recreate="always") as batch:
        if unique:
            batch.create_unique_constraint(_UNIQUE, ["verdict_id"])
        else:
            batch.drop_constraint(_UNIQUE, type_="unique")
    for _, _, statement in hanging:  # word for word: some are partial, some in descending order
        op.execute(statement)


def _refuse_edits() -> None:
    for table in _APPEND_ONLY:
        if op.get_bind().dialect.name == "sqlite":
            said = f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never edited or deleted'); END"
            for act in ("UPDATE", "DELETE"):
                op.execute(f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} {said}")
            # INSERT OR REPLACE deletes without asking the trigger above
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) {said}"
            )
            continue
        # the function came with the first migration
        for name, when in (("no_edit", "UPDATE OR DELETE"), ("no_truncate", "TRUNCATE")):
            each = "ROW" if name == "no_edit" else "STATEMENT"
            op.execute(
                f"CREATE TRIGGER {table}_{name} BEFORE {when} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION moderator_refuse_edit()"
            )
