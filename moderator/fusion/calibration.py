"""From logits to probabilities that mean what they say: one temperature and one bias per label.

Temperature scaling is Guo et al. 2017; the bias (Platt 1999) undoes the shift of the base rate that
balanced sampling brings into training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moderator.errors import CheckpointError

_MIN_CLASS = 20
"""Fewer positives or negatives than this, and a label is not calibrated."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``probability = sigmoid(logit / temperature + bias)``, per label in the order of the outputs."""

    labels: tuple[str, ...]
    temperature: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def identity(cls, labels: Sequence[str]) -> Calibration:
        return cls(tuple(labels), (1.0,) * len(labels), (0.0,) * len(labels))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, C) → probabilities (B, C), in float64 so that 1 − p keeps its digits."""
        temperature = torch.tensor(self.temperature, dtype=torch.float64, device=logits.device)  # (C,)
        bias = torch.tensor(self.bias, dtype=torch.float64, device=logits.device)  # (C,)
        return torch.sigmoid(logits.double() / temperature + bias)

    def to_json(self) -> str:
        return json.dumps(
            {
                name: {"temperature": t, "bias": b}
                for name, t, b in zip(self.labels, self.temperature, self.bias, strict=True)
            }
        )

    @classmethod
    def from_json(cls, text: str, labels: Sequence[str]) -> Calibration:
        try:
            raw = json.loads(text)
            temperature = tuple(float(raw[name]["temperature"]) for name in labels)
            bias = tuple(float(raw[name]["bias"]) for name in labels)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint's calibration cannot be read: {error!r}") from error
        if not all(np.isfinite(temperature)) or min(temperature) <= 0 or not all(np.isfinite(bias)):
            raise CheckpointError("the checkpoint's calibration holds a temperature that is not above 0")
        return cls(tuple(labels), temperature, bias)


def fit(
    labels: Sequence[str],
    logits: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32] | None = None,
    before: Calibration | None = None,
) -> Calibration:
    """Fit on held-out ``logits`` (N, C) and ``targets`` (N, C), NaN where unknown.

    ``weights`` (N,) balance sources. A label with too few rows keeps ``before``, or its raw logits.
    Minimises log loss by Newton's method, with a weak pull towards temperature 1 so that a perfectly
    separated label stays finite.
    """
    temperature, bias = [], []
    for column in range(len(labels)):
        known = ~np.isnan(targets[:, column])
        x = logits[known, column].astype(np.float64)
        y = targets[known, column].astype(np.float64)
        w = np.ones_like(x) if weights is None else weights[known].astype(np.float64)
        if min((y >= 0.5).sum(), (y < 0.5).sum()) < _MIN_CLASS:
            temperature.append(before.temperature[column] if before else 1.0)
            bias.append(before.bias[column] if before else 0.0)
            continue
        slope, shift = _newton(x, y, w / w.mean())
        temperature.append(1.0 / slope)
        bias.append(shift)
    return Calibration(tuple(labels), tuple(temperature), tuple(bias))


def _newton(x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and shift of a one-dimensional logistic regression, the slope kept in [0.05, 20]."""
    slope, shift = 1.0, 0.0
    pull = 1.0
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(slope * x + shift, -50, 50)))
        error, curve = w * (p - y), w * p * (1 - p)
        gradient = np.array([error @ x + pull * (slope - 1), error.sum()])
        hessian = np.array([[(curve * x) @ x + pull, curve @ x], [curve @ x, curve.sum() + 1e-6]])
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 2.0 / (np.abs(step).max() + 1e-12))
        slope = float(np.clip(slope - step[0], 0.05, 20))
        shift = float(np.clip(shift - step[1], -20, 20))
        if np.abs(step).max() < 1e-9:
            break
    return slope, shift
