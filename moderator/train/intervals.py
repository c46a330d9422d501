"""How far a figure would move on another sample of the same kind: percentile bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 200
Metric = Callable[[NDArray[np.bool_], NDArray[Any]], float]


def interval(
    metric: Metric,
    truth: NDArray[np.bool_],
    scores: NDArray[Any],
    *,
    draws: int = DRAWS,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Bounds of ``metric`` with ``coverage``. Positives and negatives ``(N,)`` are drawn apart, so that every
    draw has both. NaN without both classes. The same rows give the same bounds."""
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    if not len(positives) or not len(negatives):
        return float("nan"), float("nan")
    rng = np.random.default_rng(len(truth))
    values = []
    for _ in range(draws):
        rows = np.concatenate(
            [rng.choice(positives, size=len(positives)), rng.choice(negatives, size=len(negatives))]
        )
        values.append(metric(truth[rows], scores[rows]))
    tail = 100 * (1 - coverage) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def calibration_error(truth: NDArray[np.bool_], scores: NDArray[np.float64], bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015) over bins of equal width: the mean distance between how
    often the label holds and how likely the scores said it was. NaN without rows."""
    if not len(truth):
        return float("nan")
    place = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for each in range(bins):
        rows = place == each
        if rows.any():
            error += rows.mean() * abs(float(truth[rows].mean()) - float(scores[rows].mean()))
    return float(error)
