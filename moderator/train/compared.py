"""Two models judge the same posts: what differs, and how fast each is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from moderator.pipeline.moderator import Moderator
from moderator.train.examples import Example
from moderator.train.losses import targets_of
from moderator.train.metrics import auroc
from moderator.types import Item, Verdict

_BATCH = 128
_WARM = 32


@dataclass(frozen=True, slots=True)
class Comparison:
    """``texts`` both could score, ``left_out`` that one could not. ``mean`` and ``largest`` absolute
    difference of scores, the latter of ``label``. ``changed`` actions, and those ``milder`` than before.
    ``auroc``: label → before and after, for labels that have positives and negatives. ``rates``: texts a
    second, before and after."""

    texts: int
    left_out: int
    mean: float
    largest: float
    label: str
    changed: int
    milder: int
    auroc: dict[str, tuple[float, float]]
    rates: tuple[float, float]


def sample() -> list[Example]:
    """The texts that come with Moderator for want of one's own; without labels."""
    lines = files("moderator.train").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line and not line.startswith("#")]
    return [
        Example(Item.of(id=str(at), text=text), {}, "sample", "", "valid") for at, text in enumerate(texts)
    ]


def compare(
    before: Moderator,
    after: Moderator,
    examples: Sequence[Example],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """``before`` and ``after`` on the same texts, in turns, so that what else the machine does slows both.
    They must score the same labels."""
    items = [example.item for example in examples]
    for each in (before, after):  # weights are read with the first texts, which is no part of the speed
        each.judge(items[:_WARM])
    seconds = [0.0, 0.0]
    verdicts: tuple[list[Verdict], list[Verdict]] = ([], [])
    for number, begin in enumerate(range(0, len(items), _BATCH)):
        batch = items[begin : begin + _BATCH]
        turns = list(enumerate((before, after)))
        for which, each in turns if number % 2 else turns[::-1]:
            started = time.perf_counter()
            verdicts[which].extend(each.judge(batch))
            seconds[which] += time.perf_counter() - started
        progress(begin + len(batch), len(items))
    labels = before.checkpoint.config.labels
    scores = [_scores(judged, labels) for judged in verdicts]
    both: NDArray[np.bool_] = np.isfinite((scores[0] + scores[1]).sum(axis=1))  # (N,)
    apart = np.abs(scores[0] - scores[1])[both]  # (N, C)
    steps = [b.action.severity - a.action.severity for a, b in zip(*verdicts, strict=True)]
    at = np.unravel_index(int(apart.argmax()), apart.shape)[1] if apart.size else 0
    return Comparison(
        texts=int(both.sum()),
        left_out=int((~both).sum()),
        mean=float(apart.mean()) if apart.size else 0.0,
        largest=float(apart.max()) if apart.size else 0.0,
        label=labels[int(at)],
        changed=sum(step != 0 for step in steps),
        milder=sum(step < 0 for step in steps),
        auroc=_aurocs(examples, scores, both, labels),
        rates=(len(items) / seconds[0], len(items) / seconds[1]),
    )


def _scores(verdicts: Sequence[Verdict], labels: Sequence[str]) -> NDArray[np.float64]:
    """``(N, C)``, NaN for what could not be scored."""
    rows = [[each.scores.get(label, np.nan) for label in labels] for each in verdicts]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(labels))


def _aurocs(
    examples: Sequence[Example],
    scores: Sequence[NDArray[np.float64]],
    both: NDArray[np.bool_],
    labels: Sequence[str],
) -> dict[str, tuple[float, float]]:
    targets = targets_of(examples, labels)  # (N, C), NaN where unknown
    result = {}
    for column, label in enumerate(labels):
        rows = both & ~np.isnan(targets[:, column])
        truth = targets[rows, column] >= 0.5
        if truth.any() and not truth.all():
            first, second = (float(auroc(truth, each[rows, column])) for each in scores)
            result[label] = (first, second)
    return result
