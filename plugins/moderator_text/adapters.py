"""Low-rank adapters (LoRA, Hu et al. 2022): what tuning changes of an encoder, in a few hundred kilobytes.

Beside each linear layer W of the upper layers two thin matrices are learnt; W + 2·B·A takes the place of W
once they are merged, so that a tuned encoder costs no more than the one it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from moderator.errors import CheckpointError, WeightsError

_SCALE = 2.0
_LAYER = re.compile(r"\blayers?\.(\d+)\.")


class Adapter(nn.Module):
    """What is learnt: ``a`` (rank, in), ``b`` (out, rank), at first of no effect."""

    def __init__(self, inner: int, outer: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, inner, generator=generator) * inner**-0.5)
        self.b = nn.Parameter(torch.zeros(outer, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        return _SCALE * functional.linear(functional.linear(x, self.a), self.b)


class Adapted(nn.Module):
    """A frozen linear layer with its adapter beside it."""

    def __init__(self, linear: nn.Linear, adapter: Adapter) -> None:
        super().__init__()
        self.linear = linear
        self.adapter = adapter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        return self.linear(x) + self.adapter(x)  # type: ignore[no-any-return]


def adapt(model: nn.Module, *, layers: int, rank: int, seed: int) -> nn.ModuleDict:
    """Freeze ``model`` and put an adapter on every linear layer of its upper ``layers``; returns the adapters
    by the name of what they sit on (dots as ``/``, which module names may not hold)."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    found = {
        name: (int(match[1]), module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (match := _LAYER.search(name))
    }
    if not found:
        raise WeightsError("the encoder has no numbered layers to adapt")
    first = max(number for number, _ in found.values()) - layers + 1
    generator = torch.Generator().manual_seed(seed)
    made = nn.ModuleDict()
    for name, (number, module) in found.items():
        if number >= first:
            adapter = Adapter(module.in_features, module.out_features, rank, generator)
            made[name.replace(".", "/")] = adapter
            holder, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(holder), attribute, Adapted(module, adapter))
    return made


def save_adapters(adapters: nn.ModuleDict, base: str, path: Path) -> None:
    """Write the adapters in half precision; ``base`` is the digest of the weights they belong to."""
    tensors = {}
    for name, adapter in adapters.items():
        assert isinstance(adapter, Adapter)  # noqa: S101 - for mypy
        plain = name.replace("/", ".")
        tensors[f"{plain}.a"] = adapter.a.detach().cpu().half().contiguous()
        tensors[f"{plain}.b"] = adapter.b.detach().cpu().half().contiguous()
    save_file(tensors, path, metadata={"base": base})


def merge(model: nn.Module, path: Path, base: str) -> None:
    """Add a file's adapters to the weights of ``model``. ``CheckpointError`` if they were made for others."""
    try:
        with safe_open(path, framework="pt") as file:
            made_for = (file.metadata() or {}).get("base", "")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read as adapters: {error}") from error
    if made_for != base:
        raise CheckpointError(
            f"{path}: adapters for an encoder with SHA-256 {made_for[:12] or '?'}, here is one with "
            f"{base[:12]}; use the encoder the model was trained with, or train a model for this one"
        )
    for name in {each.rpartition(".")[0] for each in tensors}:
        _merge_one(model, name, tensors, path)


def _merge_one(model: nn.Module, name: str, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    try:
        weight = model.get_parameter(f"{name}.weight")
        change = _SCALE * tensors[f"{name}.b"] @ tensors[f"{name}.a"]  # (out, in)
        with torch.no_grad():
            weight.add_(change.to(weight.device))
    except (AttributeError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: the adapter of {name} does not fit the encoder: {error}") from error
