"""Two models or policies on the same posts: which actions change, and how far scores move."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moderator.pipeline.moderator import Moderator
from moderator.types import Action, Item, Verdict

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the scores of a label moved over all items: ``|B − A|`` on average, its 95th percentile and
    maximum; and the mean of B − A."""

    label: str
    items: int
    mean: float
    p95: float
    most: float
    signed: float


@dataclass(frozen=True, slots=True)
class Change:
    """An item and what both make of it; ``label`` moved the furthest."""

    item: Item
    before: Verdict
    after: Verdict
    label: str
    moved: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """``actions``: (A's, B's) → items; ``degraded``: items each could not judge in full; ``changed``: items
    whose action changed first, then those whose scores moved most."""

    items: int
    actions: Mapping[tuple[Action, Action], int]
    degraded: tuple[int, int]
    shifts: tuple[Shift, ...]
    changed: tuple[Change, ...]

    @property
    def changes(self) -> int:
        return sum(count for (before, after), count in self.actions.items() if before is not after)


def sampled(items: Iterable[Item], size: int, seed: int = 1) -> list[Item]:
    """``size`` items drawn at random from any number, the same ones each time: those whose ids hash lowest,
    in the order they came in. All of them for 0."""
    if not size:
        return list(items)

    def rank(numbered: tuple[int, Item]) -> bytes:
        number, item = numbered
        return hashlib.sha256(f"{seed}\0{item.id}\0{number}".encode("utf-8", "backslashreplace")).digest()

    return [
        item
        for _, item in sorted(heapq.nsmallest(size, enumerate(items), key=rank), key=lambda each: each[0])
    ]


def compare(
    items: Sequence[Item],
    first: Moderator,
    second: Moderator,
    watch: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Judge ``items`` by both. ``watch`` is told how many are done."""
    actions: Counter[tuple[Action, Action]] = Counter()
    moved: dict[str, list[float]] = {}
    degraded = [0, 0]
    changes: list[Change] = []
    size = min(first.settings.batch_size, second.settings.batch_size, 256)
    for begin in range(0, len(items), size):
        batch = items[begin : begin + size]
        for item, before, after in zip(batch, first.judge(batch), second.judge(batch), strict=True):
            actions[before.action, after.action] += 1
            degraded[0] += bool(before.degraded)
            degraded[1] += bool(after.degraded)
            shared = [label for label in before.scores if label in after.scores]
            by = {label: after.scores[label] - before.scores[label] for label in shared}
            for label, value in by.items():
                moved.setdefault(label, []).append(value)
            label = max(by, key=lambda each: abs(by[each]), default="")
            changes.append(Change(item, before, after, label, by.get(label, 0.0)))
        changes = heapq.nsmallest(_SHOWN, changes, key=_weight)
        watch(begin + len(batch))
    return Comparison(
        len(items),
        dict(actions),
        (degraded[0], degraded[1]),
        tuple(_shift(label, np.array(values)) for label, values in moved.items()),
        tuple(each for each in changes if each.moved or each.before.action is not each.after.action),
    )


def _weight(change: Change) -> tuple[bool, float]:
    return change.before.action is change.after.action, -abs(change.moved)


def _shift(label: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Shift:
    apart = np.abs(values)
    p95, most = float(np.quantile(apart, 0.95)), float(apart.max())
    return Shift(label, len(values), float(apart.mean()), p95, most, float(values.mean()))
