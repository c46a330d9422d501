"""What a reviewer sees of graphic tasks within a shift is bounded, also for claims made at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select

from moderator.errors import SettingsError
from moderator.review import ReviewDesk
from moderator.review.exposure import Graphic, seen_lately
from moderator.review.golden_desk import GoldenDesk
from moderator.review.refusals import ExposureSpentError
from moderator.settings import Review
from moderator.store import Store, clock
from moderator.store.tables import ReviewEventRow
from moderator.types import Action, Item
from tests.review import workers
from tests.store.samples import make_verdict, start
from tests.store.test_concurrency import run_together

TERMS = Review(graphic_per_shift=2, shift_hours=8)
HOUR = 3600 * 1_000_000


@pytest.fixture
def mixed(database_url: str) -> Iterator[Store]:
    """Tasks 1 to 4 are graphic and the most urgent, 5 to 7 are not."""
    with Store.open(database_url) as opened:
        fill(opened, 4, 3)
        yield opened


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The database's clock, to be set."""
    at = [1_800_000_000_000_000]
    monkeypatch.setattr(clock, "database_now", lambda connection: at[0])
    return at


def fill(store: Store, graphic: int, calm: int) -> None:
    batch = []
    for position in range(graphic + calm):
        action = Action.BLOCK if position < graphic else Action.REVIEW
        verdict = make_verdict(f"p{position}", action, 0.4)
        if position < graphic:
            verdict = replace(verdict, scores={**verdict.scores, "violence": 0.5})
        batch.append((position, Item.of(text=str(position)), f"p{position}", verdict, True))
    store.record(start(store), batch)


def ids(desk: ReviewDesk, name: str, count: int = 1) -> list[int]:
    return [claim.task_id for claim in desk.claim(name, count)]


def test_a_claim_passes_over_what_would_be_too_much(mixed: Store, now: list[int]) -> None:
    desk = ReviewDesk(mixed, terms=TERMS)
    assert ids(desk, "ann", 4) == [1, 2, 5, 6]
    now[0] += 1_000_000
    assert ids(desk, "ann") == [7]
    with pytest.raises(
        ExposureSpentError, match="only graphic tasks are waiting: ann has claimed 2 graphic tasks"
    ):
        desk.claim("ann")
    assert ids(desk, "bob", 9) == [3, 4]
    assert ids(desk, "bob", 9) == []
    with mixed.reading() as connection:
        assert seen_lately(connection, TERMS) == {"ann": 2, "bob": 2}


def test_what_was_seen_counts_for_a_shift(mixed: Store, now: list[int]) -> None:
    desk = ReviewDesk(mixed, terms=TERMS)
    assert ids(desk, "ann") == [1]
    desk.release(1, "ann", 1)
    now[0] += 4 * HOUR
    assert ids(desk, "ann") == [1]  # seen once, as a task
    assert ids(desk, "ann") == [2]
    now[0] += 4 * HOUR - 1
    assert ids(desk, "ann", 2) == [5, 6]
    now[0] += 4 * HOUR + 1
    assert ids(desk, "ann", 4) == [1, 2, 5, 6]  # all leases have run out


def test_by_its_number_too(mixed: Store, now: list[int]) -> None:
    desk = ReviewDesk(mixed, terms=TERMS)
    claim = desk.claim_task(1, "ann")
    desk.decide(2, Action.BLOCK, "ann", "clear")
    for act in (lambda: desk.claim_task(3, "ann"), lambda: desk.decide(3, Action.BLOCK, "ann", "clear")):
        with pytest.raises(ExposureSpentError, match=r"task 3 is graphic: ann has claimed 2 .* another from"):
            act()
    desk.claim_task(5, "ann")
    desk.decide(1, Action.BLOCK, "ann", "clear", token=claim.token)  # what is held can be finished
    desk.reopen(2, "lea", "again")
    desk.claim_task(2, "ann")  # seen already


def test_golden_items_count_too(mixed: Store, now: list[int]) -> None:
    golden = GoldenDesk(mixed)
    for task in (1, 5):
        ReviewDesk(mixed).decide(task, Action.BLOCK, "sam", "clear")
        golden.add(task, "lea", "clear")
    desk = ReviewDesk(mixed, terms=replace(TERMS, golden_share=1.0, graphic_per_shift=1))
    assert (
        len(desk.claim("ann", 3)) == 3
    )  # 1 in the place of 2, 5 in the place of 6, then nothing is left to give
    with mixed.reading() as connection:
        assert seen_lately(connection, TERMS)["ann"] == 1
    assert len(desk.claim("ann", 3)) == 1
    with mixed.reading() as connection:
        assert seen_lately(connection, TERMS)["ann"] == 1


def test_claims_at_once_keep_to_the_budget(database_url: str) -> None:
    with Store.open(database_url) as store:
        fill(store, 60, 20)
    run_together(workers.claim_as_one, database_url, 6, 7)
    with Store.open(database_url) as store, store.reading() as connection:
        assert seen_lately(connection, TERMS) == {"ann": 7}
        taken = list(connection.execute(select(ReviewEventRow.task_id)).scalars())
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 27


def test_pictures_may_be_graphic_as_such(database_url: str) -> None:
    with Store.open(database_url) as store:
        calm = make_verdict("p", Action.REVIEW, 0.2)
        said = '"modality":"image"'
        items = [Item.of(text=said), Item.of(text="x", image=b"\x89PNG"), Item.of(video=b"mp4")]
        store.record(start(store), [(n, item, "p", calm, True) for n, item in enumerate(items)])
        terms = Review(graphic="image, video", graphic_per_shift=1)
        assert ids(ReviewDesk(store, terms=terms), "ann", 3) == [1, 2]


@pytest.mark.parametrize("said", ["sexual", "sexual=2", "sexual=nan", "audio", "a b=0.5", "=0.5", "x=y"])
def test_a_setting_that_cannot_be_read(said: str) -> None:
    with pytest.raises(SettingsError, match=r"review.graphic: .* is neither"):
        Graphic.of(said)


def test_nothing_is_graphic_where_nothing_is_said(mixed: Store) -> None:
    assert len(ids(ReviewDesk(mixed, terms=replace(TERMS, graphic="")), "ann", 9)) == 7
