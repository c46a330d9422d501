"""Agreement, accuracy and reversals: the figures against values worked out by hand, and what they count."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from moderator.review import ReviewDesk
from moderator.review.agreement import Measure, kappa, measures, wilson
from moderator.review.golden_desk import GoldenDesk
from moderator.settings import Review
from moderator.store import Store, clock
from moderator.types import Action
from tests.review.conftest import ROLES

B, A = Action.BLOCK, Action.ALLOW


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        # both yes 20, both no 15, one of them 5 and 10: observed 0.7, expected 0.5
        ([(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15, 0.4),
        # 45, 15, 25, 15: observed 0.6, expected 0.54; and 25, 35, 5, 35: observed 0.6, expected 0.46
        ([(1, 1)] * 45 + [(1, 0)] * 15 + [(0, 1)] * 25 + [(0, 0)] * 15, 0.06 / 0.46),
        ([(1, 1)] * 25 + [(1, 0)] * 35 + [(0, 1)] * 5 + [(0, 0)] * 35, 0.14 / 0.54),
        ([(1, 1), (0, 0)], 1.0),
        ([(1, 0), (0, 1)], -1.0),
        ([(1, 1), (1, 0)], 0.0),
        ([(1, 0)], 0.0),
        ([(1, 1)], None),  # one class only: chance alone would agree on everything
        ([(1, 1)] * 100, None),
        ([], None),
    ],
)
def test_kappa_by_hand(pairs: list[tuple[int, int]], value: float | None) -> None:
    found, low, high = kappa(pairs)
    if value is None:
        assert (found, low, high) == (None, None, None)
        return
    assert found == pytest.approx(value)
    assert low is not None
    assert high is not None
    assert -1 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= 1 + 1e-9
    assert low < high


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    one, other = zip(*pairs, strict=True)
    value, low, high = kappa(pairs)
    if len(set(one) | set(other)) == 1:
        assert value is None
        return
    assert value == pytest.approx(cohen_kappa_score(one, other))
    assert low is not None
    assert high is not None
    assert value is not None
    assert low <= value <= high


def test_wilson_by_hand() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.7224672, 1), abs=1e-6)


def test_the_interval_holds_the_true_kappa() -> None:
    """Two who each say what is true nine times in ten; true kappa 0.64. Of 95 in 100, no fewer than 92."""
    draw = random.Random(0)
    held = 0
    for _ in range(1000):
        truth = [draw.random() < 0.5 for _ in range(60)]
        pairs = [(fact ^ (draw.random() < 0.1), fact ^ (draw.random() < 0.1)) for fact in truth]
        _, low, high = kappa(pairs)
        held += low is not None and high is not None and low <= 0.64 <= high
    assert held >= 920


def found(store: Store, since: int = 0) -> dict[tuple[str, str, str | None, str | None], Measure]:
    with store.reading() as connection:
        return {(each.kind, each.on, each.reviewer, each.other): each for each in measures(connection, since)}


def test_pairs_are_first_and_blind_second_decisions(store: Store, desk: ReviewDesk) -> None:
    for task, first, second in ((1, B, B), (2, A, A), (3, B, A), (4, B, B)):
        desk.decide(task, first, "ann", "x", labels={"hate": True, "spam": False})
        desk.second_review(task, "sue", "a sample")
        desk.decide(task, second, "bob" if task < 4 else "sam", "x", labels={"hate": first is B})
    desk.decide(3, A, "sue", "settled")  # was escalated: no second opinion
    figures = found(store)
    whole = figures["agreement", "action", None, None]
    assert (whole.count, whole.hits) == (4, 3)
    assert whole.value == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))  # ann blocks 3, the others 2 of 4
    pair = figures["agreement", "action", "ann", "bob"]
    assert (pair.count, pair.hits) == (3, 2)
    assert pair.value == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert figures["agreement", "action", "bob", None].count == 3
    assert figures["agreement", "action", "ann", "sam"].value is None  # one pair, one class
    assert (
        figures["agreement", "hate", "ann", None].count,
        figures["agreement", "hate", "ann", None].hits,
    ) == (4, 3)
    assert not [key for key in figures if key[1] == "spam" or "sue" in key]
    assert found(store, clock.now() + 10**9) == {}


def test_what_is_no_pair(store: Store, desk: ReviewDesk) -> None:
    desk.decide(1, B, "ann", "x")
    desk.appeal(1, "the author", "no")
    desk.uphold(1, "sue", "clear")
    desk.reopen(1, "lea", "again")
    desk.decide(1, A, "bob", "x")  # he could see the first
    desk.appeal(1, "a reader", "no")
    desk.reverse(1, "sam", "clear")
    desk.second_review(1, "sue", "a sample")
    desk.decide(1, B, "lea", "x")  # the one in force answered an appeal
    figures = found(store)
    assert not [key for key in figures if key[0] == "agreement"]
    reversals = {key[2]: (each.hits, each.count) for key, each in figures.items()}
    assert reversals == {"ann": (0, 1), "bob": (1, 1)}


def test_a_second_review_interrupted_by_an_appeal_is_none(store: Store, desk: ReviewDesk) -> None:
    desk.decide(1, B, "ann", "x")
    desk.second_review(1, "sue", "a sample")
    claim = desk.claim_task(1, "bob")
    desk.release(1, "bob", claim.token)
    desk.appeal(1, "the author", "no")
    desk.uphold(1, "sue", "clear")
    assert [key[0] for key in found(store)] == ["reversal"]


def test_accuracy_on_golden_items(store: Store, desk: ReviewDesk) -> None:
    golden = GoldenDesk(store)
    for task, action in ((1, B), (3, A)):
        desk.decide(task, action, "sam", "x")
        golden.add(task, "lea", "x", labels={"hate": action is B})
    testing = ReviewDesk(store, roles=ROLES, terms=Review(golden_share=1.0, second_review_share=1.0))
    for name in ("ann", "bob"):
        for claim in testing.claim(name, 2):
            said = {"hate": True, "spam": True}
            testing.decide(claim.task_id, B, name, "x", token=claim.token, labels=said)
            with pytest.raises(Exception, match="already decided"):  # a copy gets no second review
                testing.claim_task(claim.task_id, "sue")
    figures = found(store)
    assert {key[:3] for key in figures} == {
        ("accuracy", on, name) for on in ("action", "hate") for name in ("ann", "bob")
    }
    for each in figures.values():
        assert (each.count, each.hits, each.value) == (2, 1, 0.5)
        assert each.low is not None
        assert math.isclose(each.low, 0.0945312, abs_tol=1e-6)
