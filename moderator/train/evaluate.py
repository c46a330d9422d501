"""Measures a model as it is used: labelled items through the whole pipeline, figures per source and label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.train.examples import Example
from moderator.train.losses import targets_of
from moderator.train.metrics import auroc, average_precision
from moderator.types import Item, Scores

ALL = "all sources"


@dataclass(frozen=True, slots=True)
class Figures:
    """How well one label is told on one source. ``threshold``: where F1, accuracy and recall are taken.

    AUROC and AUPRC are NaN without both classes; chance is 0.5 and ``positives / rows``.
    """

    source: str
    label: str
    rows: int
    positives: int
    auroc: float
    auprc: float
    f1: float
    accuracy: float
    recall: float
    threshold: float

    def as_row(self) -> dict[str, Any]:
        """For tables and JSON, where NaN has no place."""
        row = {"id": f"{self.source}/{self.label}", **asdict(self)}
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }


Score = Callable[[Sequence[Item]], Iterable[Scores]]


def evaluate(
    score: Score,
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
    progress: Callable[[int, int], None] = lambda done, total: None,
    batch_size: int = 512,
) -> tuple[list[Figures], int]:
    """Figures of every source × label that has known labels, then of all sources together.

    Returns them and the number of examples that could not be scored, which are left out of them.
    """
    scores = np.full((len(examples), len(labels)), np.nan)
    for begin in range(0, len(examples), batch_size):
        batch = examples[begin : begin + batch_size]
        for row, given in enumerate(score([example.item for example in batch]), start=begin):
            if given:
                scores[row] = [given[label] for label in labels]
        progress(min(begin + batch_size, len(examples)), len(examples))
    scored = ~np.isnan(scores).any(axis=1)  # (N,)
    targets = targets_of(examples, labels)
    sources = np.array([example.dataset for example in examples])
    result = [
        figures
        for source in sorted(set(sources.tolist()))
        for figures in _per_label(source, scored & (sources == source), scores, targets, labels, threshold)
    ]
    if len(set(sources.tolist())) > 1:
        result += _per_label(ALL, scored, scores, targets, labels, threshold)
    return result, int((~scored).sum())


def _per_label(
    source: str,
    chosen: NDArray[np.bool_],
    scores: NDArray[np.float64],
    targets: NDArray[np.float32],
    labels: Sequence[str],
    threshold: float,
) -> list[Figures]:
    result = []
    for column, label in enumerate(labels):
        rows = chosen & ~np.isnan(targets[:, column])
        if rows.any():
            result.append(
                measure(source, label, targets[rows, column] >= 0.5, scores[rows, column], threshold)
            )
    return result


def measure(
    source: str, label: str, truth: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float
) -> Figures:
    """Figures of one label: ``truth`` (N,) and ``scores`` (N,)."""
    said = scores >= threshold
    hits = int((said & truth).sum())
    both = truth.any() and not truth.all()
    return Figures(
        source=source,
        label=label,
        rows=len(truth),
        positives=int(truth.sum()),
        auroc=auroc(truth, scores) if both else math.nan,
        auprc=average_precision(truth, scores) if both else math.nan,
        f1=2 * hits / max(1, int(said.sum()) + int(truth.sum())),
        accuracy=float((said == truth).mean()),
        recall=hits / int(truth.sum()) if truth.any() else math.nan,
        threshold=threshold,
    )
