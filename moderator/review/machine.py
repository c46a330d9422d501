"""The states of a review task and what leads from one to the next: no database, no clock, no settings.

``RULES`` is the whole table, which docs/review.md repeats; ``transition`` applies it. A claim whose lease
has run out counts as if the task had been put back.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from moderator.review.refusals import (
    AlreadyClaimedError,
    AlreadyDecidedError,
    AppealExpiredError,
    LeaseExpiredError,
    MissingReasonError,
    RestrictedQueueError,
    SameReviewerError,
    StaleClaimError,
    WrongActionError,
    WrongRoleError,
    WrongStateError,
)
from moderator.routing import Route
from moderator.types import Action, Decision, Role, Stage, State


class ActKind(enum.StrEnum):
    """What can be done with a task."""

    CLAIM = "claim"
    RENEW = "renew"
    RELEASE = "release"
    SKIP = "skip"
    MOVE = "move"
    DECIDE = "decide"
    ESCALATE = "escalate"
    SECOND_REVIEW = "second review"
    APPEAL = "appeal"
    UPHOLD = "uphold"
    REVERSE = "reverse"
    REOPEN = "reopen"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class TaskState:
    """All of a task that decides what may be done with it.

    ``token`` counts its claims; ``reviewer`` and ``lease_until`` belong to the present one. ``standing`` is
    the decision in force, ``deciders`` all who ever decided, ``appeal_until`` the end of the time to appeal,
    ``route`` the queue it is in, ``due_at`` when what is asked shall be done.
    """

    task_id: int
    name: State
    stage: Stage = Stage.REVIEW
    token: int = 0
    reviewer: str | None = None
    lease_until: datetime | None = None
    standing: Decision | None = None
    deciders: frozenset[str] = field(default_factory=frozenset)
    appeal_until: datetime | None = None
    route: Route = field(default_factory=Route)
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody wants to do. ``at`` is now, by the database's clock.

    ``token``: of the claim it is done under; ``until``: the end of a new lease, or when an appeal shall be
    answered; ``action``: a decision's; ``route``: the queue to move to.
    """

    kind: ActKind
    by: str
    role: Role
    at: datetime
    token: int | None = None
    until: datetime | None = None
    reason: str = ""
    action: Action | None = None
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. ``to`` is ``None`` where the task goes back to where it waited (``BACK``)."""

    act: ActKind
    state: State
    stages: tuple[Stage, ...]
    to: State | None
    stage: Stage | None = None
    """The stage afterwards; ``None`` leaves it."""
    role: Role = Role.REVIEWER
    held: bool = False
    """Only by the reviewer who holds the task, with the claim's token, before the lease runs out."""
    reason: bool = False
    other: bool = False
    """Only by somebody who has not decided on the task before."""


BACK = {
    Stage.REVIEW: State.QUEUED,
    Stage.ESCALATION: State.ESCALATED,
    Stage.SECOND: State.QUEUED,
    Stage.APPEAL: State.APPEALED,
}
"""Where a task waits in each stage, once it has been claimed."""

_ANY = tuple(Stage)
_R, _E, _S, _A = _ANY

RULES = (
    Rule(ActKind.CLAIM, State.OPEN, (_R,), State.CLAIMED),
    Rule(ActKind.CLAIM, State.QUEUED, (_R,), State.CLAIMED),
    Rule(ActKind.CLAIM, State.QUEUED, (_S,), State.CLAIMED, other=True),
    Rule(ActKind.CLAIM, State.ESCALATED, (_E,), State.CLAIMED, role=Role.SENIOR, other=True),
    Rule(ActKind.CLAIM, State.APPEALED, (_A,), State.CLAIMED, role=Role.SENIOR, other=True),
    Rule(ActKind.RENEW, State.CLAIMED, _ANY, State.CLAIMED, held=True),
    Rule(ActKind.RELEASE, State.CLAIMED, _ANY, None, held=True),
    Rule(ActKind.SKIP, State.CLAIMED, _ANY, None, held=True, reason=True),
    Rule(ActKind.MOVE, State.CLAIMED, _ANY, None, held=True, reason=True),
    Rule(ActKind.ESCALATE, State.CLAIMED, (_R,), State.ESCALATED, _E, held=True, reason=True),
    Rule(ActKind.DECIDE, State.CLAIMED, (_R, _E, _S), State.DECIDED, _R, held=True, reason=True),
    Rule(ActKind.SECOND_REVIEW, State.DECIDED, (_R,), State.QUEUED, _S, role=Role.SENIOR, reason=True),
    Rule(ActKind.APPEAL, State.DECIDED, (_R,), State.APPEALED, _A, reason=True),
    Rule(ActKind.APPEAL, State.QUEUED, (_S,), State.APPEALED, _A, reason=True),
    Rule(ActKind.APPEAL, State.CLAIMED, (_S,), State.APPEALED, _A, reason=True),
    Rule(ActKind.UPHOLD, State.CLAIMED, (_A,), State.CLOSED, _R, held=True, reason=True),
    Rule(ActKind.REVERSE, State.CLAIMED, (_A,), State.DECIDED, _R, held=True, reason=True),
    Rule(ActKind.REOPEN, State.DECIDED, (_R,), State.QUEUED, role=Role.LEAD, reason=True),
    Rule(ActKind.REOPEN, State.CLOSED, (_R,), State.QUEUED, role=Role.LEAD, reason=True),
    Rule(ActKind.CLOSE, State.OPEN, (_R,), State.CLOSED, role=Role.LEAD, reason=True),
    Rule(ActKind.CLOSE, State.QUEUED, (_R, _S), State.CLOSED, _R, role=Role.LEAD, reason=True),
    Rule(ActKind.CLOSE, State.ESCALATED, (_E,), State.CLOSED, _R, role=Role.LEAD, reason=True),
)
"""Which act leads from where to where, and for whom."""

DECIDING = frozenset({ActKind.DECIDE, ActKind.UPHOLD, ActKind.REVERSE})
"""Acts that are a decision."""


def transition(state: TaskState, act: Act) -> TaskState:
    """The state after ``act``. Raises a ``QueueError`` of ``review.refusals`` if it may not be done."""
    check_admitted(state.task_id, state.route, act)
    must_be_held = any(rule.held for rule in RULES if rule.act is act.kind)
    if must_be_held:
        _check_token(state, act)
    else:
        state = put_back(state, act.at)
    rule = _rule(state, act)
    if not act.role.covers(rule.role):
        raise WrongRoleError(
            f"{_task(state)}: to {act.kind} {_what(state)} takes the role {rule.role}; {act.by} is {act.role}"
        )
    if rule.held:
        _check_lease(state, act)
    if rule.other and act.by in state.deciders:
        raise SameReviewerError(
            f"{_task(state)}: {act.by} has decided on it already; {_what(state)} is for another reviewer"
        )
    if rule.reason and not act.reason.strip():
        needs = "a decision" if act.kind in DECIDING else f"to {act.kind} it"
        raise MissingReasonError(f"{_task(state)}: {needs} needs a reason; it is blank")
    if act.kind is ActKind.APPEAL and state.appeal_until is not None and act.at > state.appeal_until:
        raise AppealExpiredError(
            f"{_task(state)}: the time to appeal ended at {_moment(state.appeal_until)}; a lead may reopen it"
        )
    return _moved(state, act, rule)


def check_admitted(task_id: int, route: Route, act: Act) -> None:
    """``RestrictedQueueError`` if the queue is not for this role. Anybody may appeal."""
    if act.kind is not ActKind.APPEAL and not act.role.covers(route.role):
        raise RestrictedQueueError(
            f"task {task_id} is in the queue {route.queue!r}, which takes the role {route.role}; {act.by} is "
            f"{act.role}"
        )


def held_for(state: TaskState, claim: Act, act: Act) -> TaskState:
    """The state after ``claim``, made only to do ``act`` next; refused as ``act`` is if it cannot follow."""
    check_admitted(state.task_id, state.route, act)
    if not any(
        rule.act is act.kind and rule.state is State.CLAIMED and state.stage in rule.stages for rule in RULES
    ):
        raise _wrong_state(state, act)
    return transition(state, claim)


def decided_action(state: TaskState, act: Act) -> Action:
    """What a deciding act comes to: the action given, that of the decision appealed, or its opposite."""
    if act.kind is ActKind.DECIDE:
        if act.action not in (Action.ALLOW, Action.BLOCK):
            raise WrongActionError(f"{_task(state)}: a decision is allow or block, not {act.action}")
        return act.action
    if state.standing is None:
        raise WrongStateError(f"{_task(state)}: there is no decision to {act.kind}")
    if act.kind is ActKind.UPHOLD:
        return state.standing.action
    return Action.ALLOW if state.standing.action is Action.BLOCK else Action.BLOCK


def put_back(state: TaskState, at: datetime) -> TaskState:
    """``state`` itself, or where the task waits once its lease has run out."""
    if state.name is State.CLAIMED and state.lease_until is not None and at >= state.lease_until:
        return replace(state, name=BACK[state.stage], reviewer=None, lease_until=None)
    return state


def needed(state: TaskState) -> Role:
    """The role it takes to claim the task once it waits: its queue's, or that of what it asks."""
    asked = [rule.role for rule in RULES if rule.act is ActKind.CLAIM and state.stage in rule.stages]
    return state.route.role if state.route.role.covers(asked[0]) else asked[0]


def claimable(role: Role) -> Collection[Stage]:
    """The stages in which this role may claim a task."""
    rules = [rule for rule in RULES if rule.act is ActKind.CLAIM and role.covers(rule.role)]
    return [stage for stage in Stage if any(stage in rule.stages for rule in rules)]


def _moved(state: TaskState, act: Act, rule: Rule) -> TaskState:
    state = _due(state, act)
    to = BACK[state.stage] if rule.to is None else rule.to
    stage = rule.stage or state.stage
    if act.kind in DECIDING:
        action = decided_action(state, act)
        decision = Decision(state.task_id, action, act.by, act.reason, decided_at=act.at)
        if state.stage is Stage.SECOND and state.standing is not None and action != state.standing.action:
            # two opinions: the first stays in force until a senior reviewer has settled it
            to, stage, decision = State.ESCALATED, Stage.ESCALATION, state.standing
        state = replace(state, standing=decision, deciders=state.deciders | {act.by}, appeal_until=None)
    elif act.kind is ActKind.CLOSE and state.standing is not None:
        to = State.DECIDED  # it is in force, and may be appealed
    if to is not State.CLAIMED:
        return replace(state, name=to, stage=stage, reviewer=None, lease_until=None)
    claims = act.kind is ActKind.CLAIM
    return replace(
        state, name=to, stage=stage, token=state.token + claims, reviewer=act.by, lease_until=act.until
    )


def _due(state: TaskState, act: Act) -> TaskState:
    """The state with the due time that ``act`` sets: what is asked anew has its whole time."""
    if act.kind is ActKind.APPEAL:
        return replace(state, due_at=act.until)
    if act.kind is ActKind.MOVE and act.route is not None:
        return replace(state, route=act.route, due_at=act.at + act.route.due)
    if act.kind in (ActKind.SECOND_REVIEW, ActKind.REOPEN):
        return replace(state, due_at=act.at + state.route.due)
    return state


def _rule(state: TaskState, act: Act) -> Rule:
    for rule in RULES:
        if rule.act is act.kind and rule.state is state.name and state.stage in rule.stages:
            return rule
    if act.kind is ActKind.CLAIM and state.name is State.CLAIMED:
        raise AlreadyClaimedError(
            f"{_task(state)} is claimed by {state.reviewer} until {_moment(state.lease_until)}; give the "
            "token of that claim if it is yours, or take another task"
        )
    if state.name is State.DECIDED and act.kind in (ActKind.CLAIM, ActKind.DECIDE) and state.standing:
        last = state.standing
        when = f" at {_moment(last.decided_at)}" if last.decided_at else ""
        raise AlreadyDecidedError(
            f"{_task(state)} was already decided: {last.action} by {last.reviewer}{when}; nothing was changed"
        )
    raise _wrong_state(state, act)


def _wrong_state(state: TaskState, act: Act) -> WrongStateError:
    fitting = sorted({_place(rule.state, rule.stages) for rule in RULES if rule.act is act.kind})
    return WrongStateError(
        f"{_task(state)} is {_place(state.name, (state.stage,))}; to {act.kind} takes one that is "
        f"{' or '.join(fitting)}"
    )


def _check_token(state: TaskState, act: Act) -> None:
    """``StaleClaimError`` if the task has been claimed since, or is held by somebody else."""
    if act.token != state.token or (state.name is State.CLAIMED and state.reviewer != act.by):
        now = f"claimed by {state.reviewer}" if state.name is State.CLAIMED else state.name
        raise StaleClaimError(
            f"{_task(state)}: {act.by}'s claim {act.token} is not the present one ({state.token}; the "
            f"task is {now}); nothing was written. Claim the task again"
        )


def _check_lease(state: TaskState, act: Act) -> None:
    if state.lease_until is None or act.at >= state.lease_until:
        raise LeaseExpiredError(
            f"{_task(state)}: {act.by}'s lease ran out at {_moment(state.lease_until)}; nothing was written. "
            "Claim the task again, and renew in time"
        )


def _task(state: TaskState) -> str:
    return f"task {state.task_id}"


def _what(state: TaskState) -> str:
    names = {
        Stage.ESCALATION: "an escalated task",
        Stage.SECOND: "a second review",
        Stage.APPEAL: "an appeal",
    }
    return names.get(state.stage, f"a task that is {state.name}")


def _place(state: State, stages: Collection[Stage]) -> str:
    """``claimed (appeal)``: the stage where a state has several."""
    if state not in (State.QUEUED, State.CLAIMED) or set(stages) == set(Stage):
        return state.value
    return f"{state} ({', '.join(stages)})"


def _moment(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
