"""What each plugin that reads content brings: the same figures with it left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.train.evaluate import ALL, figures_of
from moderator.train.examples import Example


@dataclass(frozen=True, slots=True)
class Ablation:
    """AUROC and AUPRC of a label over all sources, and ``without`` one embedder or extractor."""

    without: str
    label: str
    rows: int
    positives: int
    auroc: float
    auroc_without: float
    auprc: float
    auprc_without: float


def ablations(
    rescored: Callable[[str], NDArray[np.float64]],
    names: Sequence[str],
    examples: Sequence[Example],
    scores: NDArray[np.float64],
    labels: Sequence[str],
) -> list[Ablation]:
    """``rescored(name)``: scores ``(N, labels)`` of ``examples`` without that plugin; ``scores`` with all of
    them. Examples that nothing else can score without it are left out of both."""
    merged = [
        Example(each.item, each.labels, ALL, each.lang, each.split, each.weak) for each in examples
    ]  # one source: by source the table would be too long to read
    result = []
    for name in names:
        less = rescored(name)
        both = np.isfinite(less.sum(axis=1)) & np.isfinite(scores.sum(axis=1))  # (N,)
        kept = [example for example, one in zip(merged, both.tolist(), strict=True) if one]
        before = {each.label: each for each in figures_of(kept, scores[both], labels)}
        for after in figures_of(kept, less[both], labels):
            full = before[after.label]
            if 0 < full.positives < full.rows:
                result.append(
                    Ablation(
                        name,
                        full.label,
                        full.rows,
                        full.positives,
                        full.auroc,
                        after.auroc,
                        full.auprc,
                        after.auprc,
                    )
                )
    return result
