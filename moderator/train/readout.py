"""A linear reading of the summaries, fitted in one piece and added to the model's shortcuts.

Deep parts learn each source's quirks; a convex fit that weighs sources evenly transfers better to
sources nobody has seen. Averaging the two readers' logits keeps the strengths of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from moderator.fusion.model import FusionModel, key_of
from moderator.train.examples import Example
from moderator.train.losses import habits_of
from moderator.train.tokens import TokenCache

_PENALTY = 1e-4
_ITERATIONS = 80


def add_readout(
    model: FusionModel,
    caches: dict[str, TokenCache],
    examples: Sequence[Example],
    rows: Sequence[int],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Fit on ``rows`` of ``examples`` and add the result to ``model.shortcuts``.

    ``targets`` (N, C) with NaN for unknown and ``weights`` (N,) cover all examples. Each source counts as
    the square root of its size and has a bias of its own, which is dropped: it stands for what its
    annotators call harmful beyond what the content shows.
    """
    names = sorted({examples[row].dataset for row in rows})
    source = torch.tensor([names.index(examples[row].dataset) for row in rows])  # (R,)
    sizes = torch.bincount(source, minlength=len(names)).float()
    y = torch.from_numpy(targets[list(rows)])  # (R, C)
    weight = torch.from_numpy(weights[list(rows)]) * sizes[source] ** -0.5  # (R,)
    habits = torch.from_numpy(habits_of(targets[list(rows)], source.numpy(), len(names)))  # (S, C)
    known = ~y.isnan() * (weight / weight.mean())[:, None]  # (R, C)
    y = y.nan_to_num(0.0)
    specs = [spec for spec in model.config.embedders if spec.name in caches]
    inputs = [_summaries(model, key_of(spec), caches[spec.name], rows) for spec in specs]
    x = torch.cat([block for pair in inputs for block in pair], dim=1)  # (R, Σ (dim + 1))
    table = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)
    bias = torch.zeros(len(names), y.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [table, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = x @ table + (bias * habits)[source]  # (R, C)
        losses = functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        loss = (losses * known).sum() / known.sum()
        # without the second term what all sources have in common could hide in their biases
        loss = (
            loss
            + _PENALTY * table.square().sum()
            + 1e-3 * bias.square().mean()
            + 0.1 * bias.mean(0).square().sum()
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    at = 0
    with torch.no_grad():
        for spec, (values, _) in zip(specs, inputs, strict=True):
            linear = model.shortcuts[key_of(spec)][1]  # type: ignore[index]
            linear.weight += table[at : at + values.shape[1]].T
            linear.bias += table[at + values.shape[1]]
            at += values.shape[1] + 1


def _summaries(
    model: FusionModel, key: str, cache: TokenCache, rows: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised summaries (R, dim), zero where absent, and whether present (R, 1)."""
    chosen = np.asarray(rows)
    present = cache.present[chosen]  # (R,)
    values = torch.zeros(len(rows), cache.values.shape[1])
    found = torch.from_numpy(cache.values[cache.begins[chosen[present]]].astype(np.float32))
    values[torch.from_numpy(present)] = model.shortcuts[key][0](found)  # type: ignore[index]
    return values, torch.from_numpy(present.astype(np.float32))[:, None]
