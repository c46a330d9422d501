"""Decisions as rows, and back: what a person decided, in a canonical form the log can seal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from moderator.store import clock
from moderator.store.canonical import unescape_text
from moderator.store.seal import Form
from moderator.store.tables import DecisionRow, LabelCorrectionRow
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
LABEL_FORM = Form(
    "moderator.label_correction.v1", "label_corrections", ("id", "decision_id", "label", "applies")
)
"""How rows of ``label_corrections`` are sealed."""


def decision_from_row(row: Mapping[Any, Any], labels: Mapping[str, bool] | None = None) -> Decision:
    """The decision a row of ``decisions`` holds, with what it says of labels."""
    return Decision(
        task_id=row["task_id"],
        action=Action(row["action"]),
        reviewer=unescape_text(row["reviewer"]),
        reason=unescape_text(row["reason"]),
        policy_rule=unescape_text(row["policy_rule"]),
        decided_at=clock.moment(row["created_at"]),
        labels=MappingProxyType(dict(labels or {})),
    )


def decisions_on(connection: Connection, task_id: int) -> dict[int, Decision]:
    """The decisions on a task by their number, in order."""
    return decisions_where(connection, DecisionRow.task_id == task_id)


def decision_of(connection: Connection, decision_id: int | None) -> Decision | None:
    """The decision of this number, if there is one."""
    return (
        None
        if decision_id is None
        else decisions_where(connection, DecisionRow.id == decision_id)[decision_id]
    )


def decisions_where(connection: Connection, which: ColumnElement[bool]) -> dict[int, Decision]:
    """The decisions a condition on ``DecisionRow`` holds for, by their number, in order."""
    corrected: dict[int, dict[str, bool]] = {}
    labels = (
        select(LabelCorrectionRow.decision_id, LabelCorrectionRow.label, LabelCorrectionRow.applies)
        .join(DecisionRow, DecisionRow.id == LabelCorrectionRow.decision_id)
        .where(which)
        .order_by(LabelCorrectionRow.id)
    )
    for decision, label, applies in connection.execute(labels):
        corrected.setdefault(decision, {})[label] = bool(applies)
    columns = [getattr(DecisionRow, name) for name in DECISION_COLUMNS]
    rows = connection.execute(select(*columns).where(which).order_by(DecisionRow.id)).mappings()
    return {row["id"]: decision_from_row(row, corrected.get(row["id"])) for row in rows}
