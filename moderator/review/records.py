"""A task's state as rows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from moderator.review.machine import TaskState, needed
from moderator.review.refusals import NoSuchTaskError
from moderator.store import clock, placing
from moderator.store.canonical import escape_text, unescape_text
from moderator.store.decisions import decision_of
from moderator.store.tables import DecisionRow, TaskRow
from moderator.types import Stage, State

_CHUNK = 500  # of numbers in one statement; databases limit them
_MAX_KEY = 2**63 - 1
ROUTE = (TaskRow.queue, TaskRow.due_at, TaskRow.due, TaskRow.role, TaskRow.lease)
"""The columns of a task that say where it waits."""


def lock(connection: Connection, task_ids: Iterable[int]) -> None:
    """Keep these tasks from all others until the transaction ends; ``NoSuchTaskError`` if one is missing.

    In the order of their numbers: two who lock several never wait for each other.
    """
    wanted = sorted(set(task_ids))
    for task_id in wanted:
        if not 0 < task_id <= _MAX_KEY:  # beyond what a database can hold
            raise _no_task(task_id)
    for chunk in _chunks(wanted):
        query = select(TaskRow.id).where(TaskRow.id.in_(chunk)).order_by(TaskRow.id).with_for_update()
        there = set(connection.execute(query).scalars())
        for task_id in chunk:
            if task_id not in there:
                raise _no_task(task_id)


def load(connection: Connection, task_ids: Iterable[int], appeal_time: timedelta) -> list[TaskState]:
    """The states of tasks that are there, by their number; ``appeal_time`` is counted from the decision."""
    states: list[TaskState] = []
    for chunk in _chunks(sorted(set(task_ids))):
        deciders: dict[int, set[str]] = {}
        decided = select(DecisionRow.task_id, DecisionRow.reviewer).where(DecisionRow.task_id.in_(chunk))
        for task_id, reviewer in connection.execute(decided):
            deciders.setdefault(task_id, set()).add(unescape_text(reviewer))
        columns = (
            TaskRow.id, TaskRow.state, TaskRow.stage, TaskRow.claim_token, TaskRow.reviewer,
            TaskRow.lease_until, TaskRow.decision_id, *ROUTE,
        )  # fmt: skip
        rows = connection.execute(select(*columns).where(TaskRow.id.in_(chunk)).order_by(TaskRow.id)).all()
        for row in rows:
            standing = decision_of(connection, row.decision_id)
            ends = standing and standing.decided_at and standing.decided_at + appeal_time
            states.append(
                TaskState(
                    task_id=row.id,
                    name=State(row.state),
                    stage=Stage(row.stage),
                    token=row.claim_token,
                    reviewer=None if row.reviewer is None else unescape_text(row.reviewer),
                    lease_until=None if row.lease_until is None else clock.moment(row.lease_until),
                    standing=standing,
                    deciders=frozenset(deciders.get(row.id, ())),
                    appeal_until=ends or None,
                    route=placing.route_of(row._mapping),
                    due_at=clock.moment(row.due_at),
                )
            )
    return states


def save(connection: Connection, states: Sequence[TaskState]) -> None:
    """Write back states of locked tasks."""
    statement = (
        update(TaskRow)
        .where(TaskRow.id == bindparam("task"))
        .values(
            state=bindparam("name"),
            stage=bindparam("asks"),
            claim_token=bindparam("token"),
            reviewer=bindparam("holder"),
            lease_until=bindparam("until"),
            needs=bindparam("new_needs"),
            **{column.name: bindparam(f"new_{column.name}") for column in ROUTE},
        )
    )
    connection.execute(
        statement,
        [
            {
                "task": state.task_id,
                "name": state.name.value,
                "asks": state.stage.value,
                "token": state.token,
                "holder": None if state.reviewer is None else escape_text(state.reviewer),
                "until": None if state.lease_until is None else clock.stored(state.lease_until),
                **{f"new_{name}": value for name, value in _place(state).items()},
            }
            for state in states
        ],
    )


def _place(state: TaskState) -> Mapping[str, Any]:
    if state.due_at is None:
        raise ValueError(f"task {state.task_id} has no due time")
    return {**placing.route_columns(state.route, clock.stored(state.due_at)), "needs": needed(state).value}


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[at : at + _CHUNK] for at in range(0, len(numbers), _CHUNK))


def _no_task(task_id: int) -> NoSuchTaskError:
    return NoSuchTaskError(f"there is no task {task_id}; `moderator queue list` shows those that are open")
