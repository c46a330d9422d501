"""Strikes are decisions in force to block, for a time, by author."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moderator.review import ReviewDesk
from moderator.review.golden_desk import GoldenDesk
from moderator.review.strikes import active, against_author_of, by_author
from moderator.settings import Review
from moderator.store import Store, clock
from moderator.types import Action, Item
from tests.review.conftest import ROLES
from tests.store.samples import make_verdict, start

TERMS = Review(strike_days=30)
DAY = 86_400 * 1_000_000
AUTHORS = ("eve", "eve", "eve", "mal", None, 7, ["x"])


@pytest.fixture
def posts(database_url: str) -> Iterator[Store]:
    """Tasks 1 to 3 are on posts of eve, 4 of mal, 5 and 7 of nobody, 6 of 7; 8 on a record not readable."""
    with Store.open(database_url) as store:
        items = [Item.of(text="x", context={"author": author} if author else {}) for author in AUTHORS]
        verdict = make_verdict("p", Action.BLOCK, 0.5)
        batch = [(number, item, "p", verdict, True) for number, item in enumerate([*items, None])]
        store.record(start(store), batch)
        yield store


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The database's clock, to be set."""
    at = [1_800_000_000_000_000]
    monkeypatch.setattr(clock, "database_now", lambda connection: at[0])
    return at


@pytest.fixture
def desk(posts: Store) -> ReviewDesk:
    return ReviewDesk(posts, roles=ROLES)


def tasks(store: Store, author: str | None = None) -> dict[str, list[int]]:
    with store.reading() as connection:
        found = by_author(active(connection, TERMS, author))
    return {name: [strike.task_id for strike in strikes] for name, strikes in found.items()}


def block(desk: ReviewDesk, *numbers: int) -> None:
    for number in numbers:
        desk.decide(number, Action.BLOCK, "ann", "clear")


def test_only_what_people_blocked_counts(posts: Store, desk: ReviewDesk) -> None:
    assert tasks(posts) == {}  # the machine would block them all
    desk.decide(3, Action.ALLOW, "ann", "fine")
    block(desk, 4, 2, 1, 5, 6, 7, 8)
    assert tasks(posts) == {"eve": [1, 2], "7": [6], "mal": [4]} or tasks(posts)["eve"] == [2, 1]
    assert list(tasks(posts)) == ["eve", "7", "mal"]
    assert tasks(posts, "mal") == {"mal": [4]}
    assert tasks(posts, "nobody") == {}


def test_an_appeal_leaves_it_until_it_is_answered(posts: Store, desk: ReviewDesk) -> None:
    block(desk, 1, 2)
    for task in (1, 2):
        desk.appeal(task, "eve", "no")
    assert sorted(tasks(posts)["eve"]) == [1, 2]
    desk.uphold(1, "sue", "clear")
    desk.reverse(2, "sue", "a song")
    assert tasks(posts) == {"eve": [1]}


def test_deciding_anew_takes_it_back(posts: Store, desk: ReviewDesk) -> None:
    block(desk, 1, 2, 4)
    for task in (1, 2, 4):
        desk.reopen(task, "lea", "again")
    assert tasks(posts) == {}
    desk.escalate(1, "ann", "hard")
    assert tasks(posts) == {}
    desk.close([4], "lea", "as before", confirm=1)  # the decision stands
    desk.decide(2, Action.ALLOW, "bob", "fine")
    assert tasks(posts) == {"mal": [4]}
    desk.decide(1, Action.BLOCK, "sue", "clear")
    assert tasks(posts) == {"eve": [1], "mal": [4]}


def test_a_second_opinion_leaves_it_until_it_is_settled(posts: Store, desk: ReviewDesk) -> None:
    block(desk, 1)
    desk.second_review(1, "sue", "a sample")
    assert tasks(posts) == {"eve": [1]}
    desk.decide(1, Action.ALLOW, "bob", "fine")
    assert tasks(posts) == {"eve": [1]}
    desk.decide(1, Action.ALLOW, "sue", "fine")
    assert tasks(posts) == {}


def test_it_counts_for_a_time_from_the_first_decision(posts: Store, desk: ReviewDesk, now: list[int]) -> None:
    block(desk, 1)
    now[0] += 20 * DAY
    block(desk, 2)
    desk.appeal(1, "eve", "no")
    desk.uphold(1, "sue", "clear")
    assert tasks(posts) == {"eve": [1, 2]}
    now[0] += 10 * DAY
    assert tasks(posts) == {"eve": [2]}
    now[0] += 20 * DAY
    assert tasks(posts) == {}


def test_a_reviewer_sees_those_for_other_posts(posts: Store, desk: ReviewDesk) -> None:
    block(desk, 1, 2)

    def seen(task: int) -> list[int]:
        with posts.reading() as connection:
            return [strike.task_id for strike in against_author_of(connection, task, TERMS)]

    assert (sorted(seen(3)), seen(1), seen(2)) == ([1, 2], [2], [1])
    assert (seen(4), seen(5), seen(8), seen(99)) == ([], [], [], [])
    GoldenDesk(posts).add(1, "lea", "clear")
    (copy,) = ReviewDesk(posts, terms=Review(golden_share=1.0)).claim("bob")
    assert seen(copy.task_id) == [2]  # nor what was decided on the task a copy was made from
    desk.decide(copy.task_id, Action.BLOCK, "bob", "clear", token=copy.token)
    assert sorted(seen(3)) == [1, 2]
