"""The network trained here: convolutions over time on log-mel frames, unaffected by padding.

Blocks are those of ConvNeXt (Liu et al. 2022) in one dimension. Every layer is followed by the mask, so a
padded clip sees exactly the zeros that a clip alone sees at its edges: batches do not change results.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from moderator_audio.features import BINS, FRAME

_STRIDES = (4, 2)  # 10 ms → 40 ms → 80 ms
_POOL = 4
TOKEN_SECONDS = FRAME * _STRIDES[0] * _STRIDES[1] * _POOL
"""What one token covers: 0.32 s."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The size of the network: ``width`` inside, ``dim`` of its tokens, ``blocks`` at each resolution."""

    width: int = 128
    dim: int = 128
    blocks: tuple[int, int] = (1, 3)
    dropout: float = 0.1


class AudioNetwork(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        width = recipe.width
        # Kernels of 2 · stride - 1 around each stride-th frame: the same places, however long the padding.
        self.strides = nn.ModuleList(
            nn.Conv1d(channels, width, 2 * stride - 1, stride=stride, padding=stride - 1)
            for channels, stride in zip((BINS, width), _STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in _STRIDES)
        self.stages = nn.ModuleList(
            nn.ModuleList(_Block(width, recipe.dropout) for _ in range(count)) for count in recipe.blocks
        )
        self.of_summary = nn.Sequential(nn.Linear(2 * width, recipe.dim), nn.LayerNorm(recipe.dim))
        self.of_stretch = nn.Sequential(nn.Linear(width, recipe.dim), nn.LayerNorm(recipe.dim))

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel ``(B, F, 64)``, ``lengths`` ``(B,)`` ≥ 1 (frames) to tokens ``(B, T, dim)``, mask ``(B, T)``.

        Token 0 sums up the clip; token i covers the i-th 0.32 s.
        """
        mask = _mask(lengths, mel.shape[1])  # (B, F)
        x = mel * mask[..., None]  # (B, F, 64)
        for stage, stride in enumerate(_STRIDES):
            lengths = (lengths + stride - 1) // stride
            x = self.strides[stage](x.transpose(1, 2)).transpose(1, 2)  # (B, F/stride, W)
            mask = _mask(lengths, x.shape[1])
            x = self.norms[stage](x) * mask[..., None]
            for block in self.stages[stage]:  # type: ignore[attr-defined]  # a list of modules
                x = block(x, mask[..., None])
        keep = mask[..., None].to(x.dtype)  # (B, N, 1)
        mean = x.sum(dim=1) / keep.sum(dim=1)  # (B, W)
        peak = x.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)  # (B, W)
        summary = self.of_summary(torch.cat([mean, peak], dim=1))  # (B, D)

        pad = -x.shape[1] % _POOL
        sums = _pooled(nn.functional.pad(x, (0, 0, 0, pad)))  # (B, T, W)
        counts = _pooled(nn.functional.pad(keep, (0, 0, 0, pad)))  # (B, T, 1)
        tokens = self.of_stretch(sums / counts.clamp(min=1))  # (B, T, D)
        real = counts[..., 0] > 0  # (B, T)
        tokens = torch.cat([summary[:, None], tokens * real[..., None]], dim=1)
        return tokens, torch.cat([real.new_ones(len(real), 1), real], dim=1)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        # In two dimensions of which one is 1: the channels-last kernels for it are faster on CPU.
        self.along = nn.Conv2d(width, width, (1, 9), padding=(0, 4), groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        image = x.transpose(1, 2).unsqueeze(2)  # (B, W, 1, F), channels last in memory
        y = self.along(image).squeeze(2).transpose(1, 2)  # (B, F, W)
        y = self.narrow(nn.functional.relu(self.widen(self.norm(y))))  # (B, F, W)
        out: torch.Tensor = (x + self.dropout(y)) * mask
        return out


def _pooled(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), -1, _POOL, x.shape[2]).sum(dim=2)  # (B, T, C)


def _mask(lengths: torch.Tensor, width: int) -> torch.Tensor:
    return torch.arange(width, device=lengths.device)[None] < lengths[:, None]  # (B, F)


def save_network(network: AudioNetwork, path: Path, name: str) -> None:
    """Weights in half precision, norms and biases (few, and sensitive) in full."""
    tensors = {
        key: value.detach().cpu().to(torch.float16 if value.ndim > 1 else value.dtype).contiguous()
        for key, value in network.state_dict().items()
    }
    # One key only: safetensors writes several in any order, and the digest of the file would vary.
    description = json.dumps({"name": name, "recipe": asdict(network.recipe)}, sort_keys=True)
    save_file(tensors, path, {"embedder": description})
