"""Views in, calibrated probabilities out, batched by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.cores import Cores
from moderator.fusion.checkpoint import Checkpoint
from moderator.fusion.collate import View, collate

_TOKEN_BUDGET = 8192
_MAX_BATCH = 128
"""Of one forward pass. Larger ones leave the caches, smaller ones are mostly overhead."""


class Scorer:
    """The fusion model of a checkpoint, ready to score."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self.checkpoint = checkpoint
        self._device = device
        self._cores = Cores(device)
        self._names = [spec.name for spec in checkpoint.config.embedders]

    def probabilities(self, views: Sequence[View]) -> NDArray[np.float64]:
        """``(len(views), labels)``; a row does not depend on the other views (within 1e-5)."""
        result = np.full((len(views), len(self.checkpoint.config.labels)), np.nan)
        order = sorted(range(len(views)), key=lambda index: views[index].length)
        batches = _budgeted(order, views)[::-1]  # the long ones first
        scored = self._cores.map(lambda batch: self._scored([views[index] for index in batch]), batches)
        for batch, rows in zip(batches, scored, strict=True):
            result[batch] = rows
        return result

    def _scored(self, views: Sequence[View]) -> NDArray[np.float64]:
        """One batch; where memory does not suffice, in halves. What cannot be scored alone stays NaN."""
        try:
            with torch.inference_mode():
                tokens = collate(views, self._names, self._device)
                logits = self.checkpoint.model(tokens, len(views))  # (B, C)
                chances = self.checkpoint.calibration.probabilities(logits, [each.language for each in views])
                made: NDArray[np.float64] = chances.cpu().numpy()
        except RuntimeError:  # torch raises it, and its child for memory, for whatever goes wrong
            if len(views) == 1:
                return np.full((1, len(self.checkpoint.config.labels)), np.nan)
            half = len(views) // 2
            return np.concatenate([self._scored(views[:half]), self._scored(views[half:])])
        return made


def _budgeted(order: Sequence[int], views: Sequence[View]) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in order:
        size = len(batches[-1]) + 1 if batches else 1
        if batches and size <= _MAX_BATCH and size * views[index].length <= _TOKEN_BUDGET:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
