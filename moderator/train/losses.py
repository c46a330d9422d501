"""Binary cross-entropy over the labels that are known."""

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


def masked_bce(
    logits: Tensor, targets: Tensor, weights: Tensor, label_weights: Tensor | None = None
) -> Tensor:
    """``logits`` and ``targets`` (B, C), NaN targets ignored; ``weights`` (B,); ``label_weights`` (C,).

    The mean is over known labels, so that a batch with few known labels does not count less.
    """
    known = ~targets.isnan()  # (B, C)
    loss = functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0.0), reduction="none")
    weight = known * weights[:, None]  # (B, C)
    if label_weights is not None:
        weight = weight * label_weights
    return (loss * weight).sum() / weight.sum().clamp(min=1e-6)
