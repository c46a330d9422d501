"""The review queue: what people shall look at, most urgent first, and what they decided.

What is done with tasks is the business of ``moderator.review``; here they are only looked at. An override is
never stored, it is a decision whose action differs from the verdict's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, text, true

from moderator.errors import QueueError, RestrictedQueueError
from moderator.store import clock
from moderator.store.canonical import parse_json, unescape_text
from moderator.store.decisions import decisions_on
from moderator.store.golden import is_copy
from moderator.store.history import Appeal, TaskEvent, appeals_on, events_on
from moderator.store.query import WAITING, Filter, found
from moderator.store.session import Store
from moderator.store.tables import UNFINISHED, DecisionRow, ItemRow, TaskRow, VerdictRow, plain_state
from moderator.store.verdicts import VERDICT_COLUMNS, verdict_from_row
from moderator.types import Action, Decision, Role, Stage, State, Verdict

_WAITING = (State.OPEN.value, State.QUEUED.value)
_MAX_KEY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Task:
    """A review task with the verdict it is about. ``action`` is the machine's.

    ``token``, ``reviewer`` and ``lease_until`` are those of the newest claim; a claim whose lease has run out
    is still shown as one until somebody else takes the task.
    """

    id: int
    state: State
    stage: Stage
    priority: int
    opened_at: datetime
    decided_at: datetime | None
    reviewer: str | None
    token: int
    lease_until: datetime | None
    scan_id: int
    position: int
    verdict: Verdict
    queue: str
    due_at: datetime
    """When what is asked now shall be done."""

    @property
    def action(self) -> Action:
        return self.verdict.action


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """All there is to know to decide a task. ``context`` and ``parts`` are ``None`` for an unreadable
    record; a part is a mapping with ``modality``, ``digest`` and its content or where it lies. In a ``blind``
    one, what others decided and did is left out."""

    task: Task
    context: Mapping[str, Any] | None
    parts: Sequence[Mapping[str, Any]] | None
    decisions: tuple[Decision, ...]
    events: tuple[TaskEvent, ...] = ()
    appeals: tuple[Appeal, ...] = ()
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, and the cursor that continues after them (``None`` at the end)."""

    tasks: tuple[Task, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue: tasks that somebody may take, those of them that are overdue, the first opened, the next
    due. Claims whose lease has run out count as waiting."""

    waiting: int
    overdue: int
    oldest: datetime
    next_due: datetime


@dataclass(frozen=True, slots=True)
class Stats:
    """The queue in numbers, copies of golden tasks left out. ``tasks``: (state, machine's action) → count;
    ``decisions``: (machine's action, person's action) → count; ``overrides``: decisions that differ from the
    machine's action."""

    tasks: Mapping[tuple[str, str], int]
    decisions: Mapping[tuple[str, str], int]
    reviewers: Mapping[str, int]
    oldest_open: datetime | None
    queues: Mapping[str, QueueStats]

    @property
    def open(self) -> int:
        return sum(count for (state, _), count in self.tasks.items() if state == State.OPEN)

    @property
    def waiting(self) -> int:
        return sum(count for (state, _), count in self.tasks.items() if state in _WAITING)

    @property
    def overrides(self) -> int:
        return sum(count for (machine, person), count in self.decisions.items() if machine != person)


class Queue:
    """The review tasks of a store, as somebody of this role may see them."""

    def __init__(self, store: Store, *, role: Role = Role.LEAD) -> None:
        self._store = store
        self._role = role
        roles = [each.value for each in Role if role.covers(each)]
        self._visible: ColumnElement[bool] = true() if role is Role.LEAD else TaskRow.role.in_(roles)

    def list_tasks(
        self,
        *,
        state: str | None = WAITING,
        action: Action | None = None,
        queue: str | None = None,
        overdue: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Tasks, most urgent first, then oldest. ``cursor`` of one page continues with the next.

        ``state``: one of ``State``, ``waiting`` for those that anybody may take, ``None`` for all.
        ``overdue``: only unfinished tasks that are past their due time, longest overdue first.
        """
        if state is not None and state not in (WAITING, *State):
            raise QueueError(f"unknown task state {state!r}; use {', '.join((WAITING, *State))}")
        if limit < 1:
            raise QueueError(f"limit must be at least 1, got {limit}")
        query = _tasks().where(self._visible).limit(limit + 1)
        if overdue:
            query = query.where(text(UNFINISHED)).order_by(TaskRow.due_at, TaskRow.id)
        else:
            query = query.order_by(TaskRow.priority.desc(), TaskRow.id)
        if queue is not None:
            query = query.where(TaskRow.queue == queue)
        if state == WAITING:
            query = query.where(text(UNFINISHED), plain_state.in_(_WAITING))
        elif state is not None:
            query = query.where((plain_state if overdue else TaskRow.state) == state)
        if action is not None:
            query = query.where(TaskRow.action == action.value)
        if cursor is not None and overdue:
            due, key = _parsed(cursor)
            after = or_(TaskRow.due_at > due, and_(TaskRow.due_at == due, TaskRow.id > key))
            query = query.where(TaskRow.due_at >= due, after)
        elif cursor is not None:
            priority, key = _parsed(cursor)
            # the first condition is implied by the second: it is what the index can use
            query = query.where(
                TaskRow.priority <= priority,
                or_(TaskRow.priority < priority, and_(TaskRow.priority == priority, TaskRow.id > key)),
            )
        with self._store.reading() as connection:
            if overdue:
                query = query.where(TaskRow.due_at <= clock.database_now(connection))
            rows = connection.execute(query).mappings().all()
        tasks = tuple(_task(row) for row in rows[:limit])
        if len(rows) <= limit:
            return Page(tasks, None)
        return Page(tasks, f"{rows[limit - 1]['due_at' if overdue else 'priority']}.{tasks[-1].id}")

    def query(self, wanted: Filter, *, limit: int = 50, cursor: str | None = None) -> Page:
        """The tasks that are as ``wanted``, in its order; ``cursor`` of one page continues with the next.

        ``QueueError`` for a filter that cannot be, or a cursor of another search.
        """
        with self._store.reading() as connection:
            ids, more = found(connection, wanted, self._visible, limit, cursor)
            rows = connection.execute(_tasks().where(TaskRow.id.in_(ids))).mappings().all() if ids else []
        tasks = {row["id"]: _task(row) for row in rows}
        return Page(tuple(tasks[number] for number in ids), more)

    def next_task(self, queue: str | None = None) -> TaskDetail | None:
        """What a claim would take first, or ``None`` if there is nothing. Nobody is kept from it by this."""
        page = self.list_tasks(queue=queue, overdue=True, limit=1)
        page = page if page.tasks else self.list_tasks(queue=queue, limit=1)
        return self.show(page.tasks[0].id) if page.tasks else None

    def show(self, task_id: int, *, reveal: bool = False) -> TaskDetail:
        """A task with the content it is about and what was done. ``QueueError`` if there is none,
        ``RestrictedQueueError`` if it is in a queue that takes another role.

        A task in its second review is shown blind, unless ``reveal`` is set.
        """
        with self._store.reading() as connection:
            query = _tasks().add_columns(ItemRow.context, ItemRow.parts).where(TaskRow.id == _key(task_id))
            row = connection.execute(query).mappings().first()
            if row is None:
                raise _no_task(task_id)
            if not self._role.covers(Role(row["role"])):
                raise RestrictedQueueError(
                    f"task {task_id} is in the queue {row['queue']!r}, which takes the role {row['role']}, "
                    f"not {self._role}"
                )
            blind = row["stage"] == Stage.SECOND and not reveal
            return TaskDetail(
                _task(row),
                None if row["context"] is None else parse_json(row["context"]),
                None if row["parts"] is None else parse_json(row["parts"]),
                decisions=() if blind else tuple(decisions_on(connection, task_id).values()),
                events=() if blind else tuple(events_on(connection, task_id)),
                appeals=() if blind else tuple(appeals_on(connection, task_id)),
                blind=blind,
            )

    def stats(self) -> Stats:
        """How much is open and decided, by whom, and how often people disagreed with the machine."""
        with self._store.reading() as connection:
            tasks = connection.execute(
                select(TaskRow.state, TaskRow.action, func.count())
                .where(self._visible, ~is_copy())
                .group_by(TaskRow.state, TaskRow.action)
            ).all()
            decisions = connection.execute(
                select(TaskRow.action, DecisionRow.action, func.count())
                .join(TaskRow, TaskRow.id == DecisionRow.task_id)
                .where(self._visible, ~is_copy())
                .group_by(TaskRow.action, DecisionRow.action)
            ).all()
            reviewers = connection.execute(
                select(DecisionRow.reviewer, func.count())
                .join(TaskRow, TaskRow.id == DecisionRow.task_id)
                .where(self._visible, ~is_copy())
                .group_by(DecisionRow.reviewer)
                .order_by(DecisionRow.reviewer)
            ).all()
            oldest = connection.execute(
                select(func.min(TaskRow.opened_at)).where(
                    TaskRow.state.in_(_WAITING), self._visible, ~is_copy()
                )
            ).scalar()
            at = clock.database_now(connection)
            overdue = func.sum(case((TaskRow.due_at <= at, 1), else_=0))
            queues = connection.execute(
                select(
                    TaskRow.queue,
                    func.count(),
                    overdue,
                    func.min(TaskRow.opened_at),
                    func.min(TaskRow.due_at),
                )
                .where(text(UNFINISHED), or_(plain_state != State.CLAIMED.value, TaskRow.lease_until <= at))
                .where(self._visible, ~is_copy())
                .group_by(TaskRow.queue)
                .order_by(TaskRow.queue)
            ).all()
        return Stats(
            tasks={(state, action): count for state, action, count in tasks},
            decisions={(machine, person): count for machine, person, count in decisions},
            reviewers={unescape_text(name): count for name, count in reviewers},
            oldest_open=None if oldest is None else clock.moment(oldest),
            queues={
                name: QueueStats(waiting, int(late), clock.moment(first), clock.moment(due))
                for name, waiting, late, first, due in queues
            },
        )


def _tasks() -> Select[*tuple[Any, ...]]:
    columns = [getattr(VerdictRow, name) for name in VERDICT_COLUMNS if name != "id"]
    return (
        select(
            TaskRow.id, TaskRow.state, TaskRow.stage, TaskRow.priority, TaskRow.opened_at, TaskRow.decided_at,
            TaskRow.reviewer, TaskRow.claim_token, TaskRow.lease_until, TaskRow.queue, TaskRow.due_at,
            TaskRow.role, ItemRow.external_id, *columns,
        )
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
    )  # fmt: skip


def _task(row: Mapping[Any, Any]) -> Task:
    return Task(
        id=row["id"],
        state=State(row["state"]),
        stage=Stage(row["stage"]),
        priority=row["priority"],
        opened_at=clock.moment(row["opened_at"]),
        decided_at=None if row["decided_at"] is None else clock.moment(row["decided_at"]),
        reviewer=None if row["reviewer"] is None else unescape_text(row["reviewer"]),
        token=row["claim_token"],
        lease_until=None if row["lease_until"] is None else clock.moment(row["lease_until"]),
        scan_id=row["scan_id"],
        position=row["position"],
        verdict=verdict_from_row(row, row["external_id"]),
        queue=row["queue"],
        due_at=clock.moment(row["due_at"]),
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
