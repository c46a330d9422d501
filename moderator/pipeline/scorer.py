"""Views in, calibrated probabilities out, batched by length."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.cores import Cores
from moderator.fusion.checkpoint import Checkpoint
from moderator.fusion.collate import View, collate
from moderator.fusion.half import halved
from moderator.fusion.model import FusionModel

_TOKEN_BUDGET = 8192
_MAX_BATCH = 128
"""Of one forward pass. Larger ones leave the caches, smaller ones are mostly overhead."""


class Scorer:
    """The fusion model of a checkpoint, ready to score."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self.checkpoint = checkpoint
        self._device = device
        self._cores = Cores(device)
        self._halved: FusionModel | None = None
        self._names = [spec.name for spec in checkpoint.config.embedders]

    def probabilities(self, views: Sequence[View], half: Set[str] = frozenset()) -> NDArray[np.float64]:
        """``(len(views), labels)``; a row does not depend on the other views (within 1e-5, or 2e-3 in half
        precision).

        ``half``: embedders computed in bfloat16. Views with tokens of one of them are scored in it too: who
        asks for float32 there gets it here.
        """
        result = np.full((len(views), len(self.checkpoint.config.labels)), np.nan)
        order = sorted(range(len(views)), key=lambda index: views[index].length)
        coarse = [bool(half) and not half.isdisjoint(view.tokens) for view in views]
        for part in (True, False):
            batches = _budgeted([index for index in order if coarse[index] is part], views)[::-1]
            model = self._half_model() if part and batches else self.checkpoint.model
            scored = self._cores.map(partial(self._scored_rows, model, views), batches)  # the long ones first
            for batch, rows in zip(batches, scored, strict=True):
                result[batch] = rows
        return result

    def _half_model(self) -> FusionModel:
        if self._halved is None:
            self._halved = halved(self.checkpoint.model)
        return self._halved

    def _scored_rows(
        self, model: FusionModel, views: Sequence[View], batch: Sequence[int]
    ) -> NDArray[np.float64]:
        return self._scored(model, [views[index] for index in batch])

    def _scored(self, model: FusionModel, views: Sequence[View]) -> NDArray[np.float64]:
        """One batch; where memory does not suffice, in halves. What cannot be scored alone stays NaN."""
        try:
            with torch.inference_mode():
                tokens = collate(views, self._names, self._device)
                logits = model(tokens, len(views))  # (B, C)
                chances = self.checkpoint.calibration.probabilities(logits, [each.language for each in views])
                made: NDArray[np.float64] = chances.cpu().numpy()
        except RuntimeError:  # torch raises it, and its child for memory, for whatever goes wrong
            if len(views) == 1:
                return np.full((1, len(self.checkpoint.config.labels)), np.nan)
            half = len(views) // 2
            return np.concatenate([self._scored(model, views[:half]), self._scored(model, views[half:])])
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
