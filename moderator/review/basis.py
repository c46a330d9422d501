"""What a decision rests on: the clause of the policy, and the labels it says something about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Connection, select

from moderator import taxonomy
from moderator.review.refusals import MissingRuleError, UnknownLabelError, UnknownRuleError
from moderator.store.canonical import parse_json, unescape_text
from moderator.store.tables import TaskRow, VerdictRow
from moderator.types import Action

RulesOf = Callable[[str], Collection[str] | None]
"""Digest of a policy → the names of its rules; ``None`` if that policy is not at hand."""

ON_DEGRADED = "on_degraded"
OTHERWISE = "otherwise"
CLAUSES = (ON_DEGRADED, OTHERWISE)
"""The clauses that every policy has besides its rules."""


def rule_of(connection: Connection, task_id: int, given: str | None, rules_of: RulesOf) -> str:
    """The clause given, checked against the policy of the verdict; without one, that which made the verdict.

    Raises ``MissingRuleError`` if it is blank, ``UnknownRuleError`` if the policy is at hand and has none
    of that name.
    """
    row = connection.execute(
        select(VerdictRow.matches, VerdictRow.degraded, VerdictRow.policy_digest)
        .join(TaskRow, TaskRow.verdict_id == VerdictRow.id)
        .where(TaskRow.id == task_id)
    ).one()
    matches = [(str(rule), Action(action)) for rule, action, _ in parse_json(row.matches)]
    if given is None:
        if matches:
            return max(matches, key=lambda match: match[1].severity)[0]
        return ON_DEGRADED if parse_json(row.degraded) else OTHERWISE
    if not given.strip():
        raise MissingRuleError(
            f"task {task_id}: the policy rule is blank; name the one the decision rests on, or leave it out "
            "for the one that made the verdict"
        )
    if given in CLAUSES or any(rule == given for rule, _ in matches):
        return given
    digest = unescape_text(row.policy_digest)
    known = rules_of(digest)
    if known is not None and given not in known:
        raise UnknownRuleError(
            f"task {task_id}: its policy ({digest[:12]}) has no rule {given!r}; it has "
            f"{', '.join(sorted({*known, *CLAUSES}))}"
        )
    return given


def check_labels(connection: Connection, task_id: int, labels: Mapping[str, bool]) -> None:
    """``UnknownLabelError`` for the first that is neither in the taxonomy nor among the verdict's scores."""
    if not labels:
        return
    query = select(VerdictRow.scores).join(TaskRow, TaskRow.verdict_id == VerdictRow.id)
    scores = parse_json(connection.execute(query.where(TaskRow.id == task_id)).scalar_one())
    known = [*taxonomy.DEFAULT.names, *(label for label in scores if label not in taxonomy.DEFAULT.names)]
    for label in labels:
        if label not in known:
            raise UnknownLabelError(f"task {task_id}: there is no label {label!r}; use {', '.join(known)}")
