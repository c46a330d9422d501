"""Strikes: people's decisions in force to block an author's posts, each for a number of days.

Nothing is stored: a strike is a decision, and gone when that is reversed, overridden or being made anew. What
the machine blocked and nobody looked at is none. A strike counts from the first decision to block, not from
the one that upheld it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select
from sqlalchemy.orm import aliased

from moderator.review.context import author_of, may_name
from moderator.review.machine import ActKind
from moderator.settings import Review
from moderator.store import clock
from moderator.store.canonical import unescape_text
from moderator.store.golden import is_copy
from moderator.store.tables import AppealRow, DecisionRow, ItemRow, ReviewEventRow, TaskRow, VerdictRow
from moderator.types import Action, State

_DONE = (State.DECIDED.value, State.CLOSED.value)


@dataclass(frozen=True, slots=True)
class Strike:
    """A decision to block a post of ``author``: on which task, by which rule, since when and until when."""

    author: str
    task_id: int
    policy_rule: str
    since: datetime
    until: datetime


def active(connection: Connection, terms: Review, author: str | None = None) -> list[Strike]:
    """The strikes that count now, of one author or of all, oldest first."""
    only = () if author is None else (may_name(connection, terms.author_key, author),)
    found = _strikes(connection, terms, *only)
    return sorted(
        (each for each in found if author is None or each.author == author),
        key=lambda each: (each.since, each.task_id),
    )


def by_author(strikes: Sequence[Strike]) -> dict[str, list[Strike]]:
    """Author → strikes; who has most comes first."""
    grouped: dict[str, list[Strike]] = {}
    for each in strikes:
        grouped.setdefault(each.author, []).append(each)
    return dict(sorted(grouped.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def against_author_of(connection: Connection, task_id: int, terms: Review) -> list[Strike]:
    """The active strikes of the author of a task's post, for other posts.

    Not for this one: that would tell the second reviewer of it what the first has decided.
    """
    item = (
        select(TaskRow.verdict_id, ItemRow.context)
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .where(TaskRow.id == task_id)
    )
    row = connection.execute(item).first()
    author = None if row is None else author_of(row.context, terms.author_key)
    if row is None or author is None:
        return []
    named = may_name(connection, terms.author_key, author)
    found = _strikes(connection, terms, TaskRow.verdict_id != row.verdict_id, named)
    return sorted((each for each in found if each.author == author), key=lambda each: each.since)


def _strikes(connection: Connection, terms: Review, *only: ColumnElement[bool]) -> Iterator[Strike]:
    window = timedelta(days=terms.strike_days)
    since = clock.database_now(connection) - window // timedelta(microseconds=1)
    upheld = _upheld(connection)
    query = (
        select(
            TaskRow.id, DecisionRow.policy_rule, TaskRow.decision_id, DecisionRow.created_at, ItemRow.context
        )
        .join(DecisionRow, DecisionRow.id == TaskRow.decision_id)
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .where(DecisionRow.action == Action.BLOCK.value, DecisionRow.created_at > since)
        .where(~is_copy(), ~_reopened(), *only)
    )
    for row in connection.execute(query).yield_per(1000):
        author = author_of(row.context, terms.author_key)
        first = upheld.get(row.decision_id, row.created_at)
        if author is not None and first > since:
            at = clock.moment(first)
            yield Strike(author, row.id, unescape_text(row.policy_rule), at, at + window)


def _upheld(connection: Connection) -> dict[int, int]:
    """Decision that upheld another → when the one was taken that was upheld first."""
    query = (
        select(AppealRow.answer_id, AppealRow.decision_id, DecisionRow.created_at)
        .join(DecisionRow, DecisionRow.id == AppealRow.decision_id)
        .where(AppealRow.outcome == "upheld")
        .order_by(AppealRow.id)
    )
    first: dict[int, int] = {}
    for answer, appealed, at in connection.execute(query):
        if answer is not None:
            first[answer] = first.get(appealed, at)
    return first


def _reopened() -> ColumnElement[bool]:
    """That somebody shall decide anew, and has not."""
    later = aliased(ReviewEventRow)
    decided = (
        select(func.coalesce(func.max(ReviewEventRow.id), 0))
        .where(ReviewEventRow.task_id == TaskRow.id, ReviewEventRow.decision_id == TaskRow.decision_id)
        .correlate(TaskRow)
        .scalar_subquery()
    )
    reopened = exists().where(
        later.task_id == TaskRow.id, later.act == ActKind.REOPEN.value, later.id > decided
    )
    return and_(TaskRow.state.not_in(_DONE), reopened)
