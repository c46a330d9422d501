"""The queue: order, pages, decisions taken once, and numbers."""

from __future__ import annotations

import pytest

from moderator.errors import QueueError
from moderator.review import ReviewDesk
from moderator.store import Queue, Store
from moderator.types import Action, Item
from tests.store.samples import make_verdict, start


@pytest.fixture
def queue(store: Store) -> Queue:
    """Six tasks, two of them ``block``."""
    batch = [
        (
            n,
            Item.of(text=f"text {n}", context={"surface": "kids"}),
            f"p{n}",
            make_verdict(f"p{n}", action, score),
            True,
        )
        for n, (action, score) in enumerate(
            [
                (Action.REVIEW, 0.5),
                (Action.BLOCK, 0.9),
                (Action.REVIEW, 0.7),
                (Action.REVIEW, 0.5),
                (Action.BLOCK, 0.95),
                (Action.REVIEW, 0.0),
            ]
        )
    ]
    store.record(start(store), batch)
    return Queue(store)


@pytest.fixture
def desk(store: Store) -> ReviewDesk:
    return ReviewDesk(store)


def test_most_urgent_first_then_oldest(queue: Queue) -> None:
    page = queue.list_tasks()
    assert [task.id for task in page.tasks] == [5, 2, 3, 1, 4, 6]
    assert page.cursor is None
    detail = queue.next_task()
    assert detail is not None
    assert detail.task.id == 5


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 7])
def test_pages_join_without_gap(queue: Queue, limit: int) -> None:
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = queue.list_tasks(limit=limit, cursor=cursor)
        seen += [task.id for task in page.tasks]
        if (cursor := page.cursor) is None:
            break
    assert seen == [5, 2, 3, 1, 4, 6]


def test_filters(queue: Queue, desk: ReviewDesk) -> None:
    desk.decide(2, Action.ALLOW, "ann", "satire")
    assert [task.id for task in queue.list_tasks(action=Action.BLOCK).tasks] == [5]
    assert [task.id for task in queue.list_tasks(state="decided").tasks] == [2]
    assert [task.id for task in queue.list_tasks(state=None, action=Action.BLOCK).tasks] == [5, 2]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "².1", "1" * 50 + ".1", "-1.2"])
def test_a_wrong_cursor_is_refused(queue: Queue, cursor: str) -> None:
    with pytest.raises(QueueError, match="is not a cursor"):
        queue.list_tasks(cursor=cursor)


def test_wrong_filters_are_refused(queue: Queue) -> None:
    with pytest.raises(QueueError, match="unknown task state 'lost'; use waiting, open, queued"):
        queue.list_tasks(state="lost")
    with pytest.raises(QueueError, match="limit"):
        queue.list_tasks(limit=0)


def test_show_gives_content_and_decisions(queue: Queue, desk: ReviewDesk) -> None:
    desk.decide(1, Action.BLOCK, "ann", "clear", "hate-review")
    detail = queue.show(1)
    assert detail.task.state == "decided"
    assert detail.task.decided_at is not None
    assert detail.context == {"surface": "kids"}
    assert detail.parts is not None
    assert detail.parts[0]["text"] == "text 0"
    decision = detail.decisions[0]
    assert (decision.action, decision.reviewer, decision.reason) == (Action.BLOCK, "ann", "clear")
    assert (decision.policy_rule, decision.decided_at) == ("hate-review", detail.task.decided_at)


@pytest.mark.parametrize("task", [0, -1, 7, 2**63, 10**30])
def test_an_unknown_task_is_named(queue: Queue, desk: ReviewDesk, task: int) -> None:
    with pytest.raises(QueueError, match=f"no task {task};"):
        queue.show(task)
    with pytest.raises(QueueError, match=f"no task {task};"):
        desk.decide(task, Action.ALLOW, "ann", "fine")


def test_stats(queue: Queue, desk: ReviewDesk) -> None:
    desk.decide(2, Action.BLOCK, "ann", "clear")
    desk.decide(5, Action.ALLOW, "bob", "satire")
    desk.decide(3, Action.ALLOW, "ann", "fine")
    stats = queue.stats()
    assert stats.tasks == {("open", "review"): 3, ("decided", "block"): 2, ("decided", "review"): 1}
    assert stats.decisions == {("block", "block"): 1, ("block", "allow"): 1, ("review", "allow"): 1}
    assert stats.reviewers == {"ann": 2, "bob": 1}
    assert (stats.open, stats.overrides) == (3, 2)
    assert stats.oldest_open is not None


def test_an_empty_queue(store: Store) -> None:
    queue = Queue(store)
    assert queue.next_task() is None
    assert queue.list_tasks().tasks == ()
    assert queue.stats().oldest_open is None
