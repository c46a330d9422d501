"""Queues at the desk: what comes first, who may see what, moving tasks, due times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import QueueError
from moderator.review import ReviewDesk, refusals
from moderator.routing import Route, Router
from moderator.settings import Review
from moderator.store import Queue, Store, clock
from moderator.types import Action, Item, Role, Verdict
from tests.review.conftest import ROLES
from tests.store.samples import make_verdict, start

HOUR = timedelta(hours=1)
QUEUES = {
    route.queue: route
    for route in (
        Route("urgent", 4 * HOUR, Role.SENIOR, timedelta(minutes=20)),
        Route("spam", 48 * HOUR),
        Route("default", 24 * HOUR),
        Route("legal", 1 * HOUR, Role.LEAD),
    )
}
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Time:
    """The database's clock and the machine's, set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def pass_(self, length: timedelta) -> None:
        self.now += length


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock, "now", lambda: clock.stored(made.now))
    monkeypatch.setattr(clock, "database_now", lambda connection: clock.stored(made.now))
    return made


@pytest.fixture
def store(database_url: str, time: Time) -> Iterator[Store]:
    with Store.open(database_url) as opened:
        yield opened


@pytest.fixture
def desk(store: Store) -> ReviewDesk:
    return ReviewDesk(store, roles=ROLES, route_of=QUEUES.get)


def add(store: Store, *tasks: tuple[str, float]) -> None:
    """A task in each of these queues, with these hours of head start."""
    waiting = iter(tasks)

    def route(item: Item | None, verdict: Verdict) -> tuple[Route, timedelta]:
        name, hours = next(waiting)
        return QUEUES[name], hours * HOUR

    router: Router = route
    batch = [
        (n, Item.of(text="x"), f"p{n}", make_verdict(f"p{n}", Action.REVIEW, 0.5), False)
        for n in range(len(tasks))
    ]
    store.record(start(store), batch, router)


def claimed(desk: ReviewDesk, name: str, count: int = 9, queue: str | None = None) -> list[int]:
    return [claim.task_id for claim in desk.claim(name, count, queue=queue)]


def test_the_most_urgent_of_all_queues_first(store: Store, desk: ReviewDesk) -> None:
    add(store, ("spam", 1), ("default", 3), ("urgent", 2), ("spam", 4), ("default", 0), ("legal", 9))
    assert [task.id for task in Queue(store).list_tasks().tasks] == [6, 4, 2, 3, 1, 5]
    assert claimed(desk, "sue", 2) == [4, 2]
    assert claimed(desk, "lea", 2) == [6, 3]
    assert claimed(desk, "ann") == [1, 5]


def test_waiting_counts_as_much_as_a_head_start(store: Store, desk: ReviewDesk, time: Time) -> None:
    add(store, ("default", 0), ("default", 2))
    time.pass_(HOUR)
    add(store, ("default", 1.5), ("default", 0.5), ("default", 4))
    assert claimed(desk, "ann") == [5, 2, 3, 1, 4]


def test_what_is_overdue_comes_first(store: Store, desk: ReviewDesk, time: Time) -> None:
    add(store, ("spam", 90), ("default", 5), ("default", 7))
    time.pass_(23 * HOUR)
    add(store, ("urgent", 80))
    time.pass_(5 * HOUR)  # 2 and 3 are due since 4 hours, 4 since 1, 1 in 20
    queue = Queue(store)
    assert [task.id for task in queue.list_tasks(overdue=True).tasks] == [2, 3, 4]
    assert [task.id for task in queue.list_tasks().tasks] == [1, 4, 3, 2]
    following = queue.next_task()
    assert following is not None
    assert following.task.id == 2
    stats = queue.stats().queues
    assert {name: (each.waiting, each.overdue) for name, each in stats.items()} == {
        "default": (2, 2), "spam": (1, 0), "urgent": (1, 1)
    }  # fmt: skip
    assert (stats["default"].oldest, stats["urgent"].next_due) == (NOW, NOW + 27 * HOUR)
    first = queue.list_tasks(overdue=True, limit=2)
    assert [task.id for task in queue.list_tasks(overdue=True, cursor=first.cursor).tasks] == [4]
    assert claimed(desk, "sue", 3) == [2, 3, 4]
    assert claimed(desk, "sue", 3) == [1]


def test_one_queue_alone(store: Store, desk: ReviewDesk) -> None:
    add(store, ("spam", 1), ("default", 3), ("urgent", 2), ("spam", 4))
    assert [task.id for task in Queue(store).list_tasks(queue="spam").tasks] == [4, 1]
    following = Queue(store).next_task("urgent")
    assert following is not None
    assert following.task.id == 3
    assert claimed(desk, "ann", queue="spam") == [4, 1]
    assert claimed(desk, "ann", queue="spam") == []
    assert claimed(desk, "ann", queue="nowhere") == []


def test_a_restricted_queue_is_seen_and_worked_on_by_its_role_alone(store: Store, desk: ReviewDesk) -> None:
    add(store, ("urgent", 9), ("default", 1), ("legal", 5))
    assert claimed(desk, "ann") == [2]
    with pytest.raises(
        refusals.RestrictedQueueError, match="queue 'urgent' takes the role senior; ann is rev"
    ):
        desk.claim("ann", queue="urgent")
    acts: list[Callable[[], object]] = [
        lambda: desk.claim_task(1, "ann"),
        lambda: desk.renew(1, "ann", 0),
        lambda: desk.release(1, "ann", 0),
        lambda: desk.skip(1, "ann", "why"),
        lambda: desk.move(1, "spam", "ann", "why"),
        lambda: desk.escalate(1, "ann", "why"),
        lambda: desk.decide(1, Action.ALLOW, "ann", "fine"),
        lambda: desk.second_review(1, "ann", "why"),
        lambda: desk.uphold(1, "ann", "why"),
        lambda: desk.reverse(1, "ann", "why"),
        lambda: desk.reopen(1, "ann", "why"),
        lambda: desk.close([1], "ann", "why", confirm=1),
    ]
    for act in acts:
        with pytest.raises(
            refusals.RestrictedQueueError, match="task 1 is in the queue 'urgent', which takes"
        ):
            act()
    for role, seen in ((Role.REVIEWER, [2]), (Role.SENIOR, [1, 2]), (Role.LEAD, [1, 3, 2])):
        queue = Queue(store, role=role)
        assert [task.id for task in queue.list_tasks(state=None).tasks] == seen
        assert sum(queue.stats().tasks.values()) == len(seen)
        assert set(queue.stats().queues) == {"urgent", "legal"} & {queue_of(store, n) for n in seen}
        if 1 not in seen:
            with pytest.raises(
                refusals.RestrictedQueueError, match="which takes the role senior, not reviewer"
            ):
                queue.show(1)
    receipt = desk.decide(1, Action.BLOCK, "sue", "clear")
    assert receipt.state == "decided"
    assert desk.appeal(1, "the author", "no").state == "appealed"  # anybody may
    assert Queue(store, role=Role.REVIEWER).stats().decisions == {}
    assert Queue(store, role=Role.REVIEWER).stats().reviewers == {}
    assert claimed(desk, "sam") == [1]


def queue_of(store: Store, task: int) -> str:
    return Queue(store).show(task).task.queue


def test_moving(store: Store, desk: ReviewDesk, time: Time) -> None:
    add(store, ("default", 0))
    time.pass_(HOUR)
    claim = desk.claim("ann")[0]
    receipt = desk.move(1, "urgent", "ann", "a threat to themselves", token=claim.token, idempotency_key="k")
    assert receipt.state == "queued"
    task = Queue(store).show(1)
    assert (task.task.queue, task.task.due_at) == ("urgent", NOW + 5 * HOUR)
    assert [(each.act, each.queue) for each in task.events] == [("claim", "default"), ("move", "urgent")]
    assert (
        desk.move(1, "urgent", "ann", "a threat to themselves", token=claim.token, idempotency_key="k")
        == receipt
    )
    with pytest.raises(refusals.KeyReusedError):
        desk.move(1, "spam", "ann", "a threat to themselves", token=claim.token, idempotency_key="k")
    with pytest.raises(refusals.RestrictedQueueError):
        desk.move(1, "spam", "ann", "after all")
    held = desk.claim("sue")[0]
    assert held.until == time.now + timedelta(minutes=20)  # the queue's own lease
    with pytest.raises(refusals.MissingReasonError):
        desk.move(1, "spam", "sue", " ", token=held.token)
    with pytest.raises(refusals.UnknownQueueError, match="task 1: the policy has no queue 'sapm'"):
        desk.move(1, "sapm", "sue", "spam", token=held.token)
    with pytest.raises(refusals.StaleClaimError):
        desk.move(1, "spam", "sue", "spam", token=held.token - 1)
    desk.move(1, "spam", "sue", "spam", token=held.token)
    assert claimed(desk, "ann", queue="spam") == [1]
    plain = ReviewDesk(store)
    with pytest.raises(refusals.AlreadyClaimedError):
        plain.move(1, "default", "bob", "why")
    with store.snapshot() as connection:
        assert verify(Live(connection)).fault is None


def test_what_is_asked_anew_has_its_whole_time(store: Store, time: Time) -> None:
    desk = ReviewDesk(store, roles=ROLES, terms=Review(appeal_answer_days=2), route_of=QUEUES.get)
    add(store, ("spam", 0))
    time.pass_(HOUR)

    def due() -> timedelta:
        return Queue(store).show(1).task.due_at - NOW

    desk.escalate(1, "ann", "why")
    assert due() == 48 * HOUR
    desk.decide(1, Action.BLOCK, "sue", "clear")
    assert due() == 48 * HOUR
    time.pass_(HOUR)
    desk.second_review(1, "lea", "why")
    assert due() == 50 * HOUR
    desk.appeal(1, "the author", "no")
    assert due() == 50 * HOUR  # two days from now
    time.pass_(60 * HOUR)
    assert Queue(store).stats().queues["spam"].overdue == 1
    assert [task.id for task in Queue(store).list_tasks(state="appealed", overdue=True).tasks] == [1]
    desk.uphold(1, "sam", "stands")
    assert Queue(store).stats().queues == {}
    desk.reopen(1, "lea", "once more")
    assert due() == (62 + 48) * HOUR


def test_tasks_of_other_roles_in_front_are_not_walked_past(store: Store, desk: ReviewDesk) -> None:
    add(store, *[("default", hours) for hours in range(6)])
    for task in (6, 5):
        desk.escalate(task, "ann", "why")
    assert claimed(desk, "bob", 1) == [4]
    assert claimed(desk, "sue", 9) == [6, 5, 3, 2, 1]


def test_skipped_tasks_are_offered_to_others(store: Store, desk: ReviewDesk) -> None:
    add(store, ("default", 2), ("spam", 1))
    for _ in range(2):
        (claim,) = desk.claim("ann")
        desk.skip(claim.task_id, "ann", "why", token=claim.token)
    assert claimed(desk, "ann") == []
    assert claimed(desk, "bob") == [1, 2]


@pytest.mark.parametrize("count", [1, 3, 7, 40])
def test_batches_over_many_queues_come_in_order(store: Store, count: int) -> None:
    names = itertools.cycle(["spam", "default", "urgent", "default", "legal"])
    add(store, *[(next(names), hours * 7 % 40) for hours in range(40)])
    expected = [task.id for task in Queue(store).list_tasks(limit=100).tasks]
    desk, got = ReviewDesk(store), list[int]()
    while taken := claimed(desk, "ann", count):
        got += taken
    assert got == expected


def test_many_queues(store: Store) -> None:
    routes = [Route(f"q{n:03}", HOUR, Role.REVIEWER) for n in range(120)] * 2
    waiting = iter(routes)
    batch = [
        (n, Item.of(text="x"), f"p{n}", make_verdict(f"p{n}", Action.REVIEW, 0.5), False)
        for n in range(len(routes))
    ]
    store.record(start(store), batch, lambda item, verdict: (next(waiting), len(verdict.item_id) * HOUR))
    expected = [task.id for task in Queue(store).list_tasks(limit=1000).tasks]
    desk = ReviewDesk(store)
    assert claimed(desk, "ann", 130) + claimed(desk, "ann", 130) == expected


def test_only_refusals(desk: ReviewDesk) -> None:
    assert issubclass(refusals.RestrictedQueueError, QueueError)
    with pytest.raises(refusals.NoSuchTaskError):
        desk.move(1, "spam", "ann", "why")
