"""The log as a Merkle tree: a leaf for every event and verdict, and the head of the tree.

What was written before gets its leaves here, from its own bytes. The events themselves stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from moderator.store.canonical import row_bytes
from moderator.store.merkle import Frontier, leaf_hash

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = ("verdicts", "decisions", "audit_log")
_PAGE = 1000
# as verdicts were sealed when this was written: a later form has no say here
_VERDICT = (
    "id", "scan_id", "position", "item_id", "action", "created_at", "policy_digest", "model_digest",
    "software", "content_digests", "embedders", "scores", "signals", "matches", "degraded", "coverage",
    "evidence",
)  # fmt: skip


def upgrade() -> None:
    _drop_guards()
    _add_leaves(
        "verdicts", "id", _VERDICT, lambda row: leaf_hash(row_bytes("moderator.verdict.v1", row, _VERDICT))
    )
    frontier = Frontier()

    def entry(row: Mapping[str, Any]) -> bytes:
        leaf = leaf_hash(row["payload"])
        frontier.append(leaf)
        return leaf

    _add_leaves("audit_log", "seq", ("seq", "payload"), entry)
    head = op.create_table(
        "audit_head",
        sa.Column("id", _INT, autoincrement=False, nullable=False),
        sa.Column("size", _INT, nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    row = {"id": 1, "size": frontier.size, "frontier": frontier.dump(), "root": frontier.root()}
    op.get_bind().execute(sa.insert(head), row)
    _guard()


def _add_leaves(
    table: str, key: str, columns: tuple[str, ...], leaf_of: Callable[[Mapping[str, Any]], bytes]
) -> None:
    """Fill a new column ``leaf``, row by row in the order of keys."""
    op.add_column(table, sa.Column("leaf", sa.LargeBinary(), nullable=True))
    connection = op.get_bind()
    page = sa.text(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {key} > :after ORDER BY {key} LIMIT {_PAGE}"  # noqa: S608
    )
    fill = sa.text(f"UPDATE {table} SET leaf = :leaf WHERE {key} = :key")  # noqa: S608
    after = -(2**63)
    while rows := connection.execute(page, {"after": after}).mappings().all():
        connection.execute(fill, [{"leaf": leaf_of(dict(row)), "key": row[key]} for row in rows])
        after = rows[-1][key]
    with op.batch_alter_table(table) as batch:
        batch.alter_column("leaf", existing_type=sa.LargeBinary(), nullable=False)


def _guard() -> None:
    """Refuse edits of what is only added to, and a head that goes back."""
    if op.get_bind().dialect.name == "sqlite":
        for table in _APPEND_ONLY:
            key = "seq" if table == "audit_log" else "id"
            said = f"SELECT RAISE(ABORT, 'rows of {table} are never edited or deleted')"
            for act in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} BEGIN {said}; END"
                )
            # INSERT OR REPLACE deletes without asking the trigger above
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608
                f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key}) BEGIN {said}; END"
            )
        op.execute(
            "CREATE TRIGGER audit_head_no_return BEFORE UPDATE ON audit_head WHEN NEW.size <> OLD.size + 1 "
            "BEGIN SELECT RAISE(ABORT, 'the head of the log only moves on'); END"
        )
        op.execute(
            "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head "
            "BEGIN SELECT RAISE(ABORT, 'the head of the log only moves on'); END"
        )
        return
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_edit BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION moderator_refuse_edit()"
        )
    op.execute(
        "CREATE FUNCTION moderator_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'UPDATE' THEN IF NEW.size = OLD.size + 1 THEN RETURN NEW; END IF; END IF; "
        "RAISE EXCEPTION 'the head of the log only moves on'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_head_no_return BEFORE UPDATE OR DELETE ON audit_head "
        "FOR EACH ROW EXECUTE FUNCTION moderator_head_moves_on()"
    )


def _drop_guards() -> None:
    """Let rows be given their leaves; on PostgreSQL the guards against TRUNCATE stay."""
    for table in _APPEND_ONLY:
        if op.get_bind().dialect.name == "sqlite":
            for act in ("update", "delete", "replace"):
                op.execute(f"DROP TRIGGER IF EXISTS {table}_no_{act}")
        else:
            op.execute(f"DROP TRIGGER {table}_no_edit ON {table}")


def downgrade() -> None:
    _drop_guards()
    op.drop_table("audit_head")
    for table in ("verdicts", "audit_log"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("leaf")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION moderator_head_moves_on()")
    _guard_as_before()


def _guard_as_before() -> None:
    for table in _APPEND_ONLY:
        if op.get_bind().dialect.name == "sqlite":
            for act in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never edited or deleted'); END"
                )
        else:
            op.execute(
                f"CREATE TRIGGER {table}_no_edit BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION moderator_refuse_edit()"
            )
