"""Taking the most urgent tasks: one statement, so that nobody else can take the same ones.

On PostgreSQL rows that another transaction is taking are passed over (``FOR UPDATE SKIP LOCKED``); on SQLite
it is one conditional ``UPDATE … RETURNING`` of the one writer there is.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select, text, update

from moderator.review import golden
from moderator.review.machine import BACK, RULES, ActKind, TaskState
from moderator.store import clock
from moderator.store.canonical import escape_text
from moderator.store.tables import UNFINISHED, DecisionRow, ReviewEventRow, TaskRow, plain_state
from moderator.types import Role, Stage, State


def take(
    connection: Connection,
    reviewer: str,
    role: Role,
    count: int,
    at: datetime,
    until: datetime,
    among: Collection[int] | None = None,
) -> list[TaskState]:
    """Claim up to ``count`` tasks for a reviewer, the most urgent first; none that they have skipped.

    ``among``: only of these numbers.
    """
    name = escape_text(reviewer)
    only = () if among is None else (TaskRow.id.in_(among),)
    picked = _urgent(name, role, count, at, *only).cte("picked")
    taken = (
        update(TaskRow)
        .where(TaskRow.id.in_(select(picked.c.id)))
        .values(
            state=State.CLAIMED.value,
            reviewer=name,
            claim_token=TaskRow.claim_token + 1,
            lease_until=clock.stored(until),
        )
        .returning(TaskRow.id, TaskRow.priority, TaskRow.stage, TaskRow.claim_token)
    )
    rows = sorted(connection.execute(taken).all(), key=lambda row: (-row.priority, row.id))
    return [
        TaskState(row.id, State.CLAIMED, Stage(row.stage), row.claim_token, reviewer, until) for row in rows
    ]


def pick(
    connection: Connection, reviewer: str, role: Role, count: int, at: datetime, *only: ColumnElement[bool]
) -> list[int]:
    """The numbers of what ``take`` would claim, in its order, kept from others until the transaction ends.

    ``only``: conditions on the row of ``TaskRow``.
    """
    query = _urgent(escape_text(reviewer), role, count, at, *only)
    return list(connection.execute(query).scalars())


def _urgent(name: str, role: Role, count: int, at: datetime, *only: ColumnElement[bool]) -> Select[int]:
    return (
        select(TaskRow.id)
        .where(text(UNFINISHED), _claimable(name, role, clock.stored(at)), ~_skipped(name))
        .where(~golden.known_to(name), *only)
        .order_by(TaskRow.priority.desc(), TaskRow.id)
        .limit(count)
        .with_for_update(skip_locked=True)
    )


def _claimable(name: str, role: Role, at: int) -> ColumnElement[bool]:
    """The table's lines on claiming, as a condition; a claim that has run out is one more place to wait."""
    undecided = ~exists().where(DecisionRow.task_id == TaskRow.id, DecisionRow.reviewer == name)
    ran_out = and_(plain_state == State.CLAIMED.value, TaskRow.lease_until <= at)
    places: list[ColumnElement[bool]] = []
    for rule in RULES:
        if rule.act is not ActKind.CLAIM or not role.covers(rule.role):
            continue
        back = [stage.value for stage in rule.stages if BACK[stage] is rule.state]
        where = or_(plain_state == rule.state.value, and_(ran_out, TaskRow.stage.in_(back)))
        place = and_(where, TaskRow.stage.in_([stage.value for stage in rule.stages]))
        places.append(and_(place, undecided) if rule.other else place)
    return or_(*places)


def _skipped(name: str) -> ColumnElement[bool]:
    return exists().where(
        ReviewEventRow.task_id == TaskRow.id,
        ReviewEventRow.reviewer == name,
        ReviewEventRow.act == ActKind.SKIP.value,
    )
