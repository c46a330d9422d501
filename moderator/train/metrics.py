"""Ranking metrics of binary labels: exact, with ties, without scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderator.errors import TrainingError


def auroc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    ``truth`` (N,) is positive where ≥ 0.5, ``scores`` (N,) rise with belief. NaN without both classes.
    The Mann–Whitney form (Hanley & McNeil 1982).
    """
    positive, values = _checked(truth, scores)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)  # rank of the last of each tie
    ranks = (last - (count - 1) / 2.0)[place]  # (N,) mean rank of each tie
    above = float(ranks[positive].sum()) - positives * (positives + 1) / 2.0
    return above / (positives * negatives)


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision–recall curve as a step function, one step per distinct score (AUPRC).

    Arguments as ``auroc``. NaN without a positive.
    """
    positive, values = _checked(truth, scores)
    if not positive.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(positive[order])  # (N,)
    ordered = values[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last index of each tie
    precision = hits[ends] / (ends + 1.0)
    recall = hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _checked(truth: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive = np.asarray(truth, dtype=np.float64) >= 0.5
    values = np.asarray(scores, dtype=np.float64)
    if positive.ndim != 1 or positive.shape != values.shape:
        raise TrainingError(f"metrics need two lists of one length, got {positive.shape} and {values.shape}")
    if not np.isfinite(values).all():
        raise TrainingError("metrics need finite scores; at least one is NaN or infinite")
    return positive, values
