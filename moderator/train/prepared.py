"""Labelled items decoded for training: cached in memory up to a budget, decoded again beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.errors import MediaError, TrainingError
from moderator.train.examples import Example
from moderator.types import Content, Item, Modality

Decode = Callable[[Item], Sequence[Content]]
"""Opens an item: the decoded contents of its parts; raises ``MediaError`` where it cannot."""

_WINDOW = 16
"""Batches among which items are sorted by size: little padding, still a random order."""

_FULL_SCALE = 32767.0


class Prepared:
    """Contents and label arrays of one split.

    ``truth`` and ``weight`` are float32 ``(N, L)``; weight is 0 where a label is unknown, 1 for human
    labels and 1 / (1 + weak) for weaker ones. Items without content of the modality are ``skipped``.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        labels: Sequence[str],
        modality: Modality,
        decode: Decode,
        cache_bytes: int,
    ) -> None:
        self._decode = decode
        self._modality = modality
        self._items: list[Item] = []
        self._cache: list[tuple[Content, ...] | None] = []
        self.skipped = 0
        kept: list[Example] = []
        sizes: list[int] = []
        for example in examples:
            try:
                contents = self._opened(example.item)
            except MediaError:
                contents = ()
            if not contents:
                self.skipped += 1
                continue
            cache_bytes -= sum(_bytes(content) for content in contents)
            kept.append(example)
            sizes.append(sum(len(content.data) for content in contents))
            self._items.append(example.item)
            self._cache.append(contents if cache_bytes > 0 else None)
        if examples and not kept:
            raise TrainingError(f"none of {len(examples)} examples has {modality.value} that can be decoded")
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self.truth = np.zeros((len(kept), len(labels)), dtype=np.float32)
        self.weight = np.zeros_like(self.truth)
        for row, example in enumerate(kept):
            for column, label in enumerate(labels):
                if label in example.labels:
                    self.truth[row, column] = example.labels[label]
                    self.weight[row, column] = 1.0 / (1 + example.weak)

    def __len__(self) -> int:
        return len(self._items)

    def class_weights(self, balance: float) -> NDArray[np.float32]:
        """Weights of negatives and positives of each label ``(2, L)``; 0 for labels with one class only.

        ``balance`` from 0 (none) to 1 (both classes weigh the same in all); see ``EmbedderTraining``.
        """
        positive = (self.truth * self.weight).sum(axis=0)  # (L,)
        negative = ((1 - self.truth) * self.weight).sum(axis=0)  # (L,)
        counts = np.stack([negative, positive])  # (2, L)
        learnable = (counts > 0).all(axis=0)
        share = counts.sum(axis=0) / (2 * np.maximum(counts, 1e-6))
        return np.where(learnable, np.clip(share, 0.05, 50.0) ** balance, 0.0).astype(np.float32)

    def batches(self, size: int, rng: np.random.Generator | None) -> Iterator[NDArray[np.int64]]:
        """Index arrays of at most ``size`` items of similar length; in random order with ``rng``."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        # Without chance the whole set may be sorted; with it, only a window, or batches never change.
        step = len(self) if rng is None else size * _WINDOW
        for start in range(0, len(order), max(step, 1)):
            window = order[start : start + step]
            window = window[np.argsort(self._sizes[window], kind="stable")]
            cuts = np.arange(0, len(window), size)
            for cut in cuts if rng is None else rng.permutation(cuts):
                yield window[cut : cut + size]

    def contents(self, rows: NDArray[np.int64]) -> tuple[list[Content], NDArray[np.int64]]:
        """The contents of these items, and for each the place in ``rows`` of the item it belongs to."""
        contents: list[Content] = []
        owner: list[int] = []
        for place, row in enumerate(rows):
            cached = self._cache[row]
            for content in cached if cached is not None else self._opened(self._items[row]):
                contents.append(_restored(content))
                owner.append(place)
        return contents, np.asarray(owner, dtype=np.int64)

    def _opened(self, item: Item) -> tuple[Content, ...]:
        return tuple(_compact(c) for c in self._decode(item) if c.modality is self._modality)


def _compact(content: Content) -> Content:
    """Audio as 16-bit integers: half the memory, whether cached or not, so that results are the same."""
    if content.modality is not Modality.AUDIO or isinstance(content.data, str):
        return content
    samples = np.clip(content.data.astype(np.float32), -1.0, 1.0) * _FULL_SCALE
    whole: Any = np.rint(samples).astype(np.int16)
    return replace(content, data=whole)


def _restored(content: Content) -> Content:
    if content.modality is not Modality.AUDIO or isinstance(content.data, str):
        return content
    return replace(content, data=content.data.astype(np.float32) / np.float32(_FULL_SCALE))


def _bytes(content: Content) -> int:
    if isinstance(content.data, str):
        offsets = 0 if content.offsets is None else content.offsets.nbytes
        return 400 + 2 * (len(content.data) + len(content.normalised)) + offsets
    return 400 + int(content.data.nbytes)
