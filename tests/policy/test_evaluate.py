from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.policy import Outcome
from moderator.types import Action, RuleMatch
from tests.policy.samples import LABELS, evaluator, scores

UNIT = st.floats(0.0, 1.0)
ALL_SCORES = st.fixed_dictionaries(dict.fromkeys(LABELS, UNIT))
MONOTONE = evaluator(
    "hate >= 0.9", "spam >= 0.5 && lexicon_hate >= 0.3", "toxicity + profanity >= 1.2 || sexual > 0.7"
)
GUARDED = evaluator('has(item.surface) && item.surface == "kids" && hate >= 0.3')


def judge(
    *conditions: str,
    context: Mapping[str, Any] | None = None,
    signals: Mapping[str, float] | None = None,
    degraded: tuple[str, ...] = (),
    **given: float,
) -> Outcome:
    return evaluator(*conditions).evaluate(scores(**given), signals or {}, context or {}, degraded)


def test_the_severest_action_wins_and_every_match_is_recorded() -> None:
    outcome = judge("hate >= 0.5", "hate >= 0.8", "spam >= 0.5", hate=0.9)
    assert outcome.action is Action.BLOCK
    assert outcome.matches == (RuleMatch("r0", Action.BLOCK), RuleMatch("r1", Action.BLOCK))
    assert outcome.degraded == ()


def test_without_a_match_otherwise_decides() -> None:
    assert judge("hate >= 0.5").action is Action.ALLOW
    assert evaluator("hate >= 0.5", otherwise="review").evaluate(scores(), {}, {}, ()).action is Action.REVIEW


def test_signals_default_to_zero_and_numpy_numbers_are_numbers() -> None:
    assert judge("lexicon_hate >= 0.5").action is Action.ALLOW
    half: Any = np.float32(0.5)
    assert judge("lexicon_hate >= 0.5", signals={"lexicon_hate": half}).action is Action.BLOCK


def test_degraded_lifts_the_action_and_never_lowers_it() -> None:
    assert judge("hate >= 0.5", degraded=("image[0] broken",)).action is Action.REVIEW
    assert judge("hate >= 0.5", hate=0.6, degraded=("image[0] broken",)).action is Action.BLOCK
    blocking = evaluator("hate >= 0.5", on_degraded="block")
    assert blocking.evaluate(scores(), {}, {}, ("late",)).action is Action.BLOCK


def test_an_absent_context_key_degrades_unless_guarded() -> None:
    outcome = judge('item.surface == "kids"')
    assert outcome.action is Action.REVIEW
    assert outcome.degraded == (
        "rule 'r0' cannot be evaluated: item has no 'surface' (guard it with has(item.…))",
    )
    assert judge('has(item.surface) && item.surface == "kids"').action is Action.ALLOW


def test_nothing_judged_leaves_rules_over_signals_and_context() -> None:
    policy = evaluator(
        "hate >= 0.5", "lexicon_hate >= 0.5", "hate >= 0.9 || lexicon_hate >= 0.9", "item.kids"
    )
    outcome = policy.evaluate({}, {"lexicon_hate": 0.6}, {"kids": True}, ())
    assert [match.rule for match in outcome.matches] == ["r1", "r3"]
    assert outcome.degraded == ("nothing in the item could be judged",)
    outcome = policy.evaluate({}, {"lexicon_hate": 1.0}, {"kids": False}, ("audio[0] cannot be judged",))
    assert [match.rule for match in outcome.matches] == ["r1", "r2"]
    assert outcome.degraded == ("audio[0] cannot be judged",)


@pytest.mark.parametrize(
    "condition", ["hate >= 0.5", "hate < 0.5", "!(hate < 0.5)", "hate != 0.5", "spam > 0.9"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, -0.1])
def test_unusable_scores_and_signals_never_pass(condition: str, value: float) -> None:
    outcome = judge(condition, hate=value)
    assert outcome.action is not Action.ALLOW
    assert outcome.degraded[0].startswith("score 'hate' is ")
    outcome = judge(condition.replace("hate", "lexicon_hate"), signals={"lexicon_hate": value})
    assert outcome.action is not Action.ALLOW
    assert outcome.degraded[0].startswith("signal 'lexicon_hate' is ")
    assert judge(condition, signals={"undeclared": math.nan}).degraded


def test_what_is_said_of_unusable_values() -> None:
    text: Any = "0.5"
    assert judge("hate > 0.5", hate=math.nan).degraded == ("score 'hate' is nan, not a finite number",)
    assert judge("hate > 0.5", hate=1.5).degraded == ("score 'hate' is 1.5, outside [0, 1]",)
    assert judge("hate > 0.5", hate=text).degraded == ("score 'hate' is '0.5', not a finite number",)
    assert judge("hate > 0.5", signals={"word_count": 1001}).degraded == (
        "signal 'word_count' is 1001, outside [0, 1000]",
    )


def test_a_signal_cannot_stand_in_for_a_label_nor_a_score_for_a_signal() -> None:
    outcome = evaluator("hate >= 0.5").evaluate({}, {"hate": 1.0}, {}, ("late",))
    assert outcome.matches == ()
    assert judge("lexicon_hate >= 0.5", lexicon_hate=1.0).matches == ()


def test_a_missing_label_degrades() -> None:
    partial = {"spam": 0.1}
    outcome = evaluator("hate >= 0.5").evaluate(partial, {}, {}, ())
    assert (outcome.action, outcome.degraded) == (Action.REVIEW, ("label 'hate' has no score",))


class _Odd:
    pass


_LOOP: list[Any] = []
_LOOP.append(_LOOP)
_DEEP: dict[str, Any] = {}
_inner = _DEEP
for _ in range(500):
    _inner["a"] = _inner = {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (_Odd(), "a _Odd is not a value CEL knows"),
        (_LOOP, "it is nested more than 16 deep"),
        (_DEEP, "it is nested more than 16 deep"),
        (list(range(20_000)), "it holds more than 10000 values"),
        ("\ud800", "it holds a lone surrogate, which is not text"),
        ({None: 1}, "a key of it is a NoneType, not text"),
        ({2**70: 1}, "a key of it is too large a number"),
        (2**70, None),
        ({"a", "b"}, None),
        (np.float32(0.5), None),
        (b"x", None),
    ],
)
def test_contexts_of_any_content(value: Any, reason: str | None) -> None:
    outcome = GUARDED.evaluate(scores(), {}, {"odd": value, "surface": "feed"}, ())
    if reason is not None:
        assert outcome.degraded == (f"context 'odd' cannot be read by rules: {reason}",)
        assert outcome.action is Action.REVIEW
    assert evaluator("hate >= 0.5").evaluate(scores(), {}, {"odd": value}, ()).action is Action.ALLOW


def test_a_result_that_is_no_truth_value_degrades() -> None:
    outcome = judge("item.kids", context={"kids": "yes"})
    assert outcome.degraded == ("rule 'r0' cannot be evaluated: it gives 'yes', not true or false",)


@given(ALL_SCORES, UNIT, st.lists(st.text(min_size=1), min_size=1))
def test_a_reason_never_lowers_the_action(
    given_scores: dict[str, float], signal: float, reasons: list[str]
) -> None:
    signals = {"lexicon_hate": signal}
    before = MONOTONE.evaluate(given_scores, signals, {}, ())
    after = MONOTONE.evaluate(given_scores, signals, {}, reasons)
    assert after.action.severity >= max(before.action.severity, Action.REVIEW.severity)
    assert after.matches == before.matches
    assert set(after.degraded) == set(reasons)


@given(ALL_SCORES, UNIT, st.sampled_from(LABELS), UNIT)
def test_a_higher_score_never_lowers_the_action(
    given_scores: dict[str, float], signal: float, label: str, rise: float
) -> None:
    signals = {"lexicon_hate": signal}
    before = MONOTONE.evaluate(given_scores, signals, {}, ())
    raised = given_scores | {label: min(1.0, given_scores[label] + rise)}
    after = MONOTONE.evaluate(raised, signals, {}, ())
    assert after.action.severity >= before.action.severity
    assert {match.rule for match in after.matches} >= {match.rule for match in before.matches}


@given(ALL_SCORES, st.sampled_from(LABELS), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_score_that_is_no_number_never_allows(
    given_scores: dict[str, float], label: str, value: float
) -> None:
    outcome = MONOTONE.evaluate(given_scores | {label: value}, {}, {}, ())
    assert outcome.action is not Action.ALLOW
    assert outcome.degraded


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
        ),
    )
)
def test_no_context_breaks_an_evaluation(context: dict[str, Any]) -> None:
    outcome = GUARDED.evaluate(scores(hate=0.1), {}, context, ())
    assert (outcome.action is Action.ALLOW) == (not outcome.degraded)
