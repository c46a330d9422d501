"""AdamW (Loshchilov & Hutter 2019) with linear warm-up, a cosine to zero and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from moderator.train import state
from moderator.train.parallel import average_gradients


class WarmCosine:
    """Optimises the parameters of ``modules`` over ``steps`` steps, of which ``warmup`` is a share.

    The rate depends on the number of the step alone, so a resumed run needs no more than the moments.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        *,
        lr: float,
        weight_decay: float,
        warmup: float,
        clip: float,
        steps: int,
        shared: bool = False,
    ) -> None:
        """``shared``: several processes take each step together (``moderator.train.parallel``)."""
        self._lr, self._clip, self._steps = lr, clip, steps
        self._shared = shared
        self._warm = max(1, int(warmup * steps))
        self._parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self._adamw = torch.optim.AdamW(_groups(self._parameters, weight_decay), lr=lr, foreach=True)

    def rate(self, step: int) -> float:
        if step < self._warm:
            return self._lr * (step + 1) / self._warm
        done = (step - self._warm) / max(1, self._steps - self._warm)
        return self._lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def descend(self, loss: torch.Tensor, step: int) -> None:
        """One step down the gradient of ``loss``, at the rate of step number ``step`` (from 0)."""
        for group in self._adamw.param_groups:
            group["lr"] = self.rate(step)
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()
        if self._shared:
            average_gradients(self._parameters)
        nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._adamw.step()

    def tensors(self) -> state.Tensors:
        """The moments and step counts of each parameter, by place."""
        return {
            f"{index}.{name}": state.copied(torch.as_tensor(value))
            for index, values in self._adamw.state_dict()["state"].items()
            for name, value in values.items()
        }

    def restore(self, tensors: state.Tensors) -> None:
        moments: dict[int, state.Tensors] = {}
        for name, tensor in tensors.items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        self._adamw.load_state_dict(
            {"state": moments, "param_groups": self._adamw.state_dict()["param_groups"]}
        )


def _groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not decayed."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
