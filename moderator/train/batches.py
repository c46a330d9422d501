"""What the fusion model is shown in training: examples drawn by source, some joined, parts left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.fusion.collate import View
from moderator.train.examples import Example
from moderator.train.shares import shares
from moderator.train.tokens import TokenCache

_MAX_TOKENS = 64
"""Tokens kept per embedder and training step, on average at most."""


@dataclass(frozen=True, slots=True)
class FusionTraining:
    """How the fusion model is fitted. A round is ``steps`` batches, then validation."""

    rounds: int = 12
    steps: int = 250
    batch_size: int = 128
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup: int = 200
    patience: int = 4
    modality_dropout: float = 0.3
    """Chance that an embedder is dropped from an input that has others."""
    token_dropout: float = 0.1
    """Chance that a token other than the summary is dropped."""
    joint: float = 0.3
    """Chance that a text is joined with a random picture or clip, their labels united."""
    balance: float = 0.0
    """How far positives of rare labels are weighted up: 0 not at all, 1 until both sides weigh the same."""
    rare: float = 0.0
    """Chance that an example is drawn for a label, all labels alike, instead of for its source."""
    emphasis: Mapping[str, float] = field(default_factory=dict)
    """Source, or pattern of sources, → how many times as often it is drawn as its size says."""
    focus_positive: float = 0.0
    focus_negative: float = 0.0
    """Exponents of the asymmetric loss (``masked_bce``)."""
    average: float = 0.998
    """Decay of the moving average of weights that is validated and kept (Polyak & Juditsky 1992)."""
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Examples and their tokens by embedder name."""

    examples: Sequence[Example]
    caches: Mapping[str, TokenCache]

    def view(self, index: int) -> View:
        tokens = {name: found for name, cache in self.caches.items() if (found := cache[index]) is not None}
        return View(tokens, dict.fromkeys(tokens, self.examples[index].source))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``views`` of B examples, what is known of them ``targets`` (B, C), NaN where nothing is, ``weights``
    (B,), and ``source`` (B,), which of the sources each is of."""

    views: list[View]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    source: NDArray[np.int64]


class Batches:
    """Draws batches from the ``usable`` rows of ``material``; ``targets`` (N, C) and ``weights`` (N,) are of
    all examples."""

    def __init__(
        self,
        material: Material,
        training: FusionTraining,
        usable: Sequence[int],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        self._material, self._training = material, training
        self._targets, self._weights = targets, weights
        examples = material.examples
        self.sources = sorted({examples[index].dataset for index in usable})
        self.rows: dict[str, list[int]] = {source: [] for source in self.sources}
        for index in usable:
            self.rows[examples[index].dataset].append(index)
        self.source_of = {index: at for at, name in enumerate(self.sources) for index in self.rows[name]}
        self._media = [index for index in usable if not _is_text(examples[index])]
        sizes = [len(self.rows[source]) for source in self.sources]
        self._share = shares(self.sources, sizes, training.emphasis)  # (S,)
        chosen = np.array(usable, dtype=np.int64)
        harmful = (chosen[column >= 0.5].tolist() for column in targets[chosen].T)
        self._harmful: list[list[int]] = [rows for rows in harmful if rows]

    def draw(self, rng: np.random.Generator) -> Batch:
        picks = [self._drawn(rng) for _ in range(self._training.batch_size)]
        targets = self._targets[picks].copy()  # (B, C)
        views = []
        for row, index in enumerate(picks):
            view = self._material.view(index)
            joins = self._media and _is_text(self._material.examples[index])
            if joins and rng.random() < self._training.joint:
                other = self._media[rng.integers(len(self._media))]
                added = self._material.view(other)
                view = View({**view.tokens, **added.tokens}, {**view.sources, **added.sources})
                targets[row] = united(targets[row], self._targets[other])
            views.append(self._dropped(view, rng))
        source = np.array([self.source_of[index] for index in picks], dtype=np.int64)
        return Batch(views, targets, self._weights[picks], source)

    def _drawn(self, rng: np.random.Generator) -> int:
        """One example: of a source by its share, or one that has a label, all labels alike."""
        if self._harmful and rng.random() < self._training.rare:
            rows = self._harmful[rng.integers(len(self._harmful))]
        else:
            rows = self.rows[self.sources[rng.choice(len(self.sources), p=self._share)]]
        return rows[rng.integers(len(rows))]

    def _dropped(self, view: View, rng: np.random.Generator) -> View:
        names = list(view.tokens)
        kept = [name for name in names if rng.random() >= self._training.modality_dropout]
        kept = kept or [names[rng.integers(len(names))]]
        tokens = {}
        for name in kept:
            values = view.tokens[name]  # (T, dim)
            # of long ones fewer are kept: cheaper, and each view of a text is another one
            dropped = max(self._training.token_dropout, 1 - _MAX_TOKENS / len(values))
            keep = torch.from_numpy(rng.random(len(values)) >= dropped)
            keep[0] = True  # the summary
            tokens[name] = values[keep]
        return View(tokens, view.sources)


def united(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Labels of two parts in one post: harmful if either is, harmless if both are, else unknown (NaN)."""
    either = np.fmax(first, second)
    unknown = np.isnan(first) | np.isnan(second)
    result = np.where(unknown & ~(either >= 0.5), np.nan, either)
    return result.astype(np.float32)


def _is_text(example: Example) -> bool:
    return example.item.parts[0].modality.value == "text"
