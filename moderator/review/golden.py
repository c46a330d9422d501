"""Golden items: tasks whose right answer is known, mixed into claims to see how well a reviewer decides.

A reviewer gets a *copy*: a task of its own on the same verdict, claimed for them at once, in the place of a
real one, whose number, urgency and time of opening are made to fit beside it. The copy is worked like any
task, and its decisions take no effect (``store.golden.is_copy``). An answer is judged by the newest right
answer that there is, so that a wrong one can be put right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Exists, exists, func, insert, or_, select
from sqlalchemy.orm import aliased

from moderator.review.machine import TaskState
from moderator.store import clock, facets, placing
from moderator.store.canonical import escape_text, parse_json, unescape_text
from moderator.store.decisions import decisions_where
from moderator.store.golden import TRIAL_FORM, free_number, is_copy
from moderator.store.seal import Seal
from moderator.store.session import next_key
from moderator.store.tables import DecisionRow, GoldenRow, ReviewEventRow, TaskRow, TrialRow
from moderator.types import Action, Stage, State

if TYPE_CHECKING:
    from moderator.review.claims import Claimant

FINISHED = (State.DECIDED.value, State.CLOSED.value)
"""Where a task must be for copies of it to be given: nobody is at work on it."""


@dataclass(frozen=True, slots=True)
class GoldenItem:
    """A task and its right answer. ``action`` is ``None`` where it was withdrawn."""

    id: int
    task_id: int
    action: Action | None
    labels: Mapping[str, bool]
    reviewer: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer said to a golden item, and what would have been right."""

    task_id: int
    golden: GoldenItem
    reviewer: str
    action: Action
    labels: Mapping[str, bool]
    at: datetime


def known_to(name: str) -> Exists:
    """That the row of ``TaskRow`` is a copy of what a reviewer has decided on before, as another task."""
    other = aliased(TaskRow)
    return exists().where(
        TrialRow.task_id == TaskRow.id,
        other.verdict_id == TaskRow.verdict_id,
        DecisionRow.task_id == other.id,
        DecisionRow.reviewer == name,
    )


def is_trial(connection: Connection, task_id: int) -> bool:
    """Whether a task is a copy."""
    return bool(connection.execute(select(is_copy().where(TaskRow.id == task_id))).scalar())


def give(
    connection: Connection, who: Claimant, place: int, only: ColumnElement[bool] | None = None
) -> tuple[TaskState, dict[str, Any]] | None:
    """Make and claim a copy of a golden item that a reviewer does not know, in the place of a waiting task.

    The state of the copy and its row of ``golden_trials``, which the caller seals with the events;
    ``None`` if there is nothing to give. ``only``: a condition on the task that is copied.
    """
    columns = TaskRow.__table__.columns
    beside = connection.execute(select(*columns).where(TaskRow.id == place)).mappings().one()
    found = _fitting(connection, escape_text(who.reviewer), beside["priority"] + beside["opened_at"], only)
    if found is None:
        return None
    route = placing.route_of(beside)
    until = who.at + (who.lease or route.lease or who.usual)
    number = free_number(connection, place) or next_key(connection, TaskRow.id)
    row = {
        **beside,  # when it was opened, where it is in line
        "id": number,
        "verdict_id": found["verdict_id"],
        "action": found["action"],
        # as urgent as it was, opened when the other one was
        "priority": found["head_start"] - beside["opened_at"],
        "needs": beside["role"],
        "state": State.CLAIMED.value,
        "stage": Stage.REVIEW.value,
        "reviewer": escape_text(who.reviewer),
        "claim_token": 1,
        "lease_until": clock.stored(until),
        "decided_at": None,
        "decision_id": None,
    }
    connection.execute(insert(TaskRow), row)
    facets.copy(connection, found["task_id"], number, row["priority"])
    trial = TRIAL_FORM.with_leaf(
        {
            "id": next_key(connection, TrialRow.id),
            "task_id": number,
            "golden_id": found["id"],
            "created_at": clock.stored(who.at),
        }
    )
    connection.execute(insert(TrialRow), trial)
    due_at = clock.moment(beside["due_at"])
    state = TaskState(number, State.CLAIMED, Stage.REVIEW, 1, who.reviewer, until, route=route, due_at=due_at)
    return state, trial


def seal(trials: list[dict[str, Any]]) -> list[Seal]:
    """The seals over rows of ``golden_trials`` written together."""
    return [Seal.over_rows(TRIAL_FORM, trials)] if trials else []


def _fitting(
    connection: Connection, name: str, head_start: int, only: ColumnElement[bool] | None
) -> Mapping[Any, Any] | None:
    """The golden item nearest in urgency that a reviewer has had nothing to do with.

    Left out are those whose task is being worked on again, or was decided otherwise since.
    """
    # priority is counted from when a task was opened (``store.placing``): what is left without that
    urgent = TaskRow.priority + TaskRow.opened_at
    other = aliased(TaskRow)
    touched = exists().where(ReviewEventRow.task_id == other.id, ReviewEventRow.reviewer == name)
    met = exists().where(other.verdict_id == TaskRow.verdict_id, or_(other.reviewer == name, touched))
    in_force = select(DecisionRow.action).where(DecisionRow.id == TaskRow.decision_id).scalar_subquery()
    query = (
        select(
            GoldenRow.id, GoldenRow.task_id, TaskRow.verdict_id, TaskRow.action, urgent.label("head_start")
        )
        .join(TaskRow, TaskRow.id == GoldenRow.task_id)
        .where(_newest(), GoldenRow.action.is_not(None), GoldenRow.reviewer != name, ~met)
        .where(TaskRow.state.in_(FINISHED))
        .where(or_(TaskRow.decision_id.is_(None), in_force == GoldenRow.action))
        .order_by(func.abs(urgent - head_start), GoldenRow.id)
        .limit(1)
    )
    if only is not None:
        query = query.where(only)
    return connection.execute(query).mappings().first()


def items(connection: Connection) -> list[GoldenItem]:
    """The golden items there are, with their newest answers, by the number of their task."""
    columns = GoldenRow.__table__.columns
    query = select(*columns).where(_newest(), GoldenRow.action.is_not(None)).order_by(GoldenRow.task_id)
    return [item_of(row) for row in connection.execute(query).mappings()]


def answers(connection: Connection, since: int = 0) -> list[Answer]:
    """What each reviewer said first to each golden item, from ``since`` (as stored) on, in order.

    Answers to items that were withdrawn are left out.
    """
    right = {each.task_id: each for each in items(connection)}
    given = aliased(GoldenRow)
    query = (
        select(DecisionRow.id, given.task_id)
        .join(TrialRow, TrialRow.task_id == DecisionRow.task_id)
        .join(given, given.id == TrialRow.golden_id)
        .order_by(DecisionRow.id)
    )
    of = {row.id: row.task_id for row in connection.execute(query)}
    first: dict[tuple[int, str], Answer] = {}
    copies = exists().where(TrialRow.task_id == DecisionRow.task_id)
    for number, decision in decisions_where(connection, copies).items():
        golden = right.get(of[number])
        if golden is None or decision.decided_at is None:
            continue
        key = golden.task_id, decision.reviewer
        said = decision.reviewer, decision.action, decision.labels, decision.decided_at
        first.setdefault(key, Answer(golden.task_id, golden, *said))
    return [each for each in first.values() if clock.stored(each.at) >= since]


def _newest() -> ColumnElement[bool]:
    newer = aliased(GoldenRow)
    return ~exists().where(newer.task_id == GoldenRow.task_id, newer.id > GoldenRow.id)


def item_of(row: Mapping[Any, Any]) -> GoldenItem:
    """The item a row of ``golden_items`` holds."""
    return GoldenItem(
        id=row["id"],
        task_id=row["task_id"],
        action=None if row["action"] is None else Action(row["action"]),
        labels=MappingProxyType(parse_json(row["labels"])),
        reviewer=unescape_text(row["reviewer"]),
        reason=unescape_text(row["reason"]),
        at=clock.moment(row["created_at"]),
    )
