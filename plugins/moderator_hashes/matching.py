"""Hamming distance against all hashes of all lists, a few milliseconds for a hundred thousand.

No index: going through a million takes no longer than hashing a large picture (benchmarks/hash_lists.py).
Two things make it fast. Bits are counted eight bytes at a time, over pieces that fit the processor's cache.
And a hash within the distance differs by no more than that in its first half either, where hashes of other
pictures differ by about 64 bits, so that the second half is looked at for almost none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PIECE: Final = 16_384
MAX_DISTANCE: Final = 63


@dataclass(frozen=True, slots=True)
class Found:
    """Entry ``entry`` differs by ``distance`` bits from query ``query``, the nearest."""

    entry: int
    distance: int
    query: int


class Matcher:
    """Hashes ready for comparison."""

    def __init__(self, hashes: NDArray[np.uint8]) -> None:
        """``hashes``: uint8 ``(n, 32)``."""
        self._words = np.ascontiguousarray(_words(hashes).T)  # (4, n)

    def __len__(self) -> int:
        return int(self._words.shape[1])

    def within(self, queries: NDArray[np.uint8], distance: int) -> list[Found]:
        """The entries within ``distance`` bits of any of the ``queries`` ``(q, 32)``, nearest first."""
        if not 0 <= distance <= MAX_DISTANCE:
            raise ValueError(f"distance {distance} is not within 0 to {MAX_DISTANCE}")
        best: dict[int, Found] = {}
        asked = _words(queries)
        for start in range(0, len(self), _PIECE):
            piece = self._words[:, start : start + _PIECE]
            for number, query in enumerate(asked):
                half = _differing(piece[0], query[0]) + _differing(piece[1], query[1])  # at most 128: a byte
                near = np.flatnonzero(half <= distance)
                if not near.size:
                    continue
                # at most 63 + 128: still a byte
                whole = (
                    half[near] + _differing(piece[2, near], query[2]) + _differing(piece[3, near], query[3])
                )
                for index in np.flatnonzero(whole <= distance).tolist():
                    found = Found(start + int(near[index]), int(whole[index]), number)
                    if found.entry not in best or found.distance < best[found.entry].distance:
                        best[found.entry] = found
        return sorted(best.values(), key=lambda found: (found.distance, found.entry))


def _words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes).view(np.uint64)


def _differing(words: NDArray[np.uint64], word: np.uint64) -> NDArray[np.uint8]:
    differing: NDArray[np.uint8] = np.bitwise_count(words ^ word)
    return differing
