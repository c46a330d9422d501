"""The desk: what reviewers can do with the tasks of a store, each act one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from moderator.review.basis import RulesOf
from moderator.review.journal import Receipt
from moderator.review.machine import ActKind, TaskState
from moderator.review.refusals import WrongCountError
from moderator.review.request import MAX_TEXT, Request, check_count, check_length, check_name
from moderator.review.transactions import Transactions
from moderator.routing import Route
from moderator.settings import Review
from moderator.store.session import Store
from moderator.types import Action, Role


@dataclass(frozen=True, slots=True)
class Claim:
    """A task somebody holds until ``until``; acts under it give its ``token``."""

    task_id: int
    token: int
    reviewer: str
    until: datetime


class ReviewDesk:
    """What reviewers do with the tasks of a store. Every refusal is a class of ``review.refusals``.

    ``roles``: reviewer → role; those not in it are plain reviewers, and without it everybody is a lead.
    ``rules_of``: the rules of a policy by its digest, where they are known. ``draw``: a number in [0, 1),
    below the share of second reviews where a decision shall get one. ``route_of``: a queue by its name, with
    what it asks, ``None`` if the policy has none of that name.
    """

    def __init__(
        self,
        store: Store,
        *,
        roles: Mapping[str, Role] | None = None,
        terms: Review | None = None,
        rules_of: RulesOf = lambda digest: None,
        draw: Callable[[], float] = random.random,
        route_of: Callable[[str], Route | None] = lambda queue: None,
    ) -> None:
        self._doing = Transactions(store, roles, terms or Review(), rules_of, draw, route_of)

    def claim(
        self,
        reviewer: str,
        count: int = 1,
        *,
        queue: str | None = None,
        lease_seconds: float | None = None,
    ) -> list[Claim]:
        """Claim up to ``count`` tasks, of one queue or of all; fewer, or none, if no more are waiting.

        What is overdue comes first, then the most urgent. Left out are tasks the reviewer has skipped, and
        those that need another role or another person; where all of a queue do, it is refused.
        """
        check_name("a claim", "reviewer", reviewer)
        check_count(count)
        return [_claim(state) for state in self._doing.take(reviewer, count, queue, lease_seconds)]

    def claim_task(self, task_id: int, reviewer: str, *, lease_seconds: float | None = None) -> Claim:
        """Claim one task, also one that the reviewer has skipped."""
        return _claim(self._doing.hold(Request(task_id, ActKind.CLAIM, reviewer), lease_seconds))

    def renew(self, task_id: int, reviewer: str, token: int, *, lease_seconds: float | None = None) -> Claim:
        """Let a claim hold for a whole lease from now."""
        return _claim(self._doing.hold(Request(task_id, ActKind.RENEW, reviewer, token=token), lease_seconds))

    def release(self, task_id: int, reviewer: str, token: int) -> Receipt:
        """Give a claimed task back."""
        return self._doing.submit(Request(task_id, ActKind.RELEASE, reviewer, token=token))

    def skip(
        self,
        task_id: int,
        reviewer: str,
        reason: str,
        *,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Give a task back for somebody else: ``claim`` does not offer it to this reviewer again."""
        return self._doing.submit(
            Request(task_id, ActKind.SKIP, reviewer, reason, token=token, key=idempotency_key)
        )

    def move(
        self,
        task_id: int,
        queue: str,
        reviewer: str,
        reason: str,
        *,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Put a task into another queue, where it waits anew as long as that allows. Anybody who may work on
        it may, also into a queue that is not theirs."""
        return self._doing.submit(
            Request(task_id, ActKind.MOVE, reviewer, reason, token=token, key=idempotency_key, queue=queue)
        )

    def escalate(
        self,
        task_id: int,
        reviewer: str,
        reason: str,
        *,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Hand a task on to a senior reviewer."""
        return self._doing.submit(
            Request(task_id, ActKind.ESCALATE, reviewer, reason, token=token, key=idempotency_key)
        )

    def decide(
        self,
        task_id: int,
        action: Action,
        reviewer: str,
        reason: str,
        policy_rule: str | None = None,
        *,
        labels: Mapping[str, bool] | None = None,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Decide a task under the claim ``token``; without one, a task that is waiting is claimed at once.

        ``policy_rule``: the clause of the policy it rests on; left out, the one that made the verdict.
        ``labels``: label → whether it applies. The same call again with the same ``idempotency_key`` gives
        the same answer and writes nothing.
        """
        corrected = dict(labels or {})
        return self._doing.submit(
            Request(
                task_id,
                ActKind.DECIDE,
                reviewer,
                reason,
                action,
                policy_rule,
                corrected,
                token,
                idempotency_key,
            )
        )

    def second_review(
        self, task_id: int, reviewer: str, reason: str, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Have a decided task decided once more by somebody else, who does not see the decision."""
        return self._doing.submit(
            Request(task_id, ActKind.SECOND_REVIEW, reviewer, reason, key=idempotency_key)
        )

    def appeal(
        self, task_id: int, filed_by: str, statement: str, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Appeal against the decision in force, in time. ``filed_by`` need not be a reviewer."""
        return self._doing.submit(Request(task_id, ActKind.APPEAL, filed_by, statement, key=idempotency_key))

    def uphold(
        self,
        task_id: int,
        reviewer: str,
        reason: str,
        policy_rule: str | None = None,
        *,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Answer an appeal: the decision stands, and the matter is closed."""
        return self._doing.submit(
            Request(task_id, ActKind.UPHOLD, reviewer, reason, None, policy_rule, {}, token, idempotency_key)
        )

    def reverse(
        self,
        task_id: int,
        reviewer: str,
        reason: str,
        policy_rule: str | None = None,
        *,
        token: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Answer an appeal: a new decision, the opposite of the one appealed, takes its place."""
        return self._doing.submit(
            Request(task_id, ActKind.REVERSE, reviewer, reason, None, policy_rule, {}, token, idempotency_key)
        )

    def reopen(
        self, task_id: int, reviewer: str, reason: str, *, idempotency_key: str | None = None
    ) -> Receipt:
        """Put a decided or closed task back in line; the decision stays in force until there is a new one."""
        return self._doing.submit(Request(task_id, ActKind.REOPEN, reviewer, reason, key=idempotency_key))

    def close(self, task_ids: Iterable[int], reviewer: str, reason: str, *, confirm: int) -> list[Receipt]:
        """Close tasks without deciding them: all or, if one cannot be closed, none.

        ``confirm`` is their number, typed by the person who closes them.
        """
        ids = sorted(set(task_ids))
        check_name("close", "reviewer", reviewer)
        check_length("close", "reason", reason, MAX_TEXT)
        if confirm != len(ids):
            raise WrongCountError(
                f"{len(ids)} tasks would be closed, not {confirm}; confirm with their number"
            )
        return self._doing.close(ids, reviewer, reason)


def _claim(state: TaskState) -> Claim:
    if state.reviewer is None or state.lease_until is None:
        raise ValueError(f"task {state.task_id} is {state.name}, not claimed")
    return Claim(state.task_id, state.token, state.reviewer, state.lease_until)
