"""Tasks from before there were queues: into the default queue, in the order they had, due in a week."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.review import Act, ReviewDesk, TaskState, journal
from moderator.store import Queue, Store, clock, migrate
from moderator.store.engine import make_engine, parse_url
from moderator.store.history import EVENT_FORM_1
from moderator.types import Action
from tests.store.samples import make_batch, start

DAY = 86_400_000_000
COLUMNS = "id, state, stage, action, priority, opened_at, decided_at, reviewer, claim_token, decision_id"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(parse_url(database_url))
    yield made
    made.dispose()


def tasks(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        query = f"SELECT {COLUMNS} FROM review_tasks ORDER BY id"  # noqa: S608
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def before(engine: Engine, database_url: str) -> list[tuple[Any, ...]]:
    """Six tasks of the schema without queues: 1 escalated, 2 decided, the others open, 6 opened long ago."""
    with Store.open(database_url) as store:
        store.record(start(store), make_batch(range(6), (Action.REVIEW,)))
        desk = ReviewDesk(store)
        desk.escalate(1, "ann", "why")
        desk.decide(2, Action.BLOCK, "ann", "clear")
    migrate.downgrade(engine, "v0003")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE review_tasks SET priority = 1000000 + id, opened_at = :at"), {"at": 7}
        )
        connection.execute(text("UPDATE review_tasks SET priority = 2900000 WHERE id = 4"))
        connection.execute(text("UPDATE review_tasks SET opened_at = opened_at - 7 * :day"), {"day": DAY})
        now = text("UPDATE review_tasks SET opened_at = :now - :day WHERE id <> 6")
        connection.execute(now, {"now": time.time_ns() // 1000, "day": DAY})
    return tasks(engine)


def test_they_keep_their_order_and_have_a_week_from_now(
    before: list[tuple[Any, ...]], engine: Engine, database_url: str
) -> None:
    began = time.time_ns() // 1000
    with Store.open(database_url) as store:
        assert migrate.check(engine) == []
        page = Queue(store).list_tasks(state=None)
        # 6 has waited for years, 4 would be blocked; then by the score there was
        assert [task.id for task in page.tasks] == [6, 4, 5, 3, 2, 1]
        assert {task.queue for task in page.tasks} == {"default"}
        due = {task.id: clock.stored(task.due_at) for task in page.tasks}
        for task in (1, 3, 4, 5, 6):
            assert began <= due[task] - 7 * DAY <= began + 600_000_000
        assert due[2] == before[1][5] + 7 * DAY
        assert Queue(store).stats().queues["default"].overdue == 0
        assert [claim.task_id for claim in ReviewDesk(store, roles={}).claim("bob", 9)] == [6, 4, 5, 3]
    migrate.downgrade(engine, "v0003")
    after = tasks(engine)
    assert [row[4] for row in after] == [row[4] for row in before]


def test_events_sealed_before_still_verify(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = journal.event_row

    def as_before(act: Act, state: TaskState, **more: Any) -> dict[str, Any]:
        return {**made(act, state, **more), "queue": None, "due_at": None}

    with Store.open(database_url) as store, monkeypatch.context() as patch:
        patch.setattr(journal, "EVENT_FORM", EVENT_FORM_1)
        patch.setattr(journal, "event_row", as_before)
        store.record(start(store), make_batch(range(3), (Action.REVIEW,)))
        ReviewDesk(store).decide(2, Action.BLOCK, "ann", "clear")
    migrate.downgrade(engine, "v0003")
    with Store.open(database_url) as store:
        ReviewDesk(store).skip(1, "ann", "why")
        with store.snapshot() as connection:
            report = verify(Live(connection))
            assert (report.fault, report.rows["review_events"]) == (None, 4)
        events = [
            (event.queue, event.due_at is None) for task in (2, 1) for event in Queue(store).show(task).events
        ]
        assert events == [(None, True), (None, True), ("default", False), ("default", False)]
    with engine.begin() as connection:
        guard = "_no_update" if engine.dialect.name == "sqlite" else "_no_edit ON review_events"
        connection.execute(text(f"DROP TRIGGER review_events{guard}"))
        connection.execute(text("UPDATE review_events SET queue = 'default' WHERE id = 1"))
    with Store.open(database_url) as store, store.snapshot() as connection:
        fault = verify(Live(connection)).fault
        assert fault is not None
        assert (fault.row, fault.what) == (1, "has queue, which is newer than the row")
