"""Views in, calibrated probabilities out, batched by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.fusion.checkpoint import Checkpoint
from moderator.fusion.collate import View, collate

_TOKEN_BUDGET = 16384
_MAX_BATCH = 256


class Scorer:
    """The fusion model of a checkpoint, ready to score."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self.checkpoint = checkpoint
        self._device = device
        self._names = [spec.name for spec in checkpoint.config.embedders]

    def probabilities(self, views: Sequence[View]) -> NDArray[np.float64]:
        """``(len(views), labels)``; a row does not depend on the other views (within 1e-5)."""
        result = np.full((len(views), len(self.checkpoint.config.labels)), np.nan)
        order = sorted(range(len(views)), key=lambda index: views[index].length)
        with torch.inference_mode():
            for batch in _budgeted(order, views):
                result[batch] = self._scored([views[index] for index in batch])
        return result

    def _scored(self, views: Sequence[View]) -> NDArray[np.float64]:
        """One batch; where memory does not suffice, in halves. What cannot be scored alone stays NaN."""
        try:
            tokens = collate(views, self._names, self._device)
            logits = self.checkpoint.model(tokens, len(views))  # (B, C)
            made: NDArray[np.float64] = self.checkpoint.calibration.probabilities(logits).cpu().numpy()
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
