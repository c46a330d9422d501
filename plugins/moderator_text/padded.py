"""The forward pass of any encoder of transformers, over texts padded to the longest of their batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class PaddedEncoder:
    """For architectures that ``packed`` does not know; called as ``PackedBert`` is."""

    def __init__(self, model: torch.nn.Module, device: str) -> None:
        self._model = model
        self._device = device

    def __call__(self, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Word piece ids of texts → last hidden states ``(pieces, D)`` of each."""
        import torch

        width = max(map(len, texts))
        ids = np.zeros((len(texts), width), dtype=np.int64)
        mask = np.zeros((len(texts), width), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        # equal lengths need no mask, which lets attention take its fastest path
        full = bool(mask.all())
        with torch.inference_mode():
            hidden = self._model(
                input_ids=torch.from_numpy(ids).to(self._device),
                attention_mask=None if full else torch.from_numpy(mask).to(self._device),
            ).last_hidden_state  # (B, L, D)
        return [hidden[row, : len(text)] for row, text in enumerate(texts)]
