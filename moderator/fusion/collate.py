"""From embeddings of single contents to the padded tokens a fusion model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moderator.fusion.model import SOURCES, Tokens
from moderator.types import Source


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One input of the fusion model: embedder name → tokens ``(T, dim)`` and where they came from.
    ``language``: of the text in it, as ``language_of`` names it; it chooses the calibration."""

    tokens: Mapping[str, Tensor]
    sources: Mapping[str, Source]
    language: str = ""

    @property
    def length(self) -> int:
        return sum(len(tokens) for tokens in self.tokens.values())


def collate(views: Sequence[View], names: Sequence[str], device: str | torch.device) -> dict[str, Tokens]:
    """Pad the views' tokens per embedder; embedders no view has are left out."""
    result: dict[str, Tokens] = {}
    for name in names:
        rows = [row for row, view in enumerate(views) if name in view.tokens]
        if not rows:
            continue
        given = [views[row].tokens[name] for row in rows]
        lengths = torch.tensor([len(tokens) for tokens in given])  # (R,)
        values = torch.nn.utils.rnn.pad_sequence(given, batch_first=True)  # (R, T, dim)
        mask = torch.arange(values.shape[1])[None] < lengths[:, None]  # (R, T)
        source = torch.tensor([SOURCES.index(views[row].sources.get(name, Source.NATIVE)) for row in rows])
        result[name] = Tokens(
            values.to(device, torch.float32),
            mask.to(device),
            torch.tensor(rows).to(device),
            source.to(device),
        )
    return result
