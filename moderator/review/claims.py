"""Taking tasks: what is overdue first, longest overdue first, then the most urgent, over all queues.

Tasks wait in *lanes*: those of one queue that take the same role to claim. Each lane is a run of two indexes,
by due time and by urgency, so that a claim never walks past tasks of other roles, however many wait. Over
several lanes it looks at the heads of all, then takes from each as many as are among the first, by one
``UPDATE … RETURNING``. Rows that another transaction is taking are passed over on PostgreSQL (``FOR UPDATE
SKIP LOCKED``); SQLite has one writer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    func,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy import literal_column as sql

from moderator.review import golden
from moderator.review.machine import BACK, RULES, ActKind, TaskState
from moderator.review.records import ROUTE
from moderator.review.refusals import RestrictedQueueError
from moderator.store import clock, placing
from moderator.store.canonical import escape_text
from moderator.store.placing import Lane
from moderator.store.tables import UNFINISHED, DecisionRow, ReviewEventRow, TaskRow, plain_state
from moderator.types import Role, Stage, State

_LANES = 100  # in one statement; SQLite takes 500
_HEAD = (TaskRow.queue, TaskRow.needs, TaskRow.id)
_DRAWN = (TaskRow.id, TaskRow.due_at, TaskRow.priority)


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, and on what terms. ``lease``: in place of the queue's own; ``usual``: where it has none."""

    reviewer: str
    role: Role
    at: datetime
    lease: timedelta | None
    usual: timedelta


def take(connection: Connection, who: Claimant, count: int, queue: str | None) -> list[TaskState]:
    """Claim up to ``count`` tasks, of one queue or of all; none that the reviewer has skipped."""

    def claim(waiting: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        picked = waiting.with_for_update(skip_locked=True).cte("picked")
        return _claimed(connection, who, TaskRow.id.in_(select(picked.c.id)))

    return [_state(row, who.reviewer) for row in _first(connection, who, count, queue, claim)]


def take_these(connection: Connection, who: Claimant, numbers: Sequence[int]) -> list[TaskState]:
    """Claim what ``pick`` has found, in the same transaction."""
    return [_state(row, who.reviewer) for row in _claimed(connection, who, TaskRow.id.in_(numbers))]


def pick(
    connection: Connection, who: Claimant, count: int, queue: str | None, *only: ColumnElement[bool]
) -> list[int]:
    """The numbers of what ``take`` would claim, in its order, kept from others until the transaction ends.

    ``only``: conditions on the row of ``TaskRow``.
    """

    def hold(waiting: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        return connection.execute(waiting.with_for_update(skip_locked=True)).all()

    return [row.id for row in _first(connection, who, count, queue, hold, only)]


def _first(
    connection: Connection,
    who: Claimant,
    count: int,
    queue: str | None,
    draw: Callable[[Select[*tuple[Any, ...]]], Sequence[Any]],
    only: tuple[ColumnElement[bool], ...] = (),
) -> list[Any]:
    """The first ``count`` rows over all lanes: what is overdue, then the most urgent. ``draw`` gets the rows
    of one lane, by the query for them."""
    roles = [role for role in Role if who.role.covers(role)]
    lanes = placing.lanes(connection, roles, queue)
    if queue is not None and not lanes:
        _check_open(connection, who, queue)
    found: list[Any] = []
    for overdue in (True, False):
        left = set(lanes)
        while left and (wanted := count - len(found)):
            # what was drawn and not claimed is still there
            conditions = (*only, TaskRow.id.not_in([row.id for row in found])) if found else only
            heads = _heads(connection, who, sorted(left), overdue, wanted, conditions)
            rows: list[Any] = []
            for lane, number in heads.items():
                got = draw(_waiting(who, lane, overdue, number, _DRAWN, conditions))
                rows += got
                if len(got) < number:  # others are taking the rest
                    left.discard(lane)
            order = (lambda row: (row.due_at, row.id)) if overdue else (lambda row: (-row.priority, row.id))
            found += sorted(rows, key=order)
            if sum(heads.values()) < wanted:
                break
    return found


def _check_open(connection: Connection, who: Claimant, queue: str) -> None:
    """``RestrictedQueueError`` if tasks wait there, but for another role."""
    others = [role for role in Role if not who.role.covers(role)]
    for _, role in placing.lanes(connection, others, queue):
        query = select(TaskRow.role).where(text(UNFINISHED), TaskRow.queue == queue, TaskRow.needs == role)
        restricted = Role(connection.execute(query.limit(1)).scalar() or Role.REVIEWER)
        if not who.role.covers(restricted):
            raise RestrictedQueueError(
                f"the queue {queue!r} takes the role {restricted}; {who.reviewer} is {who.role}"
            )


def _heads(
    connection: Connection,
    who: Claimant,
    lanes: Sequence[Lane],
    overdue: bool,
    count: int,
    only: tuple[ColumnElement[bool], ...],
) -> Mapping[Lane, int]:
    """How many of the first ``count`` tasks are in which lane; as many as are wanted if there is one lane."""
    if len(lanes) == 1:
        return dict.fromkeys(lanes, count)
    key = (TaskRow.due_at if overdue else -TaskRow.priority).label("key")
    found: list[Any] = []
    for at in range(0, len(lanes), _LANES):
        parts = [
            select(_waiting(who, lane, overdue, count, (*_HEAD, key), only).subquery())
            for lane in lanes[at : at + _LANES]
        ]
        merged = union_all(*parts).order_by(sql("key"), sql("id")).limit(count)
        found += connection.execute(merged).all()
    found.sort(key=lambda row: (row.key, row.id))
    return Counter((row.queue, Role(row.needs)) for row in found[:count])


def _claimed(connection: Connection, who: Claimant, which: ColumnElement[bool]) -> list[Any]:
    at = clock.stored(who.at)
    usual = func.coalesce(TaskRow.lease, clock.span(who.usual))
    taken = (
        update(TaskRow)
        .where(which)
        .values(
            state=State.CLAIMED.value,
            reviewer=escape_text(who.reviewer),
            claim_token=TaskRow.claim_token + 1,
            lease_until=at + (usual if who.lease is None else clock.span(who.lease)),
        )
        .returning(
            TaskRow.id, TaskRow.priority, TaskRow.stage, TaskRow.claim_token, TaskRow.lease_until, *ROUTE
        )
    )
    return list(connection.execute(taken).all())


def _waiting(
    who: Claimant,
    lane: Lane,
    overdue: bool,
    count: int,
    columns: tuple[Any, ...],
    only: tuple[ColumnElement[bool], ...],
) -> Select[*tuple[Any, ...]]:
    """The first tasks of a lane that may be claimed."""
    name, at = escape_text(who.reviewer), clock.stored(who.at)
    query = select(*columns).where(
        text(UNFINISHED),
        TaskRow.queue == lane[0],
        TaskRow.needs == lane[1].value,
        _claimable(name, who.role, at),
        ~_skipped(name),
        ~golden.known_to(name),
        *only,
    )
    if overdue:
        query = query.where(TaskRow.due_at <= at).order_by(TaskRow.due_at, TaskRow.id)
    else:
        query = query.order_by(TaskRow.priority.desc(), TaskRow.id)
    return query.limit(count)


def _state(row: Any, reviewer: str) -> TaskState:
    return TaskState(
        row.id,
        State.CLAIMED,
        Stage(row.stage),
        row.claim_token,
        reviewer,
        clock.moment(row.lease_until),
        route=placing.route_of(row._mapping),
        due_at=clock.moment(row.due_at),
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
