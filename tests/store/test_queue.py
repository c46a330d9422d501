"""The queue: order, pages, decisions taken once, and numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from moderator.errors import QueueError
from moderator.store import Queue, Store
from moderator.store.audit_log import events
from moderator.store.canonical import parse_json
from moderator.store.decisions import DECISION_COLUMNS, DECISION_FORM
from moderator.store.seal import Seal, seals_of
from moderator.store.tables import DecisionRow
from moderator.types import Action, Decision, Item
from tests.store.samples import make_batch, make_verdict, start


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


def test_filters(queue: Queue) -> None:
    queue.decide(2, Action.ALLOW, "ann", "satire")
    assert [task.id for task in queue.list_tasks(action=Action.BLOCK).tasks] == [5]
    assert [task.id for task in queue.list_tasks(state="decided").tasks] == [2]
    assert [task.id for task in queue.list_tasks(state=None, action=Action.BLOCK).tasks] == [5, 2]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "².1", "1" * 50 + ".1", "-1.2"])
def test_a_wrong_cursor_is_refused(queue: Queue, cursor: str) -> None:
    with pytest.raises(QueueError, match="is not a cursor"):
        queue.list_tasks(cursor=cursor)


def test_wrong_filters_are_refused(queue: Queue) -> None:
    with pytest.raises(QueueError, match="unknown task state 'closed'"):
        queue.list_tasks(state="closed")
    with pytest.raises(QueueError, match="limit"):
        queue.list_tasks(limit=0)


def test_show_gives_content_and_decisions(queue: Queue) -> None:
    queue.decide(1, Action.BLOCK, "ann", "clear", "hate-review")
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
def test_an_unknown_task_is_named(queue: Queue, task: int) -> None:
    with pytest.raises(QueueError, match=f"no task {task};"):
        queue.show(task)
    with pytest.raises(QueueError, match=f"no task {task};"):
        queue.decide(task, Action.ALLOW, "ann", "fine")


def test_a_second_decision_is_refused_naming_the_first(queue: Queue, store: Store) -> None:
    queue.decide(1, Action.ALLOW, "ann", "fine")
    with pytest.raises(
        QueueError, match=r"task 1 was already decided: allow by ann at \d{4}-\d\d-\d\d .* UTC"
    ):
        queue.decide(1, Action.BLOCK, "bob", "no")
    with store.reading() as connection:
        assert len(list(connection.execute(select(DecisionRow.id)))) == 1
        assert [event.kind for event in events(connection)].count("decision") == 1


@pytest.mark.parametrize(
    ("action", "reviewer", "reason", "said"),
    [
        (Action.REVIEW, "ann", "why", "allow or block"),
        (Action.ALLOW, " ", "why", "needs a reviewer"),
        (Action.ALLOW, "ann", "\n\t", "needs a reason"),
        (Action.ALLOW, "a" * 201, "why", "reviewer is longer than 200"),
    ],
)
def test_an_incomplete_decision_is_refused(
    queue: Queue, action: Action, reviewer: str, reason: str, said: str
) -> None:
    with pytest.raises(QueueError, match=said):
        queue.decide(1, action, reviewer, reason)
    assert queue.show(1).task.state == "open"


def test_a_repeated_submit_gives_the_same_answer(queue: Queue) -> None:
    first = queue.decide(1, Action.ALLOW, "ann", "fine", idempotency_key="k")
    assert queue.decide(1, Action.ALLOW, "ann", "fine", idempotency_key="k") == first
    with pytest.raises(QueueError, match="was used for another decision"):
        queue.decide(2, Action.ALLOW, "ann", "fine", idempotency_key="k")
    assert queue.show(2).task.state == "open"


def test_the_log_seals_the_decision(queue: Queue, store: Store) -> None:
    queue.decide(3, Action.BLOCK, "ann", "clear")
    columns = [getattr(DecisionRow, name) for name in DECISION_COLUMNS]
    with store.reading() as connection:
        row = connection.execute(select(*columns)).mappings().one()
        event = list(events(connection))[-1]
    assert event.data == {"decision": 1, "task": 3, "action": "block"}
    leaf = DECISION_FORM.leaf(row)
    assert seals_of(parse_json(event.payload)) == (Seal("moderator.decision.v1", 1, 1, leaf),)


def test_stats(queue: Queue) -> None:
    queue.decide(2, Action.BLOCK, "ann", "clear")
    queue.decide(5, Action.ALLOW, "bob", "satire")
    queue.decide(3, Action.ALLOW, "ann", "fine")
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


def test_one_of_sixteen_reviewers_wins(store: Store) -> None:
    store.record(start(store), make_batch(range(3), (Action.REVIEW,)))
    queue = Queue(store)

    def attempt(number: int) -> Decision | str:
        try:
            return queue.decide(1, Action.ALLOW, f"reviewer-{number}", "fine")
        except QueueError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attempt, range(16)))
    won = [answer for answer in answers if isinstance(answer, Decision)]
    assert len(won) == 1
    lost = [answer for answer in answers if isinstance(answer, str)]
    assert all(f"already decided: allow by {won[0].reviewer}" in answer for answer in lost)
    assert queue.show(1).decisions == tuple(won)
