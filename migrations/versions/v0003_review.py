"""Claims, what was done with a task, corrected labels and appeals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = ("review_events", "label_corrections")
_ADDED = ("stage", "reviewer", "claim_token", "lease_until", "decision_id")
_UNFINISHED = sa.text("state NOT IN ('decided', 'closed')")


def upgrade() -> None:
    op.add_column("review_tasks", sa.Column("stage", sa.String(16), nullable=False, server_default="review"))
    op.add_column("review_tasks", sa.Column("reviewer", sa.String(), nullable=True))
    op.add_column("review_tasks", sa.Column("claim_token", _INT, nullable=False, server_default="0"))
    op.add_column("review_tasks", sa.Column("lease_until", _INT, nullable=True))
    op.add_column("review_tasks", sa.Column("decision_id", _INT, nullable=True))
    op.execute(
        "UPDATE review_tasks SET decision_id = "
        "(SELECT max(decisions.id) FROM decisions WHERE decisions.task_id = review_tasks.id)"
    )
    op.create_index(
        "ix_review_tasks_unfinished",
        "review_tasks",
        [sa.text("priority DESC"), "id"],
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
    op.create_table(
        "appeals",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, nullable=False),
        sa.Column("decision_id", _INT, nullable=False),
        sa.Column("filed_by", sa.String(), nullable=False),
        sa.Column("statement", sa.String(), nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("answer_id", _INT, nullable=True),
        sa.Column("answered_at", _INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_appeals"),
        sa.ForeignKeyConstraint(["task_id"], ["review_tasks.id"], name="fk_appeals_task_id_review_tasks"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_appeals_decision_id_decisions"),
        sa.ForeignKeyConstraint(["answer_id"], ["decisions.id"], name="fk_appeals_answer_id_decisions"),
    )
    op.create_index("ix_appeals_task_id", "appeals", ["task_id"])
    op.create_table(
        "review_events",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("claim_token", _INT, nullable=False),
        sa.Column("decision_id", _INT, nullable=True),
        sa.Column("appeal_id", _INT, nullable=True),
        sa.Column("request", sa.String(64), nullable=True),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_events"),
        sa.ForeignKeyConstraint(
            ["task_id"], ["review_tasks.id"], name="fk_review_events_task_id_review_tasks"
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decisions.id"], name="fk_review_events_decision_id_decisions"
        ),
        sa.ForeignKeyConstraint(["appeal_id"], ["appeals.id"], name="fk_review_events_appeal_id_appeals"),
        sa.UniqueConstraint("idempotency_key", name="uq_review_events_idempotency_key"),
    )
    op.create_index("ix_review_events_task_id", "review_events", ["task_id"])
    op.create_table(
        "label_corrections",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("decision_id", _INT, nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("applies", _INT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label_corrections"),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decisions.id"], name="fk_label_corrections_decision_id_decisions"
        ),
        sa.UniqueConstraint("decision_id", "label", name="uq_label_corrections_decision_id_label"),
    )
    _refuse_edits()


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


def downgrade() -> None:
    for table in ("label_corrections", "review_events", "appeals"):
        op.drop_table(table)  # its triggers and indexes go with it
    op.drop_index("ix_review_tasks_unfinished", "review_tasks")
    # the states there were before; what had not been decided is looked at again
    op.execute("UPDATE review_tasks SET state = 'decided' WHERE state <> 'open' AND decision_id IS NOT NULL")
    op.execute("UPDATE review_tasks SET state = 'open' WHERE state NOT IN ('open', 'decided')")
    for column in _ADDED:
        op.drop_column("review_tasks", column)
