"""An act as a transaction: lock, check, write what was done, say what came of it.

The order is the same everywhere, so that no two wait for each other: rows of tasks are locked first, then
comes the turn to add rows (``take_turn``), then the time is read, and only then is anything judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection

from moderator.review import claims, exposure, golden, journal, records
from moderator.review.basis import RulesOf, check_labels, rule_of
from moderator.review.claims import Claimant
from moderator.review.journal import Receipt
from moderator.review.machine import DECIDING, Act, ActKind, TaskState, decided_action, held_for, transition
from moderator.review.refusals import UnknownQueueError
from moderator.review.request import Request, check_lease
from moderator.routing import DEFAULT_QUEUE, Route
from moderator.settings import Review
from moderator.store import clock
from moderator.store.canonical import escape_text
from moderator.store.engine import take_turn
from moderator.store.seal import Seal
from moderator.store.session import Store
from moderator.store.tables import TaskRow
from moderator.types import Decision, Role, Stage, State

_SYSTEM = ""  # who acts where the software does so by itself
_CLAIMING = frozenset(
    {ActKind.SKIP, ActKind.MOVE, ActKind.DECIDE, ActKind.ESCALATE, ActKind.UPHOLD, ActKind.REVERSE}
)
"""Acts on a task one holds that, without a token, claim it in the same transaction."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """The acts on the tasks of a store, for a ``ReviewDesk``, whose arguments these are."""

    store: Store
    roles: Mapping[str, Role] | None
    terms: Review
    rules_of: RulesOf
    draw: Callable[[], float]
    route_of: Callable[[str], Route | None]

    def take(
        self, reviewer: str, count: int, queue: str | None, lease_seconds: float | None
    ) -> list[TaskState]:
        """Claim the most urgent."""
        lease, role = _lease(lease_seconds), self._role(reviewer)
        with self.store.acting() as connection:
            exposure.lock(connection, reviewer, self.terms)
            at = _now(connection)
            who = Claimant(reviewer, role, at, lease, self._usual_lease())
            act = Act(ActKind.CLAIM, reviewer, role, at)
            if self.terms.golden_share or self.terms.graphic_per_shift:
                states, seals = self._take_among(connection, who, count, queue)
            else:
                states, seals = claims.take(connection, who, count, queue), []
            if states:
                take_turn(connection)
                journal.add_events(connection, [journal.event_row(act, each) for each in states], seals=seals)
        return states

    def _take_among(
        self, connection: Connection, who: Claimant, count: int, queue: str | None
    ) -> tuple[list[TaskState], Sequence[Seal]]:
        """Claim no more graphic tasks than the reviewer may see, some in their places golden ones."""
        budget = exposure.budget(connection, who.reviewer, self.terms, who.at)

        def pick(count: int, *only: ColumnElement[bool]) -> list[int]:
            return claims.pick(connection, who, count, queue, *only)

        graphic: list[int] = []
        if budget is None or budget.left >= count:
            waiting = pick(count)
            if budget is not None:
                graphic = pick(count, TaskRow.id.in_(waiting), budget.graphic)
        else:  # the most urgent of so many graphic ones and any number of others
            graphic = pick(budget.left, budget.graphic) if budget.left else []
            waiting = pick(count, TaskRow.id.in_([*graphic, *pick(count, ~budget.graphic)]))
            if not waiting and pick(1):
                raise budget.spent("only graphic tasks are waiting")
        take_turn(connection)
        copies: dict[int, TaskState] = {}
        trials: list[dict[str, Any]] = []
        for place in waiting:
            if self.terms.golden_share and self.draw() < self.terms.golden_share:
                # what is graphic has been counted: only in the place of such a task may there be another
                only = None if budget is None or place in graphic else ~budget.graphic
                if (given := golden.give(connection, who, place, only)) is not None:
                    copies[place], trial = given
                    trials.append(trial)
        real = [place for place in waiting if place not in copies]
        taken = claims.take_these(connection, who, real) if real else []
        found = {**copies, **{state.task_id: state for state in taken}}
        return [found[place] for place in waiting if place in found], golden.seal(trials)

    def close(self, task_ids: Sequence[int], reviewer: str, reason: str) -> list[Receipt]:
        """Close all or none."""
        if not task_ids:
            return []
        with self.store.acting() as connection:
            records.lock(connection, task_ids)
            take_turn(connection)
            act = Act(ActKind.CLOSE, reviewer, self._role(reviewer), _now(connection), reason=reason)
            states = [transition(state, act) for state in self._load(connection, task_ids)]
            records.save(connection, states)
            rows = journal.add_events(connection, [journal.event_row(act, state) for state in states])
            return [journal.receipt(connection, row) for row in rows]

    def hold(self, request: Request, lease_seconds: float | None) -> TaskState:
        """Claim or renew."""
        request.check()
        lease = _lease(lease_seconds)
        with self.store.acting() as connection:
            exposure.lock(connection, request.reviewer, self.terms)
            records.lock(connection, [request.task_id])
            take_turn(connection)
            act = self._act(connection, request)
            before = self._load(connection, [request.task_id])[0]
            act = replace(act, until=act.at + (lease or self._lease_in(before)))
            state = transition(before, act)
            if act.kind is ActKind.CLAIM:
                self._check_exposure(connection, act, request.task_id)
            records.save(connection, [state])
            journal.add_events(connection, [journal.event_row(act, state)])
        return state

    def submit(self, request: Request) -> Receipt:
        """Everything else on one task."""
        request.check()
        with self.store.acting() as connection:
            if request.token is None and request.kind in _CLAIMING:
                exposure.lock(connection, request.reviewer, self.terms)
            records.lock(connection, [request.task_id])
            take_turn(connection)
            if (earlier := journal.replayed(connection, request)) is not None:
                return earlier
            act, drafts = self._act(connection, request), []
            before = self._load(connection, [request.task_id])[0]
            if request.token is None and act.kind in _CLAIMING:
                claiming = replace(act, kind=ActKind.CLAIM, until=act.at + self._lease_in(before), reason="")
                before = held_for(before, claiming, act)
                self._check_exposure(connection, act, request.task_id)
                act = replace(act, token=before.token)
                drafts.append(journal.event_row(claiming, before))
            after = transition(before, act)
            records.save(connection, [after])
            decision, seals, more = self._attach(connection, request, act, before, after)
            drafts.append(journal.event_row(act, after, **_keyed(request), **more))
            submitted = len(drafts) - 1
            if self._is_sampled(act, before) and not golden.is_trial(connection, request.task_id):
                drafts.append(self._ask_for_second(connection, after, act.at))
            rows = journal.add_events(connection, drafts, decision, seals)
            return journal.receipt(connection, rows[submitted])

    def _attach(
        self, connection: Connection, request: Request, act: Act, before: TaskState, after: TaskState
    ) -> tuple[dict[str, Any] | None, Sequence[Seal], dict[str, Any]]:
        """What an act brings: a decision's row with its seals, if it is one, and columns of its event."""
        task_id, at = request.task_id, clock.stored(act.at)
        if act.kind is ActKind.APPEAL:
            appeal = journal.add_appeal(connection, task_id, request.reviewer, request.reason, at)
            # its author may ask for erasure, and events are never edited
            return None, (), {"appeal_id": appeal, "reviewer": _SYSTEM, "reason": ""}
        if act.kind not in DECIDING:
            return None, (), {}
        check_labels(connection, task_id, request.labels)
        if request.policy_rule is None and act.kind is not ActKind.DECIDE and before.standing:
            rule = before.standing.policy_rule
        else:
            rule = rule_of(connection, task_id, request.policy_rule, self.rules_of)
        action = decided_action(before, act)
        row, seals = journal.add_decision(
            connection,
            Decision(task_id, action, act.by, act.reason, rule, act.at, request.labels),
            at,
            request.key,
        )
        if after.name is not State.ESCALATED:  # where a second opinion differs, the first stays in force
            journal.put_in_force(connection, task_id, row)
        more = {"decision_id": row["id"]}
        if act.kind is not ActKind.DECIDE:
            outcome = "upheld" if act.kind is ActKind.UPHOLD else "reversed"
            more["appeal_id"] = journal.answer_appeal(connection, task_id, outcome, row)
        return row, seals, more

    def _is_sampled(self, act: Act, before: TaskState) -> bool:
        """Whether this decision shall have a blind second one: a share of the first ones on a task."""
        if act.kind is not ActKind.DECIDE or before.deciders or before.stage is Stage.SECOND:
            return False
        return self.draw() < self.terms.second_review_share

    def _ask_for_second(self, connection: Connection, decided: TaskState, at: datetime) -> dict[str, Any]:
        act = Act(ActKind.SECOND_REVIEW, _SYSTEM, Role.LEAD, at, reason="sample")
        state = transition(decided, act)
        records.save(connection, [state])
        return journal.event_row(act, state)

    def _check_exposure(self, connection: Connection, act: Act, task_id: int) -> None:
        exposure.check(connection, task_id, exposure.budget(connection, act.by, self.terms, act.at))

    def _load(self, connection: Connection, task_ids: Iterable[int]) -> list[TaskState]:
        return records.load(connection, task_ids, timedelta(days=self.terms.appeal_days))

    def _act(self, connection: Connection, request: Request) -> Act:
        is_appeal = request.kind is ActKind.APPEAL
        return Act(
            request.kind,
            request.reviewer,
            self._role(request.reviewer),
            at := _now(connection),
            request.token,
            until=at + timedelta(days=self.terms.appeal_answer_days) if is_appeal else None,
            reason=request.reason,
            action=request.action,
            route=None if request.queue is None else self._route(request.task_id, request.queue),
        )

    def _route(self, task_id: int, queue: str) -> Route:
        route = self.route_of(queue)
        if route is None and queue == DEFAULT_QUEUE:
            return Route()
        if route is None:
            raise UnknownQueueError(
                f"task {task_id}: the policy has no queue {queue!r}; `moderator policy show` lists its queues"
            )
        return route

    def _role(self, reviewer: str) -> Role:
        return Role.LEAD if self.roles is None else self.roles.get(reviewer, Role.REVIEWER)

    def _usual_lease(self) -> timedelta:
        return timedelta(seconds=check_lease(self.terms.lease_seconds))

    def _lease_in(self, state: TaskState) -> timedelta:
        return state.route.lease or self._usual_lease()


def _lease(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=check_lease(seconds))


def _now(connection: Connection) -> datetime:
    return clock.moment(clock.database_now(connection))


def _keyed(request: Request) -> dict[str, Any]:
    """What lets the same request be known again; of an appeal, its key alone."""
    if request.key is None:
        return {}
    digest = None if request.kind is ActKind.APPEAL else request.digest()
    return {"idempotency_key": escape_text(request.key), "request": digest}
