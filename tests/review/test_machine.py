"""The table of states and acts: it allows what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import QueueError
from moderator.review import refusals
from moderator.review.machine import BACK, DECIDING, RULES, Act, ActKind, TaskState, held_for, transition
from moderator.types import Action, Decision, Role, Stage, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
PLACES = sorted({(rule.state, stage) for rule in RULES for stage in rule.stages})
DECISION = Decision(7, Action.BLOCK, "ann", "clear", "hate-block", NOW)


def make_state(name: State, stage: Stage = Stage.REVIEW) -> TaskState:
    """Task 7; where it is claimed, by bob with token 3 until LATER; where it was decided, by ann."""
    held = name is State.CLAIMED
    decided = name is State.DECIDED or stage in (Stage.SECOND, Stage.APPEAL)
    return TaskState(
        task_id=7,
        name=name,
        stage=stage,
        token=3,
        reviewer="bob" if held else None,
        lease_until=LATER if held else None,
        standing=DECISION if decided else None,
        deciders=frozenset({"ann"} if decided else ()),
        appeal_until=LATER if decided else None,
    )


def make_act(kind: ActKind, by: str = "bob", role: Role = Role.LEAD) -> Act:
    return Act(kind, by, role, NOW, token=3, until=LATER, reason="because", action=Action.BLOCK)


def test_every_place_and_act_is_either_in_the_table_or_refused() -> None:
    allowed = {(rule.act, rule.state, stage) for rule in RULES for stage in rule.stages}
    for state, stage in PLACES:
        for kind in ActKind:
            if (kind, state, stage) in allowed:
                after = transition(make_state(state, stage), make_act(kind))
                assert (after.name, after.stage) in {*PLACES, (State.CLOSED, Stage.REVIEW)}
                assert (after.reviewer is not None) is (after.name is State.CLAIMED)
            else:
                with pytest.raises(QueueError, match=r"task 7 (is|was)"):
                    transition(make_state(state, stage), make_act(kind))


def test_no_place_and_act_has_two_lines() -> None:
    lines = [(rule.act, rule.state, stage) for rule in RULES for stage in rule.stages]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("rule", RULES)
def test_each_line_asks_for_what_it_says(rule: object) -> None:
    assert isinstance(rule, type(RULES[0]))
    state, act = make_state(rule.state, rule.stages[0]), make_act(rule.act)
    if rule.role is not Role.REVIEWER:
        below = list(Role)[list(Role).index(rule.role) - 1]
        with pytest.raises(refusals.WrongRoleError, match=f"takes the role {rule.role}; bob is {below}"):
            transition(state, replace(act, role=below))
    if rule.reason:
        with pytest.raises(refusals.MissingReasonError, match=r"task 7: .* needs a reason; it is blank"):
            transition(state, replace(act, reason=" \n"))
    if rule.other:
        with pytest.raises(refusals.SameReviewerError, match=r"bob has decided on it already; .* another"):
            transition(replace(state, deciders=frozenset({"bob"})), act)
    if rule.held:
        for wrong in (replace(act, token=2), replace(act, token=None), replace(act, by="eve")):
            with pytest.raises(refusals.StaleClaimError, match=r"nothing was written\. Claim the task again"):
                transition(state, wrong)
        with pytest.raises(refusals.LeaseExpiredError, match="lease ran out at 2026-01-01 00:10:00 UTC"):
            transition(state, replace(act, at=LATER))


def test_claims_count_and_last() -> None:
    after = transition(make_state(State.OPEN), make_act(ActKind.CLAIM))
    assert (after.name, after.token, after.reviewer, after.lease_until) == (State.CLAIMED, 4, "bob", LATER)
    renewed = transition(after, replace(make_act(ActKind.RENEW), token=4, until=LATER + timedelta(minutes=1)))
    assert (renewed.token, renewed.lease_until) == (4, LATER + timedelta(minutes=1))


@pytest.mark.parametrize("stage", Stage)
def test_a_task_whose_lease_ran_out_is_back_where_it_waited(stage: Stage) -> None:
    state = make_state(State.CLAIMED, stage)
    with pytest.raises(refusals.AlreadyClaimedError, match=r"is claimed by bob until .* take another task"):
        transition(state, make_act(ActKind.CLAIM, "eve"))
    after = transition(state, replace(make_act(ActKind.CLAIM, "eve"), at=LATER))
    assert (after.reviewer, after.token, after.stage) == ("eve", 4, stage)
    released = transition(state, make_act(ActKind.RELEASE))
    assert (released.name, released.stage) == (BACK[stage], stage)


def test_a_second_opinion_that_differs_goes_to_a_senior() -> None:
    state = make_state(State.CLAIMED, Stage.SECOND)
    agreed = transition(state, make_act(ActKind.DECIDE))
    assert (agreed.name, agreed.stage) == (State.DECIDED, Stage.REVIEW)
    differs = transition(state, replace(make_act(ActKind.DECIDE), action=Action.ALLOW))
    assert (differs.name, differs.stage) == (State.ESCALATED, Stage.ESCALATION)
    assert differs.standing == DECISION
    for name in ("ann", "bob"):
        with pytest.raises(refusals.SameReviewerError):
            transition(differs, make_act(ActKind.CLAIM, name))


def test_appeals_are_answered_by_another_and_in_time() -> None:
    decided = make_state(State.DECIDED)
    with pytest.raises(refusals.AppealExpiredError, match="the time to appeal ended at 2026-01-01 00:10:00"):
        transition(decided, replace(make_act(ActKind.APPEAL, "author"), at=LATER + timedelta(seconds=1)))
    appealed = transition(decided, make_act(ActKind.APPEAL, "author"))
    claimed = transition(appealed, make_act(ActKind.CLAIM))
    upheld = transition(claimed, replace(make_act(ActKind.UPHOLD), token=4))
    reversed_ = transition(claimed, replace(make_act(ActKind.REVERSE), token=4))
    assert upheld.standing and reversed_.standing
    assert (upheld.name, upheld.standing.action) == (State.CLOSED, Action.BLOCK)
    assert (reversed_.name, reversed_.standing.action) == (State.DECIDED, Action.ALLOW)


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        (State.OPEN, ActKind.UPHOLD, r"task 7 is open; to uphold takes one that is claimed \(appeal\)"),
        (
            State.DECIDED,
            ActKind.DECIDE,
            "task 7 was already decided: block by ann at 2026-01-01 00:00:00 UTC",
        ),
        (State.DECIDED, ActKind.REVERSE, "task 7 is decided; to reverse takes"),
    ],
)
def test_an_act_done_at_once_is_refused_in_its_own_words(state: State, kind: ActKind, said: str) -> None:
    with pytest.raises(refusals.WrongStateError, match=said):
        held_for(make_state(state), make_act(ActKind.CLAIM), make_act(kind))


@given(st.lists(st.tuples(st.sampled_from(ActKind), st.sampled_from(["ann", "bob", "eve"]),
                          st.sampled_from(Role), st.sampled_from([Action.ALLOW, Action.BLOCK]),
                          st.integers(0, 700)), max_size=30))  # fmt: skip
def test_whatever_is_done_a_decision_stays_and_tokens_only_grow(
    acts: list[tuple[ActKind, str, Role, Action, int]],
) -> None:
    state, now = TaskState(7, State.OPEN), NOW
    for kind, by, role, action, seconds in acts:
        now += timedelta(seconds=seconds)
        until = now + timedelta(seconds=600)
        act = Act(kind, by, role, now, state.token, until, "because", action)
        try:
            after = transition(state, act)
        except QueueError:
            continue
        assert after.token == state.token + (kind is ActKind.CLAIM)
        assert after.deciders >= state.deciders
        assert (after.standing is None) is (not after.deciders)
        assert (by in after.deciders) >= (kind in DECIDING)
        if after.name is State.DECIDED:
            assert after.standing is not None
        state = after
