"""How often posts that somebody reported were blocked for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, select

from moderator.review.agreement import wilson
from moderator.review.context import names_any, reporters_of
from moderator.settings import Review
from moderator.store.golden import is_copy
from moderator.store.tables import DecisionRow, ItemRow, TaskRow, VerdictRow
from moderator.types import Action


@dataclass(frozen=True, slots=True)
class Reporter:
    """Somebody who reported posts; ``bot`` if their reports say that they come from software.

    ``reports``: tasks on posts they reported. ``blocked`` and ``allowed``: those on which such a decision is
    in force; the others wait for one. ``accuracy``: the share blocked of those decided, with its 95 %
    interval; ``None`` where none is.
    """

    name: str
    bot: bool
    reports: int
    blocked: int
    allowed: int
    accuracy: float | None
    low: float | None
    high: float | None


def reporters(connection: Connection, terms: Review, since: int = 0) -> list[Reporter]:
    """Who reported posts whose task was opened from ``since`` (as stored) on: people first, then software;
    who reported most comes first."""
    query = (
        select(DecisionRow.action, ItemRow.context)
        .select_from(TaskRow)
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .outerjoin(DecisionRow, DecisionRow.id == TaskRow.decision_id)
        .where(TaskRow.opened_at >= since, ~is_copy(), names_any(connection, terms.reporter_key))
    )
    counts: dict[tuple[str, bool], Counter[str]] = {}
    for action, context in connection.execute(query).yield_per(1000):
        names, bot = reporters_of(context, terms.reporter_key)
        for name in names:
            counts.setdefault((name, bot), Counter())[action or "waiting"] += 1
    found = [_reporter(name, bot, count) for (name, bot), count in counts.items()]
    return sorted(found, key=lambda each: (each.bot, -each.reports, each.name))


def _reporter(name: str, bot: bool, count: Counter[str]) -> Reporter:
    blocked, allowed = count[Action.BLOCK.value], count[Action.ALLOW.value]
    decided = blocked + allowed
    low, high = wilson(blocked, decided) if decided else (None, None)
    share = blocked / decided if decided else None
    return Reporter(name, bot, count.total(), blocked, allowed, share, low, high)
