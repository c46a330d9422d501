"""The queues of a policy: checked when it is loaded, first match wins, restricted ones fail closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.errors import PolicyError
from moderator.policy import PolicyRouter, load_cases, run_cases
from moderator.routing import Route, Weights
from moderator.types import Action, Item, Role, Verdict
from tests.policy.samples import LABELS, SIGNALS, document, load, rule_lines, scores

RULES = document(rule_lines("hate >= 0.5", then="review"))
QUEUES = """queues:
  - {name: self-harm, when: self_harm >= 0.3 || lexicon_hate > 0.9, due: 4h, role: senior, lease: 20m}
  - {name: kids, when: 'item.surface == "kids"', due: 1d, role: lead}
  - {name: again, when: 'action == "block"', due: 30m}
  - {name: broken, when: degraded, due: 2w}
"""


def verdict(action: Action = Action.REVIEW, degraded: tuple[str, ...] = (), **given: float) -> Verdict:
    return Verdict("p", action, scores(**given), degraded=degraded)


def queue_of(text: str, verdict: Verdict, context: dict[str, Any] | None = None) -> Route:
    return PolicyRouter(load(RULES + text), SIGNALS)(Item.of(context=context), verdict)[0]


def test_the_first_queue_whose_condition_holds_takes_a_task() -> None:
    elsewhere = {"surface": "feed"}
    assert queue_of(QUEUES, verdict(self_harm=0.3), elsewhere) == Route(
        "self-harm", timedelta(hours=4), Role.SENIOR, timedelta(minutes=20)
    )
    assert queue_of(QUEUES, verdict(self_harm=0.3), {"surface": "kids"}).queue == "self-harm"
    assert queue_of(QUEUES, verdict(), {"surface": "kids"}).queue == "kids"
    assert queue_of(QUEUES, verdict(Action.BLOCK), elsewhere).due == timedelta(minutes=30)
    assert queue_of(QUEUES, verdict(degraded=("late",)), elsewhere).queue == "broken"
    assert queue_of(QUEUES, verdict(), elsewhere) == Route()
    assert queue_of(QUEUES + "  - {name: default, due: 2d}\n", verdict(), elsewhere).due == timedelta(days=2)
    assert queue_of("", verdict(hate=1.0)) == Route("default", timedelta(days=7), Role.REVIEWER, None)


def test_what_cannot_be_evaluated_goes_on_unless_the_queue_is_restricted() -> None:
    assert queue_of(QUEUES, verdict()).queue == "kids"  # no key "surface"
    assert queue_of(QUEUES.replace("role: lead", "role: reviewer"), verdict()).queue == "default"
    unjudged = Verdict("p", Action.REVIEW, {}, degraded=("no parts",))
    assert queue_of(QUEUES, unjudged, {"surface": "feed"}).queue == "broken"
    signal = Verdict("p", Action.REVIEW, {}, signals={"lexicon_hate": 1.0}, degraded=("no parts",))
    assert queue_of(QUEUES, signal).queue == "self-harm"
    unknown = Verdict("p", Action.REVIEW, scores(self_harm=float("nan")))
    assert queue_of(QUEUES, unknown, {"surface": "feed"}).queue == "self-harm"
    assert PolicyRouter(load(RULES + QUEUES), SIGNALS)(None, verdict(degraded=("unread",)))[0].queue == "kids"


def test_everything_wrong_with_queues_is_said() -> None:
    text = """queues:
  - {name: a b, when: hate > 0.5}
  - {name: b}
  - {name: c, when: hate > 5, due: soon}
  - {name: c, when: hatred > 0.5, role: boss}
  - {name: default, when: hate > 0.5, due: 0h}
  - {name: d, when: degraded && action == "block", lease: 2d}
  - {name: e, when: 'true', reviewers: [ann]}
priority:
  severity: {hatred: 2, hate: many, spam: -1}
  uncertainty: .inf
  doubling: 31d
  reech: views
"""
    with pytest.raises(PolicyError) as caught:
        load(RULES + text)
    first = len(RULES.splitlines()) + 1
    assert [each.removeprefix("p.yaml:") for each in caught.value.problems] == [
        f"{first + line}: {said}"
        for line, said in (
            (1, "the queue's name 'a b' may hold only letters, digits, '-', '_' and '.', at most 100"),
            (2, "queue 'b' lacks 'when'"),
            (3, "queue 'c': threshold out of range: 'hate > 5' can never hold, hate lies in [0, 1]"),
            (3, "due must be a time such as 30m, 4h, 2d or 1w, at most 3650d, got 'soon'"),
            (4, "queue 'c' has the name of the queue on line " + str(first + 3)),
            (4, "queue 'c': unknown label or signal 'hatred'; did you mean 'hate'?"),
            (4, "role: unknown role 'boss'; known are reviewer, senior, lead"),
            (5, "queue 'default' takes all that is left; leave out 'when'"),
            (5, "due must be a time such as 30m, 4h, 2d or 1w, at most 3650d, got '0h'"),
            (6, "queue 'd' comes after 'default', which takes all that is left"),
            (6, "lease must be a time such as 30m, 4h, 2d or 1w, at most 1d, got '2d'"),
            (7, "unknown key 'reviewers' in a queue; known are name, when, due, role, lease"),
            (7, "queue 'e' comes after 'default', which takes all that is left"),
            (7, "queue 'e': condition is constant true: it must depend on a label, a signal or item"),
            (9, "severity: unknown label or signal 'hatred'; did you mean 'hate'?"),
            (9, "severity of hate must be a number from 0.001 to 1000"),
            (9, "severity of spam must be a number from 0.001 to 1000"),
            (10, "uncertainty must be a number from 0 to 1000"),
            (11, "doubling must be a time such as 30m, 4h, 2d or 1w, at most 30d, got '31d'"),
            (12, "unknown key 'reech' in priority; did you mean 'reach'?"),
        )
    ]


def test_a_policy_depends_on_the_signals_its_queues_name() -> None:
    policy = load(RULES + QUEUES)
    assert policy.signals == {"lexicon_hate"}
    assert policy.labels == {"hate", "self_harm"}
    assert policy.uses_context


def test_cases_say_which_queue() -> None:
    policy = load(RULES + QUEUES.replace("item.surface", "has(item.surface) && item.surface"))
    text = """
- {name: a, scores: {hate: 0.5, self_harm: 0.4}, expect: review, queue: self-harm}
- {name: b, scores: {hate: 0.5}, expect: review, queue: self-harm}
- {name: c, expect: allow, queue: default}
"""
    cases = load_cases(text.encode(), policy, LABELS, SIGNALS, "c.yaml")
    results = run_cases(policy, cases, SIGNALS)
    assert [result.queue for result in results] == ["self-harm", "default", None]
    assert [result.problem for result in results] == [
        "",
        "expected the queue self-harm, got default",
        "expected the queue default, got no task",
    ]
    with pytest.raises(PolicyError, match="policy 'p' has no queue 'x'; known are self-harm, kids, again"):
        load_cases(b"- {name: a, expect: review, queue: x}", policy, LABELS, SIGNALS, "c.yaml")


def test_weights() -> None:
    weights = load(
        RULES + "priority:\n  {severity: {spam: 2, lexicon_hate: 8}, reach: views, doubling: 12h}"
    ).weights
    half = timedelta(hours=12)
    plain = weights.head_start(verdict(toxicity=1.0), {})
    assert plain == timedelta(0)
    assert weights.head_start(verdict(spam=1.0), {}) == half
    assert weights.head_start(verdict(self_harm=1.0), {}) == half * 2  # the default
    signal = Verdict("p", Action.REVIEW, {}, signals={"lexicon_hate": 1.0, "word_count": 900.0})
    assert weights.head_start(signal, {}) == half * 3
    assert weights.head_start(verdict(Action.BLOCK, spam=1.0), {}) == half * 3
    assert weights.head_start(verdict(toxicity=1.0), {"views": 9}) == half
    assert weights.head_start(verdict(toxicity=1.0), {"views": 10**400}) == half * 4


@settings(deadline=None)
@given(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.lists(st.integers())))
def test_no_context_breaks_the_reach_or_lowers_it(people: Any) -> None:
    weights = Weights(reach="views")
    assert weights.head_start(verdict(hate=0.7), {"views": people}) >= weights.head_start(
        verdict(hate=0.7), {}
    )


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_score_is_never_less_urgent(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert Weights().head_start(verdict(hate=low), {}) <= Weights().head_start(verdict(hate=high), {})
