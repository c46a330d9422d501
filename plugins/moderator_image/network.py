"""The network: a timm model without its head, its last feature map read as tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.data.config import resolve_model_data_config
from torch import nn

from moderator.errors import PluginError, WeightsError
from moderator_image.recipe import Recipe


class ImageNetwork(nn.Module):
    """Tokens of an image: a summary of the whole, then the cells of a grid, row by row.

    ``size`` is the ``(height, width)`` it takes, ``grid`` the ``(rows, columns)`` it gives.
    """

    mean: torch.Tensor
    std: torch.Tensor
    backbone: Any

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        try:
            self.backbone = timm.create_model(
                recipe.model, pretrained=False, num_classes=0, **dict(recipe.arguments)
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise PluginError(f"timm {timm.__version__} cannot build {recipe.model!r}: {error}") from error
        known = resolve_model_data_config(self.backbone)  # type: ignore[no-untyped-call]
        data = {**known, **recipe.data}
        self.size: tuple[int, int] = (int(data["input_size"][1]), int(data["input_size"][2]))
        self.interpolation = str(data["interpolation"])
        for name in ("mean", "std"):
            values = torch.tensor(data[name], dtype=torch.float32)[:, None, None] * 255.0  # (3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        width: int = self.backbone.num_features
        self.dim = recipe.dim or width
        self.of_summary: nn.Module = nn.Identity()
        self.of_cells: nn.Module = nn.Identity()
        if recipe.dim:
            self.of_summary = nn.Sequential(nn.Linear(width, self.dim), nn.LayerNorm(self.dim))
            self.of_cells = nn.Sequential(nn.Linear(width, self.dim), nn.LayerNorm(self.dim))
        self.to(memory_format=torch.channels_last)  # 1.3 times as fast on CPU
        self.eval()
        with torch.inference_mode():
            cells = self._features(torch.zeros(1, 3, *self.size))[1]  # (1, R, C, D)
        self.grid: tuple[int, int] = (cells.shape[1], cells.shape[2])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 ``(B, 3, *size)`` to ``(B, 1 + rows · columns, dim)``."""
        scaled = (pixels.to(self.mean.dtype) - self.mean) / self.std  # (B, 3, H, W)
        summary, cells = self._features(scaled.contiguous(memory_format=torch.channels_last))
        tokens = [self.of_summary(summary)[:, None], self.of_cells(cells.flatten(1, 2))]
        return torch.cat(tokens, dim=1)  # (B, T, D)

    def _features(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Summary ``(B, C)`` and grid ``(B, rows, columns, C)``."""
        features = self.backbone.forward_features(scaled)
        width = self.backbone.num_features
        if features.ndim == 4 and features.shape[1] == width:  # convolutional
            cells = features.permute(0, 2, 3, 1)  # (B, R, C, D)
            return cells.mean(dim=(1, 2)), cells
        if features.ndim == 4 and features.shape[3] == width:  # Swin and its kin
            return features.mean(dim=(1, 2)), features
        patches = getattr(self.backbone, "patch_embed", None)
        prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
        if features.ndim == 3 and patches is not None:  # vision transformers
            rows, columns = patches.grid_size
            if features.shape[1] == prefix + rows * columns:
                cells = features[:, prefix:].unflatten(1, (rows, columns))  # (B, R, C, D)
                return (features[:, 0] if prefix else cells.mean(dim=(1, 2))), cells
        raise PluginError(
            f"{self.recipe.model} gives features of shape {tuple(features.shape)}, which are no grid"
        )


def load_network(recipe: Recipe, path: Path, name: str) -> ImageNetwork:
    """Build the network and fill it from a safetensors file, every weight accounted for, in float32.

    Raises ``WeightsError`` if names or shapes differ (a classifier head in the file is left aside).
    """
    network = ImageNetwork(recipe)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{name}: {path} is not a safetensors file ({error})") from error
    wanted: nn.Module = network if recipe.dim else network.backbone
    expected = wanted.state_dict()
    if not recipe.dim:
        heads = network.backbone.pretrained_cfg.get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        stored = {
            key: value for key, value in stored.items() if not key.startswith(tuple(f"{h}." for h in heads))
        }
    wrong = sorted(set(expected) ^ set(stored)) or sorted(
        key for key, value in expected.items() if value.shape != stored[key].shape
    )
    if wrong:
        raise WeightsError(
            f"{name}: {path} does not fit {recipe.model}: {len(wrong)} weights are missing, unknown or of "
            f"another shape, {wrong[0]!r} first"
        )
    wanted.load_state_dict({key: value.to(expected[key].dtype) for key, value in stored.items()})
    return network


def save_network(network: ImageNetwork, path: Path, name: str) -> None:
    """Weights in half precision, norms and biases (few, and sensitive) in full."""
    tensors = {
        key: value.detach().cpu().to(torch.float16 if value.ndim > 1 else value.dtype).contiguous()
        for key, value in network.state_dict().items()
    }
    save_file(tensors, path, {"embedder": network.recipe.json(name)})
