"""The review queue: what people shall look at, most urgent first, and what they decided.

A decision is one transaction: the task leaves the queue, the decision is a new row, the log gets its
event. An override is never stored, it is a decision whose action differs from the verdict's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, insert, or_, select, update

from moderator.errors import QueueError
from moderator.store import audit_log, clock
from moderator.store.canonical import escape_text, parse_json, unescape_text
from moderator.store.decisions import DECISION_FORM, decision_from_row, decisions_on, repeated
from moderator.store.seal import Seal
from moderator.store.session import Store, next_key
from moderator.store.tables import DecisionRow, ItemRow, TaskRow, VerdictRow
from moderator.store.verdicts import VERDICT_COLUMNS, verdict_from_row
from moderator.types import Action, Decision, Verdict

STATES = ("open", "decided")
_MAX_KEY = 2**63 - 1
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Task:
    """A review task with the verdict it is about. ``action`` is the machine's."""

    id: int
    state: str
    priority: int
    opened_at: datetime
    decided_at: datetime | None
    scan_id: int
    position: int
    verdict: Verdict

    @property
    def action(self) -> Action:
        return self.verdict.action


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """All there is to know to decide a task. ``context`` and ``parts`` are ``None`` for an unreadable
    record; a part is a mapping with ``modality``, ``digest`` and its content or where it lies."""

    task: Task
    context: Mapping[str, Any] | None
    parts: Sequence[Mapping[str, Any]] | None
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, and the cursor that continues after them (``None`` at the end)."""

    tasks: tuple[Task, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """The queue in numbers. ``tasks``: (state, machine's action) → count; ``decisions``: (machine's
    action, person's action) → count; ``overrides``: decisions that differ from the machine's action."""

    tasks: Mapping[tuple[str, str], int]
    decisions: Mapping[tuple[str, str], int]
    reviewers: Mapping[str, int]
    oldest_open: datetime | None

    @property
    def open(self) -> int:
        return sum(count for (state, _), count in self.tasks.items() if state == "open")

    @property
    def overrides(self) -> int:
        return sum(count for (machine, person), count in self.decisions.items() if machine != person)


class Queue:
    """The review tasks of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_tasks(
        self,
        *,
        state: str | None = "open",
        action: Action | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Tasks, most urgent first, then oldest. ``cursor`` of one page continues with the next."""
        if state is not None and state not in STATES:
            raise QueueError(f"unknown task state {state!r}; use {' or '.join(STATES)}")
        if limit < 1:
            raise QueueError(f"limit must be at least 1, got {limit}")
        query = _tasks().order_by(TaskRow.priority.desc(), TaskRow.id).limit(limit + 1)
        if state is not None:
            query = query.where(TaskRow.state == state)
        if action is not None:
            query = query.where(TaskRow.action == action.value)
        if cursor is not None:
            priority, key = _parsed(cursor)
            # the first condition is implied by the second: it is what the index can use
            query = query.where(
                TaskRow.priority <= priority,
                or_(TaskRow.priority < priority, and_(TaskRow.priority == priority, TaskRow.id > key)),
            )
        with self._store.reading() as connection:
            rows = connection.execute(query).mappings().all()
        tasks = tuple(_task(row) for row in rows[:limit])
        return Page(tasks, f"{tasks[-1].priority}.{tasks[-1].id}" if len(rows) > limit else None)

    def next_task(self) -> TaskDetail | None:
        """The most urgent open task, or ``None`` if the queue is empty. Nobody is kept from it by this."""
        page = self.list_tasks(limit=1)
        return self.show(page.tasks[0].id) if page.tasks else None

    def show(self, task_id: int) -> TaskDetail:
        """A task with the content it is about and the decisions taken. ``QueueError`` if there is none."""
        with self._store.reading() as connection:
            query = _tasks().add_columns(ItemRow.context, ItemRow.parts).where(TaskRow.id == _key(task_id))
            row = connection.execute(query).mappings().first()
            if row is None:
                raise _no_task(task_id)
            decisions = decisions_on(connection, task_id)
        return TaskDetail(
            _task(row),
            None if row["context"] is None else parse_json(row["context"]),
            None if row["parts"] is None else parse_json(row["parts"]),
            tuple(decisions),
        )

    def decide(
        self,
        task_id: int,
        action: Action,
        reviewer: str,
        reason: str,
        policy_rule: str = "",
        *,
        idempotency_key: str | None = None,
    ) -> Decision:
        """Decide an open task. ``QueueError`` if it is not open, or anything needed is missing.

        The same call again with the same ``idempotency_key`` returns the first decision and writes nothing.
        """
        if action is Action.REVIEW:
            raise QueueError(f"task {task_id}: a decision is allow or block, not review")
        for name, value in (("reviewer", reviewer), ("reason", reason)):
            if not value.strip():
                raise QueueError(f"task {task_id}: a decision needs a {name}; it is blank")
        for name, value in (("reviewer", reviewer), ("idempotency key", idempotency_key or "")):
            if len(escape_text(value)) > _MAX_NAME:
                raise QueueError(f"task {task_id}: the {name} is longer than {_MAX_NAME} characters")
        wanted = {
            "task_id": _key(task_id),
            "action": action.value,
            "reviewer": escape_text(reviewer),
            "reason": escape_text(reason),
            "policy_rule": escape_text(policy_rule),
            "idempotency_key": None if idempotency_key is None else escape_text(idempotency_key),
        }
        with self._store.writing() as connection:
            if (earlier := repeated(connection, wanted)) is not None:
                return earlier
            at = clock.now()
            taken = connection.execute(
                update(TaskRow)
                .where(TaskRow.id == wanted["task_id"], TaskRow.state == "open")
                .values(state="decided", decided_at=at)
            )
            if taken.rowcount != 1:
                raise _not_open(connection, task_id)
            key = next_key(connection, DecisionRow.id)
            row = {"id": key, **wanted, "created_at": at}
            connection.execute(insert(DecisionRow), row)
            event = {"decision": key, "task": task_id, "action": action.value}
            seal = Seal.over(DECISION_FORM, [key], [DECISION_FORM.leaf(row)])
            audit_log.append(connection, "decision", at, event, [seal])
        return decision_from_row(row)

    def stats(self) -> Stats:
        """How much is open and decided, by whom, and how often people disagreed with the machine."""
        with self._store.reading() as connection:
            tasks = connection.execute(
                select(TaskRow.state, TaskRow.action, func.count()).group_by(TaskRow.state, TaskRow.action)
            ).all()
            decisions = connection.execute(
                select(TaskRow.action, DecisionRow.action, func.count())
                .join(TaskRow, TaskRow.id == DecisionRow.task_id)
                .group_by(TaskRow.action, DecisionRow.action)
            ).all()
            reviewers = connection.execute(
                select(DecisionRow.reviewer, func.count())
                .group_by(DecisionRow.reviewer)
                .order_by(DecisionRow.reviewer)
            ).all()
            oldest = connection.execute(
                select(func.min(TaskRow.opened_at)).where(TaskRow.state == "open")
            ).scalar()
        return Stats(
            tasks={(state, action): count for state, action, count in tasks},
            decisions={(machine, person): count for machine, person, count in decisions},
            reviewers={unescape_text(name): count for name, count in reviewers},
            oldest_open=None if oldest is None else clock.moment(oldest),
        )


def _tasks() -> Select[Any]:
    columns = [getattr(VerdictRow, name) for name in VERDICT_COLUMNS if name != "id"]
    return (
        select(
            TaskRow.id, TaskRow.state, TaskRow.priority, TaskRow.opened_at, TaskRow.decided_at,
            ItemRow.external_id, *columns,
        )
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
    )  # fmt: skip


def _task(row: Mapping[Any, Any]) -> Task:
    return Task(
        id=row["id"],
        state=row["state"],
        priority=row["priority"],
        opened_at=clock.moment(row["opened_at"]),
        decided_at=None if row["decided_at"] is None else clock.moment(row["decided_at"]),
        scan_id=row["scan_id"],
        position=row["position"],
        verdict=verdict_from_row(row, row["external_id"]),
    )


def _not_open(connection: Connection, task_id: int) -> QueueError:
    decisions = decisions_on(connection, task_id)
    if not decisions:
        return _no_task(task_id)
    last = decisions[-1]
    when = f" at {last.decided_at:%Y-%m-%d %H:%M:%S} UTC" if last.decided_at else ""
    return QueueError(
        f"task {task_id} was already decided: {last.action} by {last.reviewer}{when}; nothing was changed"
    )


def _no_task(task_id: int) -> QueueError:
    return QueueError(f"there is no task {task_id}; `moderator queue list` shows those that are open")


def _key(task_id: int) -> int:
    if not 0 < task_id <= _MAX_KEY:  # beyond what a database can hold
        raise _no_task(task_id)
    return task_id


def _parsed(cursor: str) -> tuple[int, int]:
    priority, _, key = cursor.partition(".")
    if not (
        priority.isascii() and priority.isdigit() and key.isascii() and key.isdigit() and len(cursor) < 40
    ):
        raise QueueError(f"{cursor!r} is not a cursor; use the one a listing printed")
    return min(int(priority), _MAX_KEY), min(int(key), _MAX_KEY)
