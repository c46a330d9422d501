"""Binary cross-entropy over the labels that are known, and what may be done against rare positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from moderator.train.examples import Example


def targets_of(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float32]:
    """Labels of examples as ``(N, C)``, NaN where unknown."""
    return np.array(
        [[example.labels.get(label, np.nan) for label in labels] for example in examples], dtype=np.float32
    ).reshape(len(examples), len(labels))


def weights_of(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Weight ``(N,)`` of each example: a weak label counts 1 / (1 + weak)."""
    return np.array([1.0 / (1 + example.weak) for example in examples], dtype=np.float32)


def habits_of(targets: NDArray[np.float32], source: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Which labels a source may have a bias of its own for, ``(count, C)`` of 0 and 1: those it has a
    positive of. Where it has none a bias would explain all its rows, and they would teach nothing: what is
    harmless there is harmless everywhere. ``targets`` (N, C), ``source`` (N,) index of each row's source."""
    result = np.zeros((count, targets.shape[1]), dtype=np.float32)
    np.maximum.at(result, source, (targets >= 0.5).astype(np.float32))
    return result


def balance_of(
    targets: NDArray[np.float32], weights: NDArray[np.float32], power: float
) -> NDArray[np.float32]:
    """How much a positive of each label counts ``(C,)``: (negatives / positives) to ``power``, at most 20.

    0 leaves labels as frequent as they are, 1 gives both sides equal weight. ``targets`` (N, C) with NaN for
    unknown, ``weights`` (N,).
    """
    known = ~np.isnan(targets) * weights[:, None]  # (N, C)
    positive = (np.nan_to_num(targets) * known).sum(0)
    negative = known.sum(0) - positive
    ratio = np.where(positive > 0, negative / np.maximum(positive, 1e-6), 1.0)
    return np.asarray(np.clip(ratio**power, 0.05, 20.0), dtype=np.float32)


def masked_bce(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    positives: Tensor | None = None,
    focus: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """``logits`` and ``targets`` (B, C), NaN targets ignored; ``weights`` (B,).

    ``positives`` (C,): how much positives of a label count. ``focus``: exponents by which positives and
    negatives that are right already count less (asymmetric loss, Ridnik et al. 2021, without its margin).
    The mean is over known labels, so that a batch with few known labels does not count less.
    """
    known = ~targets.isnan()  # (B, C)
    truth = targets.nan_to_num(0.0)
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none", pos_weight=positives)
    if any(focus):
        chance = logits.sigmoid()
        right = truth * (1 - chance) ** focus[0] + (1 - truth) * chance ** focus[1]
        loss = loss * right
    weight = known * weights[:, None]  # (B, C)
    return (loss * weight).sum() / weight.sum().clamp(min=1e-6)
