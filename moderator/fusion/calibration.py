"""From logits to probabilities that mean what they say: one temperature and one bias per label.

Temperature scaling is Guo et al. 2017; the bias (Platt 1999) undoes the shift of the base rate that
balanced sampling brings into training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moderator.errors import CheckpointError

_LANGUAGES = "languages"
_MIN_CLASS = 20
"""Fewer positives or negatives than this, and a label is not calibrated."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``probability = sigmoid(logit / temperature + bias)``, per label in the order of the outputs.

    ``languages``: language → the calibration of texts in it, where there is another: encoders know languages
    unequally well, and their logits then lie elsewhere.
    """

    labels: tuple[str, ...]
    temperature: tuple[float, ...]
    bias: tuple[float, ...]
    languages: Mapping[str, Calibration] = field(default_factory=dict)

    @classmethod
    def identity(cls, labels: Sequence[str]) -> Calibration:
        return cls(tuple(labels), (1.0,) * len(labels), (0.0,) * len(labels))

    def probabilities(self, logits: Tensor, languages: Sequence[str] = ()) -> Tensor:
        """Logits (B, C) → probabilities (B, C), in float64 so that 1 − p keeps its digits. ``languages``: of
        each input."""
        chosen = [self.languages.get(language, self) for language in languages] or [self]
        table = [(each.temperature, each.bias) for each in chosen]
        numbers = torch.tensor(table, dtype=torch.float64, device=logits.device)  # (B or 1, 2, C)
        return torch.sigmoid(logits.double() / numbers[:, 0] + numbers[:, 1])

    def widened(self, labels: Sequence[str]) -> Calibration:
        """With room for the labels beyond its own, which are not calibrated."""
        more = len(labels) - len(self.labels)
        return Calibration(
            tuple(labels),
            self.temperature + (1.0,) * more,
            self.bias + (0.0,) * more,
            {language: each.widened(labels) for language, each in self.languages.items()},
        )

    def to_json(self) -> str:
        return json.dumps(self._as_dict())

    def _as_dict(self) -> dict[str, object]:
        made: dict[str, object] = {
            name: {"temperature": t, "bias": b}
            for name, t, b in zip(self.labels, self.temperature, self.bias, strict=True)
        }
        languages = {language: each._as_dict() for language, each in self.languages.items()}
        return {**made, _LANGUAGES: languages} if languages else made

    @classmethod
    def from_json(cls, text: str, labels: Sequence[str]) -> Calibration:
        try:
            return cls._from_dict(json.loads(text), labels)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's calibration cannot be read: {error!r}") from error

    @classmethod
    def _from_dict(cls, raw: Mapping[str, Any], labels: Sequence[str]) -> Calibration:
        temperature = tuple(float(raw[name]["temperature"]) for name in labels)
        bias = tuple(float(raw[name]["bias"]) for name in labels)
        if not all(np.isfinite(temperature)) or min(temperature) <= 0 or not all(np.isfinite(bias)):
            raise CheckpointError("the checkpoint's calibration holds a temperature that is not above 0")
        languages = {
            str(language): cls._from_dict(each, labels) for language, each in raw.get(_LANGUAGES, {}).items()
        }
        return cls(tuple(labels), temperature, bias, languages)


def fit(
    labels: Sequence[str],
    logits: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32] | None = None,
    languages: Sequence[str] = (),
    before: Calibration | None = None,
) -> Calibration:
    """Fit on held-out ``logits`` (N, C) and ``targets`` (N, C), NaN where unknown.

    ``weights`` (N,) balance sources; ``languages`` (N) has another fit for each named in it, where there are
    rows enough. A label with too few rows keeps ``before``, or its raw logits. Minimises log loss by Newton's
    method, with a weak pull towards temperature 1 so that a perfectly separated label stays finite.
    """
    weight = np.ones(len(logits), np.float32) if weights is None else weights
    start = before or Calibration.identity(labels)
    apart = np.array(languages or [""] * len(logits))
    # texts of the languages that have their own must not move that of all others
    whole = _fit(start, logits, targets, weight, [apart == "", np.ones(len(logits), dtype=bool)])
    named = sorted(set(apart.tolist()) - {""})
    own = {each: _fit(whole, logits, targets, weight, [apart == each]) for each in named}
    return replace(whole, languages={**start.languages, **own})


def _fit(
    start: Calibration,
    logits: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    among: Sequence[NDArray[np.bool_]],
) -> Calibration:
    """Per label on the first of ``among``'s rows that are enough, else as ``start`` has it."""
    temperature, bias = list(start.temperature), list(start.bias)
    for column in range(len(start.labels)):
        for rows in among:
            known = rows & ~np.isnan(targets[:, column])
            x = logits[known, column].astype(np.float64)
            y = targets[known, column].astype(np.float64)
            if min((y >= 0.5).sum(), (y < 0.5).sum()) >= _MIN_CLASS:
                w = weights[known].astype(np.float64)
                slope, bias[column] = _newton(x, y, w / w.mean())
                temperature[column] = 1.0 / slope
                break
    return Calibration(start.labels, tuple(temperature), tuple(bias))


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
