"""What was done: decisions, appeals and events as rows, sealed in the log; and the same again, told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from moderator.review.machine import Act, ActKind, TaskState
from moderator.review.refusals import KeyReusedError
from moderator.review.request import Request
from moderator.store import audit_log, clock
from moderator.store.bulk import insert_rows
from moderator.store.canonical import escape_text, unescape_text
from moderator.store.decisions import DECISION_FORM, LABEL_FORM, decision_of
from moderator.store.history import EVENT_FORM
from moderator.store.seal import Seal
from moderator.store.session import next_key
from moderator.store.tables import AppealRow, DecisionRow, LabelCorrectionRow, ReviewEventRow, TaskRow
from moderator.types import Decision, State


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an act came to: the state after it and, if it was a decision, that. ``event`` is its number."""

    event: int
    task_id: int
    act: ActKind
    state: State
    reviewer: str
    at: datetime
    decision: Decision | None = None


def add_decision(
    connection: Connection, decision: Decision, at: int, key: str | None
) -> tuple[dict[str, Any], list[Seal]]:
    """Add a decision and what it says of labels; the decision's row, and the seals over all of them."""
    row: dict[str, Any] = {
        "id": next_key(connection, DecisionRow.id),
        "task_id": decision.task_id,
        "action": decision.action.value,
        "reviewer": escape_text(decision.reviewer),
        "reason": escape_text(decision.reason),
        "policy_rule": escape_text(decision.policy_rule),
        "idempotency_key": None if key is None else escape_text(key),
        "created_at": at,
    }
    connection.execute(insert(DecisionRow), row)
    seals = [Seal.over(DECISION_FORM, [row["id"]], [DECISION_FORM.leaf(row)])]
    if decision.labels:
        first = next_key(connection, LabelCorrectionRow.id)
        corrections = [
            LABEL_FORM.with_leaf(
                {"id": first + index, "decision_id": row["id"], "label": label, "applies": int(applies)}
            )
            for index, (label, applies) in enumerate(sorted(decision.labels.items()))
        ]
        insert_rows(connection, LabelCorrectionRow, corrections)
        seals.append(Seal.over_rows(LABEL_FORM, corrections))
    return row, seals


def put_in_force(connection: Connection, task_id: int, decision: Mapping[str, Any]) -> None:
    """Let a decision, as its row, be the one that stands."""
    values = {"decision_id": decision["id"], "decided_at": decision["created_at"]}
    connection.execute(update(TaskRow).where(TaskRow.id == task_id).values(values))


def add_appeal(connection: Connection, task_id: int, filed_by: str, statement: str, at: int) -> int:
    """Add an appeal against the decision in force; its number."""
    of = connection.execute(select(TaskRow.decision_id).where(TaskRow.id == task_id)).scalar_one()
    appeal_id = next_key(connection, AppealRow.id)
    row = {
        "id": appeal_id,
        "task_id": task_id,
        "decision_id": of,
        "filed_by": escape_text(filed_by),
        "statement": escape_text(statement),
        "created_at": at,
    }
    connection.execute(insert(AppealRow), row)
    return appeal_id


def answer_appeal(connection: Connection, task_id: int, outcome: str, decision: Mapping[str, Any]) -> int:
    """Say how the task's open appeal ended, by which decision; the appeal's number."""
    answered = (
        update(AppealRow)
        .where(AppealRow.task_id == task_id, AppealRow.outcome.is_(None))
        .values(outcome=outcome, answer_id=decision["id"], answered_at=decision["created_at"])
        .returning(AppealRow.id)
    )
    return int(connection.execute(answered).scalar_one())


def event_row(act: Act, state: TaskState, **more: Any) -> dict[str, Any]:
    """An act and the state after it, as a row without its number; ``more`` are columns that differ."""
    return {
        "task_id": state.task_id,
        "act": act.kind.value,
        "state": state.name.value,
        "stage": state.stage.value,
        "reviewer": escape_text(act.by),
        "reason": escape_text(act.reason),
        "claim_token": state.token,
        "decision_id": None,
        "appeal_id": None,
        "request": None,
        "idempotency_key": None,
        "created_at": clock.stored(act.at),
        "queue": state.route.queue,
        "due_at": None if state.due_at is None else clock.stored(state.due_at),
        **more,
    }


def add_events(
    connection: Connection,
    drafts: Sequence[Mapping[str, Any]],
    decision: Mapping[str, Any] | None = None,
    seals: Sequence[Seal] = (),
) -> list[dict[str, Any]]:
    """Add events and one entry of the log that seals them, with the decision they brought and its ``seals``;
    the events' rows."""
    first = next_key(connection, ReviewEventRow.id)
    rows = [EVENT_FORM.with_leaf({"id": first + index, **draft}) for index, draft in enumerate(drafts)]
    insert_rows(connection, ReviewEventRow, rows)
    said: dict[str, Any] = {
        "acts": list(dict.fromkeys(row["act"] for row in rows)),
        "tasks": sorted({row["task_id"] for row in rows}),
    }
    kind = "review"
    if decision is not None:
        kind = "decision"
        said |= {"decision": decision["id"], "task": decision["task_id"], "action": decision["action"]}
    sealed = [Seal.over_rows(EVENT_FORM, rows), *seals]
    audit_log.append(connection, kind, rows[-1]["created_at"], said, sealed)
    return rows


def receipt(connection: Connection, row: Mapping[Any, Any]) -> Receipt:
    """What an act came to, from its event."""
    return Receipt(
        event=row["id"],
        task_id=row["task_id"],
        act=ActKind(row["act"]),
        state=State(row["state"]),
        reviewer=unescape_text(row["reviewer"]),
        at=clock.moment(row["created_at"]),
        decision=decision_of(connection, row["decision_id"]),
    )


def replayed(connection: Connection, request: Request) -> Receipt | None:
    """What the request came to if made before under its key; ``KeyReusedError`` if that was another one."""
    if request.key is None:
        return None
    key = escape_text(request.key)
    columns = ReviewEventRow.__table__.columns
    row = connection.execute(select(*columns).where(ReviewEventRow.idempotency_key == key)).mappings().first()
    if row is not None and _asked(connection, row) == request.digest():
        return receipt(connection, row)
    # a decision may be older than the events
    older = select(DecisionRow.task_id).where(DecisionRow.idempotency_key == key)
    used_on = row["task_id"] if row is not None else connection.execute(older).scalar()
    if used_on is None:
        return None
    raise KeyReusedError(
        f"task {request.task_id}: the idempotency key {request.key!r} was used for another request, on task "
        f"{used_on}; give each its own"
    )


def _asked(connection: Connection, row: Mapping[Any, Any]) -> str:
    """The digest of what an event was asked for. That of an appeal is nowhere kept: it says who and what."""
    if row["act"] != ActKind.APPEAL:
        return str(row["request"])
    columns = select(AppealRow.filed_by, AppealRow.statement)
    appeal = connection.execute(columns.where(AppealRow.id == row["appeal_id"])).one()
    filed_by, statement = unescape_text(appeal.filed_by), unescape_text(appeal.statement)
    return Request(row["task_id"], ActKind.APPEAL, filed_by, statement).digest()
