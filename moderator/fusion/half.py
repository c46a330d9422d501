"""The fusion model with its large matrix products in bfloat16: about twice as fast where a processor has it.

Everything else (attention, normalisation, what runs from layer to layer, the readouts) stays in float32, so
that scores move by less than what the encoders' own half precision moves them.
"""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional

from moderator.fusion.model import FusionModel

_SMALLEST = 64
"""Layers narrower than this, such as the readouts, are not worth it."""


class HalfLinear(nn.Module):
    """(…, in) float32 → (…, out) float32; the product is computed in bfloat16."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach().bfloat16(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.bfloat16(), self.weight, self.bias).float()


def halved(model: FusionModel) -> FusionModel:
    """A copy of ``model`` for inference."""
    made = deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.Linear) and min(module.weight.shape) >= _SMALLEST:
            holder, _, attribute = name.rpartition(".")
            setattr(made.get_submodule(holder), attribute, HalfLinear(module))
    return made
