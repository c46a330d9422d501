"""Scans, items, verdicts, review tasks, decisions and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = ("verdicts", "decisions", "audit_log")


def upgrade() -> None:
    op.create_table(
        "scans",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", _INT, nullable=False),
        sa.Column("finished_at", _INT, nullable=True),
        sa.Column("policy_digest", sa.String(), nullable=False),
        sa.Column("model_digest", sa.String(), nullable=False),
        sa.Column("software", sa.String(), nullable=False),
        sa.Column("options", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scans"),
    )
    op.create_table(
        "items",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("context", sa.LargeBinary(), nullable=True),
        sa.Column("parts", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_items"),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("scan_id", _INT, nullable=False),
        sa.Column("position", _INT, nullable=False),
        sa.Column("item_id", _INT, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("policy_digest", sa.String(), nullable=False),
        sa.Column("model_digest", sa.String(), nullable=False),
        sa.Column("software", sa.String(), nullable=False),
        sa.Column("content_digests", sa.LargeBinary(), nullable=False),
        sa.Column("embedders", sa.LargeBinary(), nullable=False),
        sa.Column("scores", sa.LargeBinary(), nullable=False),
        sa.Column("signals", sa.LargeBinary(), nullable=False),
        sa.Column("matches", sa.LargeBinary(), nullable=False),
        sa.Column("degraded", sa.LargeBinary(), nullable=False),
        sa.Column("coverage", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name="fk_verdicts_scan_id_scans"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_verdicts_item_id_items"),
        sa.UniqueConstraint("scan_id", "position", name="uq_verdicts_scan_id_position"),
    )
    op.create_table(
        "review_tasks",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("verdict_id", _INT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("priority", _INT, nullable=False),
        sa.Column("opened_at", _INT, nullable=False),
        sa.Column("decided_at", _INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_review_tasks"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name="fk_review_tasks_verdict_id_verdicts"),
        sa.UniqueConstraint("verdict_id", name="uq_review_tasks_verdict_id"),
    )
    op.create_index("ix_review_tasks_urgency", "review_tasks", ["state", sa.text("priority DESC"), "id"])
    op.create_table(
        "decisions",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("policy_rule", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("created_at", _INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["task_id"], ["review_tasks.id"], name="fk_decisions_task_id_review_tasks"),
        sa.UniqueConstraint("idempotency_key", name="uq_decisions_idempotency_key"),
    )
    op.create_index("ix_decisions_task_id", "decisions", ["task_id"])
    op.create_table(
        "audit_log",
        sa.Column("seq", _INT, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("created_at", _INT, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_log"),
    )
    _refuse_edits()


def _refuse_edits() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _APPEND_ONLY:
            for act in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never edited or deleted'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION moderator_refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'rows of % are never edited or deleted', TG_TABLE_NAME; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_edit BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION moderator_refuse_edit()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION moderator_refuse_edit()"
        )


def downgrade() -> None:
    for table in ("audit_log", "decisions", "review_tasks", "verdicts", "items", "scans"):
        op.drop_table(table)  # its triggers and indexes go with it
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION moderator_refuse_edit()")
