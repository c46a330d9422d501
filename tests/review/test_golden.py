"""Golden items: blind, once a reviewer, without effect, sealed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from moderator.audit.removals import removals
from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.cli.task_view import detail_json
from moderator.errors import QueueError
from moderator.review import ReviewDesk
from moderator.review.golden import answers
from moderator.review.golden_desk import GoldenDesk
from moderator.review.refusals import GoldenError, MissingReasonError, WrongActionError, WrongRoleError
from moderator.settings import Review
from moderator.store import Queue, Store
from moderator.store.tables import TaskRow, TrialRow
from moderator.types import Action
from tests.review import workers
from tests.review.conftest import ROLES
from tests.store.samples import make_batch, start
from tests.store.test_concurrency import run_together

ALWAYS = Review(golden_share=1.0)


@pytest.fixture
def golden(store: Store, desk: ReviewDesk) -> GoldenDesk:
    """Task 5 is to be blocked, 4 to be allowed; both were decided so."""
    made = GoldenDesk(store, roles=ROLES)
    desk.decide(5, Action.BLOCK, "sam", "a threat", labels={"violence": True})
    desk.decide(4, Action.ALLOW, "sam", "fine")
    made.add(5, "lea", "clear")
    made.add(4, "lea", "clear", Action.ALLOW, {"spam": False})
    return made


@pytest.fixture
def testing(store: Store, golden: GoldenDesk) -> ReviewDesk:
    """A desk where every claim is a golden one, as long as there are any."""
    return ReviewDesk(store, roles=ROLES, terms=ALWAYS)


@pytest.fixture(autouse=True)
def sealed(store: Store) -> Iterator[None]:
    yield
    with store.snapshot() as connection:
        assert verify(Live(connection)).fault is None


def copies(store: Store) -> set[int]:
    with store.reading() as connection:
        return set(connection.execute(select(TrialRow.task_id)).scalars())


def in_force(store: Store) -> Any:
    with store.reading() as connection:
        stats = Queue(store).stats()
        removed = [(each.verdict.item_id, each.decided_at) for each in removals(connection, 0)]
    return stats, removed


def test_a_claim_may_be_a_golden_one_which_the_real_task_survives(store: Store, testing: ReviewDesk) -> None:
    before = in_force(store)
    (claim,) = testing.claim("ann")
    assert copies(store) == {claim.task_id}
    waiting = [task.id for task in Queue(store).list_tasks().tasks]
    assert waiting == [2, 3, 1, 6]  # the one it stands for waits on
    testing.decide(claim.task_id, Action.ALLOW, "ann", "fine", token=claim.token)
    assert in_force(store) == before  # neither overrides nor statements of reasons know of it
    with store.reading() as connection:
        (answer,) = answers(connection)
    assert (answer.task_id, answer.reviewer, answer.action) == (5, "ann", Action.ALLOW)
    assert answer.golden.action is Action.BLOCK


def test_each_reviewer_gets_an_item_once_and_many_get_the_same(store: Store, testing: ReviewDesk) -> None:
    for name in ("ann", "bob"):
        first, second = testing.claim(name, 2)
        assert copies(store) >= {first.task_id, second.task_id}
        (third,) = testing.claim(name)
        assert third.task_id not in copies(store)
        testing.release(third.task_id, name, third.token)
    assert len(copies(store)) == 4
    assert not copies(store) & {claim.task_id for claim in testing.claim("lea", 9)}  # she knows the answers
    testing.claim("sam", 1)  # he decided on both
    assert len(copies(store)) == 4


def test_a_copy_looks_like_a_real_task(store: Store, testing: ReviewDesk, desk: ReviewDesk) -> None:
    (copy,) = testing.claim("ann")
    (real,) = desk.claim("ann")
    shown = [detail_json(Queue(store).show(number)) for number in (copy.task_id, real.task_id)]
    assert shown[0].keys() == shown[1].keys()
    for key in (
        "state",
        "stage",
        "action",
        "opened_at",
        "token",
        "reviewer",
        "blind",
        "decisions",
        "appeals",
    ):
        assert shown[0][key] == shown[1][key], key
    acts = [[(each["act"], each["state"], each["reviewer"]) for each in one["events"]] for one in shown]
    assert acts[0] == acts[1]
    assert "golden" not in str(shown[0])
    desk.decide(copy.task_id, Action.BLOCK, "ann", "x", token=copy.token)
    desk.decide(real.task_id, Action.BLOCK, "ann", "x", token=real.token)
    listed = Queue(store).list_tasks(state="decided").tasks
    assert {copy.task_id, real.task_id} <= {task.id for task in listed}


def test_numbers_give_no_copy_away(store: Store, golden: GoldenDesk, testing: ReviewDesk) -> None:
    for _ in range(4):
        store.record(start(store), make_batch(range(100), (Action.REVIEW,)))
    with store.reading() as connection:
        newest = connection.execute(select(func.max(TaskRow.id))).scalar_one()
    made = [claim.task_id for name in ("ann", "bob") for claim in testing.claim(name, 2)]
    assert copies(store) == set(made)
    assert max(made) < newest  # among the others, in numbers that were left free
    assert [task.id for task in Queue(store).list_tasks(state=None, limit=1000).tasks if task.id in made]


def test_what_is_given_back_is_for_others(store: Store, testing: ReviewDesk, desk: ReviewDesk) -> None:
    (copy,) = testing.claim("ann")
    testing.skip(copy.task_id, "ann", "not mine", token=copy.token)
    assert copy.task_id in [task.id for task in Queue(store).list_tasks().tasks]
    assert copy.task_id not in [claim.task_id for claim in desk.claim("sam", 9)]  # decided the real one
    assert copy.task_id in [claim.task_id for claim in desk.claim("bob", 9)]


def test_none_where_nothing_waits_or_the_item_is_in_doubt(
    store: Store, testing: ReviewDesk, desk: ReviewDesk
) -> None:
    desk.appeal(5, "the author", "no")
    assert len(testing.claim("ann", 2)) == 2  # 5 is being looked at again
    assert len(copies(store)) == 1
    desk.reverse(5, "sue", "a quotation")
    testing.claim("bob", 2)  # 5 was decided otherwise since
    assert len(copies(store)) == 2
    for claim in desk.claim("lea", 9):
        desk.decide(claim.task_id, Action.ALLOW, "lea", "fine", token=claim.token)
    assert testing.claim("sue") == []  # alone it would be known for what it is


def test_the_newest_answer_counts(store: Store, golden: GoldenDesk, testing: ReviewDesk) -> None:
    (claim,) = testing.claim("ann")
    testing.decide(claim.task_id, Action.ALLOW, "ann", "fine", token=claim.token)
    golden.add(5, "lea", "was wrong", Action.ALLOW)
    with store.reading() as connection:
        assert [each.golden.action for each in answers(connection)] == [Action.ALLOW]
    golden.withdraw(5, "lea", "unclear")
    assert [each.task_id for each in golden.items("lea")] == [4]
    with store.reading() as connection:
        assert answers(connection) == []


def test_refusals(store: Store, golden: GoldenDesk, testing: ReviewDesk, desk: ReviewDesk) -> None:
    (claim,) = testing.claim("ann")
    desk.close([6], "lea", "test", confirm=1)
    refused: list[tuple[type[QueueError], str, Any]] = [
        (GoldenError, "is open; decide it", lambda: golden.add(1, "lea", "x", Action.BLOCK)),
        (GoldenError, "no decision to take", lambda: golden.add(6, "lea", "x")),
        (GoldenError, "is a copy", lambda: golden.add(claim.task_id, "lea", "x", Action.BLOCK)),
        (GoldenError, "is no golden one", lambda: golden.withdraw(6, "lea", "x")),
        (WrongRoleError, "takes the role lead; sue is senior", lambda: golden.add(5, "sue", "x")),
        (WrongRoleError, "takes the role lead", lambda: golden.items("ann")),
        (MissingReasonError, "needs a reason", lambda: golden.add(5, "lea", " ")),
        (WrongActionError, "allow or block", lambda: golden.add(5, "lea", "x", Action.REVIEW)),
        (QueueError, "there is no task 999", lambda: golden.add(999, "lea", "x")),
        (QueueError, "no label 'hat'", lambda: golden.add(5, "lea", "x", Action.BLOCK, {"hat": True})),
    ]
    for kind, said, act in refused:
        with pytest.raises(kind, match=said):
            act()
    golden.add(6, "lea", "closed, with an answer", Action.BLOCK)


def test_many_at_once(store: Store, golden: GoldenDesk, database_url: str) -> None:
    store.record(start(store), make_batch(range(100), (Action.REVIEW,)))
    before = Queue(store).stats()
    run_together(workers.claim_golden, database_url, 6, 3)
    stats = Queue(store).stats()
    with store.reading() as connection:
        given = answers(connection)
        made = connection.execute(select(func.count()).select_from(TrialRow)).scalar_one()
    assert given
    assert len({(each.reviewer, each.task_id) for each in given}) == len(given) == made  # to nobody twice
    assert sum(stats.decisions.values()) == sum(before.decisions.values()) + 104
    assert stats.waiting == 0
