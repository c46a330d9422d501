"""Which n-grams are known, and how much each says by being rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator_text.ngrams import BUCKETS, NGrams, ngrams

_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Known n-grams of B texts: ``places`` int32 ``(N,)`` in the vocabulary, ``values`` float32 ``(N,)``
    tf-idf of unit length per text, ``counts`` int64 ``(B,)`` how many each text has."""

    places: NDArray[np.int32]
    values: NDArray[np.float32]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """``ids`` int32 ``(K,)``: bucket numbers, rising. ``idf`` float32 ``(K,)``: inverse text frequency."""

    ids: NDArray[np.int32]
    idf: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def fit(cls, texts: Sequence[str], *, size: int, min_count: int) -> Vocabulary:
        """The ``size`` n-grams that are in the most texts, and in at least ``min_count`` of them."""
        counts = np.zeros(BUCKETS, dtype=np.int32)
        for at in range(0, len(texts), _BATCH):
            grams = ngrams(texts[at : at + _BATCH])
            lengths = np.diff(np.append(grams.bags, len(grams.buckets)))
            keys = np.repeat(grams.text_of, lengths) * BUCKETS + grams.buckets
            np.add.at(counts, np.unique(keys) % BUCKETS, 1)
        kept = np.flatnonzero(counts >= min_count)
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:size]])
        idf = np.log((1 + len(texts)) / (1 + counts[kept])) + 1
        # rounded as they are stored, so that a saved model is the one that was fitted
        return cls(kept.astype(np.int32), idf.astype(np.float16).astype(np.float32))

    def places(self, grams: NGrams) -> NDArray[np.int64]:
        """Place of each n-gram in the vocabulary ``(N,)``; ``len(self)`` for unknown ones."""
        if not len(self.ids):
            return np.zeros(len(grams.buckets), dtype=np.int64)
        at = np.searchsorted(self.ids, grams.buckets)
        at = np.minimum(at, len(self.ids) - 1)
        return np.where(self.ids[at] == grams.buckets, at, len(self.ids))

    def weigh(self, grams: NGrams) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Place ``(N,)`` and tf-idf weight ``(N,)`` of each n-gram; 0 for unknown ones.

        tf grows with the logarithm of the count (Buckley 1985), shared out among the occurrences, so that
        an insult repeated a hundred times does not drown all else.
        """
        places = self.places(grams)
        lengths = np.diff(np.append(grams.bags, len(grams.buckets)))
        keys = np.repeat(grams.text_of, lengths) * (len(self.ids) + 1) + places
        _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
        share = ((1 + np.log(counts)) / counts).astype(np.float32)[which]
        return places, np.append(self.idf, np.float32(0))[places] * share

    def features(self, texts: Sequence[str]) -> Features:
        """tf-idf of the known n-grams of ``texts``, each n-gram once per text, of unit length per text."""
        grams = ngrams(texts)
        places, weights = self.weigh(grams)
        text_of = np.repeat(grams.text_of, np.diff(np.append(grams.bags, len(grams.buckets))))
        keys, which = np.unique(text_of * (len(self.ids) + 1) + places, return_inverse=True)
        values = np.bincount(which, weights=weights)
        text_of, places = np.divmod(keys, len(self.ids) + 1)
        known = places < len(self.ids)
        text_of, places, values = text_of[known], places[known], values[known]
        squares = np.bincount(text_of, weights=values**2, minlength=len(texts))
        values = values / np.sqrt(np.maximum(squares, 1e-6))[text_of]
        counts = np.bincount(text_of, minlength=len(texts))
        return Features(places.astype(np.int32), values.astype(np.float32), counts)
