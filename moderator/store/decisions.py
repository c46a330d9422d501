"""Decisions as rows, and back: what a person decided, in a canonical form the log can seal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from moderator.errors import QueueError
from moderator.store import clock
from moderator.store.canonical import unescape_text
from moderator.store.seal import Form
from moderator.store.tables import DecisionRow
from moderator.types import Action, Decision

DECISION_COLUMNS = (
    "id",
    "task_id",
    "action",
    "reviewer",
    "reason",
    "policy_rule",
    "idempotency_key",
    "created_at",
)
"""The columns that say a decision, in order."""

DECISION_FORM = Form("moderator.decision.v1", "decisions", DECISION_COLUMNS)
"""How rows of ``decisions`` are sealed."""


def decision_from_row(row: Mapping[Any, Any]) -> Decision:
    """The decision a row of ``decisions`` holds."""
    return Decision(
        task_id=row["task_id"],
        action=Action(row["action"]),
        reviewer=unescape_text(row["reviewer"]),
        reason=unescape_text(row["reason"]),
        policy_rule=unescape_text(row["policy_rule"]),
        decided_at=clock.moment(row["created_at"]),
    )


def decisions_on(connection: Connection, task_id: int) -> list[Decision]:
    """The decisions on a task, in order."""
    columns = [getattr(DecisionRow, name) for name in DECISION_COLUMNS]
    query = select(*columns).where(DecisionRow.task_id == task_id).order_by(DecisionRow.id)
    return [decision_from_row(row) for row in connection.execute(query).mappings()]


def repeated(connection: Connection, wanted: Mapping[str, Any]) -> Decision | None:
    """The decision already taken under this key; ``QueueError`` if it was another one."""
    if wanted["idempotency_key"] is None:
        return None
    columns = [getattr(DecisionRow, name) for name in DECISION_COLUMNS]
    query = select(*columns).where(DecisionRow.idempotency_key == wanted["idempotency_key"])
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if any(row[name] != value for name, value in wanted.items()):
        raise QueueError(
            f"task {wanted['task_id']}: the idempotency key {wanted['idempotency_key']!r} was used for "
            f"another decision, on task {row['task_id']}; give each decision its own"
        )
    return decision_from_row(row)
