"""What tasks are found by: facets in the order of urgency, and scores."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CHUNK = 1000


def upgrade() -> None:
    op.create_index("ix_review_tasks_priority", "review_tasks", [sa.text("priority DESC"), "id"])
    op.create_index("ix_review_tasks_opened", "review_tasks", ["opened_at", "id"])
    op.create_index("ix_decisions_reviewer", "decisions", ["reviewer"])
    op.create_table(
        "task_facets",
        sa.Column("facet", sa.String(), nullable=False),
        sa.Column("rank", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("facet", "rank", "task_id", name="pk_task_facets"),
        sa.ForeignKeyConstraint(["task_id"], ["review_tasks.id"], name="fk_task_facets_task_id_review_tasks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_facets_task_id", "task_facets", ["task_id"])
    op.create_table(
        "task_scores",
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("score", _INT, autoincrement=False, nullable=False),
        sa.Column("task_id", _INT, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("label", "score", "task_id", name="pk_task_scores"),
        sa.ForeignKeyConstraint(["task_id"], ["review_tasks.id"], name="fk_task_scores_task_id_review_tasks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_scores_task_id", "task_scores", ["task_id", "label", "score"])
    _fill()


def _fill() -> None:
    """Of tasks that are there: all but the language and the words of their texts, which were not kept."""
    bind = op.get_bind()
    query = sa.text(
        "SELECT t.id, t.priority, s.source, v.policy_digest, v.model_digest, v.degraded, v.scores, i.parts "
        "FROM review_tasks t JOIN verdicts v ON v.id = t.verdict_id JOIN scans s ON s.id = v.scan_id "
        "JOIN items i ON i.id = v.item_id WHERE t.id > :after ORDER BY t.id LIMIT :most"
    )
    facets = sa.table("task_facets", sa.column("facet"), sa.column("rank"), sa.column("task_id"))
    scores = sa.table("task_scores", sa.column("label"), sa.column("score"), sa.column("task_id"))
    after = 0
    while rows := bind.execute(query, {"after": after, "most": _CHUNK}).all():
        found: list[dict[str, Any]] = []
        said: list[dict[str, Any]] = []
        for row in rows:
            found += [{"facet": name, "rank": -row.priority, "task_id": row.id} for name in _facets(row)]
            said += [
                {"label": label, "score": round(score * 1_000_000), "task_id": row.id}
                for label, score in json.loads(bytes(row.scores)).items()
                if score >= 0.05
            ]
        if found:
            bind.execute(facets.insert(), found)
        if said:
            bind.execute(scores.insert(), said)
        after = rows[-1].id


def _facets(row: Any) -> list[str]:
    names = [
        _facet(f"{kind}={value}")
        for kind, value in (
            ("source", row.source),
            ("policy", row.policy_digest),
            ("model", row.model_digest),
        )
    ]
    degraded = json.loads(bytes(row.degraded))
    names += ["degraded=any"] if degraded else []
    names += [_facet(_escaped(f"degraded={_reason(each)}")) for each in degraded]
    parts = [] if row.parts is None else json.loads(bytes(row.parts))
    names += [f"modality={part['modality']}" for part in parts]
    return list(dict.fromkeys(names))


# as store/facets.py and store/canonical.py had it when this was written: migrations do not change with them


def _facet(escaped: str) -> str:
    if len(escaped) <= 120:
        return escaped
    return f"{escaped[:100]}#{hashlib.sha256(escaped.encode()).hexdigest()[:16]}"


def _reason(degraded: str) -> str:
    return re.sub(r"\d+(?:\.\d+)?", "#", degraded.split(":", 1)[0]).strip()


def _escaped(text: str) -> str:
    unsafe = "[\x00-\x1f\x7f\\\\\ud800-\udfff]"
    return re.sub(unsafe, lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text)


def downgrade() -> None:
    op.drop_table("task_scores")
    op.drop_table("task_facets")
    op.drop_index("ix_decisions_reviewer", "decisions")
    op.drop_index("ix_review_tasks_opened", "review_tasks")
    op.drop_index("ix_review_tasks_priority", "review_tasks")
