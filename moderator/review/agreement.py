"""How far reviewers agree: with each other where they decided blind, with golden answers, with appeals.

Agreement is Cohen's kappa (J. Cohen, A Coefficient of Agreement for Nominal Scales, Educational and
Psychological Measurement 20, 1960): κ = (observed - expected) / (1 - expected), where expected is how often
two who decide by chance, each in their own proportions, would agree. Intervals are of 95 %: Wilson's for a
share (E. B. Wilson, JASA 22, 1927), which for kappa is that of the observed agreement, chance held fixed as
in Cohen's own standard error. Unlike that one it does not shrink to nothing where few agree on everything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from moderator.review.golden import answers
from moderator.review.machine import DECIDING, ActKind
from moderator.store.canonical import unescape_text
from moderator.store.decisions import decisions_where
from moderator.store.golden import is_copy
from moderator.store.tables import AppealRow, DecisionRow, ReviewEventRow, TaskRow
from moderator.types import Decision, Stage, State

ACTION = "action"
_Z = 1.959963984540054  # of the normal distribution, 95 % within
Pair = tuple[Hashable, Hashable]


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its 95 % interval, and the counts behind it: ``hits`` of ``count``.

    ``kind``: ``agreement`` (kappa over pairs of decisions, hits those that agree), ``accuracy`` (share of
    golden items answered right) or ``reversal`` (share of answered appeals that reversed). ``on``: ``action``
    or a label. ``reviewer`` and ``other`` are ``None`` where it is over all. ``value`` and its bounds are
    ``None`` for a kappa that is not defined: where both always say one and the same.
    """

    kind: str
    on: str
    reviewer: str | None
    other: str | None
    count: int
    hits: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Opinions:
    """Two decisions on one task, the second taken without seeing the first."""

    first: Decision
    second: Decision


def kappa(pairs: Sequence[Pair]) -> tuple[float | None, float | None, float | None]:
    """Cohen's kappa over what two said, and its interval; all ``None`` where it is not defined."""
    count = len(pairs)
    if not count:
        return None, None, None
    one, other = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    agreed = sum(first == second for first, second in pairs)
    by_chance = sum(one[each] * other[each] for each in one)  # count² × expected, exact
    if by_chance == count * count:
        return None, None, None
    expected = by_chance / (count * count)
    low, high = wilson(agreed, count)

    def scaled(observed: float) -> float:
        return max(-1.0, (observed - expected) / (1 - expected))

    return scaled(agreed / count), scaled(low), scaled(high)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, ``count`` > 0."""
    share, spread = hits / count, _Z * _Z / count
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    low = 0.0 if hits == 0 else (middle - half) / (1 + spread)
    return low, 1.0 if hits == count else (middle + half) / (1 + spread)


def measures(connection: Connection, since: int = 0) -> list[Measure]:
    """All there is to measure, of second decisions, golden answers and answers to appeals from ``since``
    (as stored) on."""
    return [
        *_agreement(opinions(connection, since)),
        *_accuracy(connection, since),
        *_reversals(connection, since),
    ]


def opinions(connection: Connection, since: int = 0) -> list[Opinions]:
    """The pairs of first and blind second decisions, the second from ``since`` (as stored) on."""
    asked = select(ReviewEventRow.task_id).where(ReviewEventRow.act == ActKind.SECOND_REVIEW.value)
    columns = (
        ReviewEventRow.task_id, ReviewEventRow.act, ReviewEventRow.state, ReviewEventRow.stage,
        ReviewEventRow.decision_id, ReviewEventRow.created_at,
    )  # fmt: skip
    events = connection.execute(
        select(*columns)
        .join(TaskRow, TaskRow.id == ReviewEventRow.task_id)
        .where(ReviewEventRow.task_id.in_(asked), ~is_copy())
        .order_by(ReviewEventRow.task_id, ReviewEventRow.id)
    ).all()
    decisions = decisions_where(connection, DecisionRow.task_id.in_(asked))
    found: list[Opinions] = []
    task, stage, standing = 0, Stage.REVIEW.value, None
    for event in events:
        if event.task_id != task:
            task, stage, standing = event.task_id, Stage.REVIEW.value, None
        if event.act in DECIDING:
            decision = decisions[event.decision_id]
            # one that answers an appeal was taken with the first in view: it is no opinion of its own
            of_its_own = decision if event.act == ActKind.DECIDE else None
            if stage == Stage.SECOND and standing is not None and event.created_at >= since:
                found.append(Opinions(standing, decision))
            if event.state != State.ESCALATED:  # else the first stays in force
                standing = of_its_own
        stage = event.stage
    return found


def _agreement(found: Sequence[Opinions]) -> Iterator[Measure]:
    names = sorted({one.reviewer for each in found for one in (each.first, each.second)})
    labels = sorted(
        {label for each in found for label in each.first.labels.keys() & each.second.labels.keys()}
    )
    says: dict[str, Callable[[Decision], Hashable]] = {ACTION: lambda decision: decision.action}
    for label in labels:
        says[label] = lambda decision, label=label: decision.labels.get(label)  # type: ignore[misc]
    turned = [Opinions(each.second, each.first) for each in found]
    for on, said in says.items():
        yield from _kappa(on, None, None, found, said)
        for name in names:
            own = [each for each in (*found, *turned) if each.first.reviewer == name]
            yield from _kappa(on, name, None, own, said)
            for other in names:
                if name < other:
                    both = [each for each in own if each.second.reviewer == other]
                    yield from _kappa(on, name, other, both, said)


def _kappa(
    on: str,
    reviewer: str | None,
    other: str | None,
    found: Iterable[Opinions],
    said: Callable[[Decision], Hashable],
) -> Iterator[Measure]:
    pairs = [(said(each.first), said(each.second)) for each in found]
    pairs = [pair for pair in pairs if None not in pair]  # both must have said something of a label
    if pairs:
        agreed = sum(first == second for first, second in pairs)
        yield Measure("agreement", on, reviewer, other, len(pairs), agreed, *kappa(pairs))


def _accuracy(connection: Connection, since: int) -> Iterator[Measure]:
    right: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for answer in answers(connection, since):
        asked[answer.reviewer, ACTION] += 1
        right[answer.reviewer, ACTION] += answer.action == answer.golden.action
        for label in answer.labels.keys() & answer.golden.labels.keys():
            asked[answer.reviewer, label] += 1
            right[answer.reviewer, label] += answer.labels[label] == answer.golden.labels[label]
    for name, on in sorted(asked, key=lambda key: (key[0], key[1] != ACTION, key[1])):
        yield _share("accuracy", on, name, right[name, on], asked[name, on])


def _reversals(connection: Connection, since: int) -> Iterator[Measure]:
    query = (
        select(DecisionRow.reviewer, AppealRow.outcome)
        .join(DecisionRow, DecisionRow.id == AppealRow.decision_id)
        .join(TaskRow, TaskRow.id == AppealRow.task_id)
        .where(AppealRow.outcome.is_not(None), AppealRow.answered_at >= since, ~is_copy())
    )
    answered: dict[str, Counter[str]] = {}
    for name, outcome in connection.execute(query):
        answered.setdefault(unescape_text(name), Counter())[str(outcome)] += 1
    for name, outcomes in sorted(answered.items()):
        yield _share("reversal", ACTION, name, outcomes["reversed"], outcomes.total())


def _share(kind: str, on: str, reviewer: str, hits: int, count: int) -> Measure:
    return Measure(kind, on, reviewer, None, count, hits, hits / count, *wilson(hits, count))
