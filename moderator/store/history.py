"""What was done with a task, and the appeals against it, as rows and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from moderator.store import clock
from moderator.store.canonical import unescape_text
from moderator.store.seal import Form
from moderator.store.tables import AppealRow, ReviewEventRow
from moderator.types import Stage, State

EVENT_COLUMNS = (
    "id",
    "task_id",
    "act",
    "state",
    "stage",
    "reviewer",
    "reason",
    "claim_token",
    "decision_id",
    "appeal_id",
    "request",
    "idempotency_key",
    "created_at",
    "queue",
    "due_at",
)
"""The columns that say an event, in order."""

EVENT_FORM = Form("moderator.review_event.v2", "review_events", EVENT_COLUMNS)
"""How rows of ``review_events`` are sealed."""
EVENT_FORM_1 = Form("moderator.review_event.v1", "review_events", EVENT_COLUMNS[:-2])
"""How they were before there were queues."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One act on a task: ``state`` and ``stage`` are those after it. ``reviewer`` is empty where the
    software acted by itself, and for appeals (see ``Appeal``). So are ``queue`` and ``due_at``, which are
    ``None`` in events from before there were queues."""

    id: int
    act: str
    state: State
    stage: Stage
    reviewer: str
    reason: str
    token: int
    decision_id: int | None
    at: datetime
    queue: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Appeal:
    """An appeal against the decision ``decision_id``. ``outcome``: ``upheld``, ``reversed`` or ``None``."""

    id: int
    decision_id: int
    filed_by: str
    statement: str
    filed_at: datetime
    outcome: str | None
    answered_at: datetime | None


def events_on(connection: Connection, task_id: int) -> list[TaskEvent]:
    """What was done with a task, in order."""
    columns = [getattr(ReviewEventRow, name) for name in EVENT_COLUMNS]
    query = select(*columns).where(ReviewEventRow.task_id == task_id).order_by(ReviewEventRow.id)
    return [
        TaskEvent(
            id=row["id"],
            act=row["act"],
            state=State(row["state"]),
            stage=Stage(row["stage"]),
            reviewer=unescape_text(row["reviewer"]),
            reason=unescape_text(row["reason"]),
            token=row["claim_token"],
            decision_id=row["decision_id"],
            at=clock.moment(row["created_at"]),
            queue=row["queue"],
            due_at=None if row["due_at"] is None else clock.moment(row["due_at"]),
        )
        for row in connection.execute(query).mappings()
    ]


def appeals_on(connection: Connection, task_id: int) -> list[Appeal]:
    """The appeals against decisions on a task, in order."""
    columns = AppealRow.__table__.columns
    query = select(*columns).where(AppealRow.task_id == task_id).order_by(AppealRow.id)
    return [
        Appeal(
            id=row["id"],
            decision_id=row["decision_id"],
            filed_by=unescape_text(row["filed_by"]),
            statement=unescape_text(row["statement"]),
            filed_at=clock.moment(row["created_at"]),
            outcome=row["outcome"],
            answered_at=None if row["answered_at"] is None else clock.moment(row["answered_at"]),
        )
        for row in connection.execute(query).mappings()
    ]
