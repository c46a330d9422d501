"""Measures a model as it is used: labelled items through the whole pipeline, figures per source and label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moderator.train.examples import Example
from moderator.train.intervals import calibration_error, interval
from moderator.train.losses import targets_of
from moderator.train.metrics import auroc, average_precision
from moderator.types import Item, Scores

if TYPE_CHECKING:
    from moderator.pipeline.moderator import Moderator

ALL = "all sources"


@dataclass(frozen=True, slots=True)
class Figures:
    """How well one label is told on one source. ``threshold``: where F1, accuracy and recall are taken.

    AUROC and AUPRC are NaN without both classes; chance is 0.5 and ``positives / rows``. ``_low`` and
    ``_high`` are their 95 % bootstrap bounds. ``ece``: the expected calibration error.
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
    auroc_low: float = math.nan
    auroc_high: float = math.nan
    auprc_low: float = math.nan
    auprc_high: float = math.nan
    ece: float = math.nan

    def as_row(self) -> dict[str, Any]:
        """For tables and JSON, where NaN has no place."""
        row = {"id": f"{self.source}/{self.label}", **asdict(self)}
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }


Score = Callable[[Sequence[Item]], Iterable[Scores]]


def scorer(moderator: Moderator) -> Score:
    """Scores as ``moderator`` gives them, through the whole pipeline."""
    return lambda items: (verdict.scores for verdict in moderator.judge(items))


def scorer_without(moderator: Moderator, plugin: str) -> Score:
    """The same with one embedder or extractor left out."""
    return lambda items: (verdict.scores for verdict in moderator.judge_without(items, plugin))


def scores_of(
    score: Score,
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    batch_size: int = 512,
) -> NDArray[np.float64]:
    """Scores ``(len(examples), len(labels))``; NaN where an example could not be scored."""
    scores = np.full((len(examples), len(labels)), np.nan)
    for begin in range(0, len(examples), batch_size):
        batch = examples[begin : begin + batch_size]
        for row, given in enumerate(score([example.item for example in batch]), start=begin):
            if given:
                scores[row] = [given[label] for label in labels]
        progress(min(begin + batch_size, len(examples)), len(examples))
    return scores


def figures_of(
    examples: Sequence[Example],
    scores: NDArray[np.float64],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
) -> list[Figures]:
    """Figures of every source × label that has known labels, then of all sources together. Examples that
    could not be scored are left out."""
    scored: NDArray[np.bool_] = np.isfinite(scores.sum(axis=1))  # (N,)
    targets = targets_of(examples, labels)
    sources = np.array([example.dataset for example in examples])
    result = [
        figures
        for source in sorted(set(sources.tolist()))
        for figures in _per_label(source, scored & (sources == source), scores, targets, labels, threshold)
    ]
    if len(set(sources.tolist())) > 1:
        result += _per_label(ALL, scored, scores, targets, labels, threshold)
    return result


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
    auroc_bounds = interval(auroc, truth, scores)
    auprc_bounds = interval(average_precision, truth, scores)
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
        auroc_low=auroc_bounds[0],
        auroc_high=auroc_bounds[1],
        auprc_low=auprc_bounds[0],
        auprc_high=auprc_bounds[1],
        ece=calibration_error(truth, scores),
    )
