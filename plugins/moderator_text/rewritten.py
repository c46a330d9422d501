"""Text written anew for an encoder, with the way back to the characters it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LONG_WORD = re.compile(r"\S{81,}")
_PIECE = 80
"""WordPiece turns a word of over 100 characters into one [UNK]; longer ones are split before."""


@dataclass(frozen=True, slots=True, eq=False)
class Rewritten:
    """``text``; character ``i`` of it stands for ``begins[i]`` to ``ends[i]`` (int32) of the text before."""

    text: str
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    def before(self, spans: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spans ``(T, 2)`` over ``text`` as spans over the text before."""
        if not len(self.begins):
            return np.zeros_like(spans)
        last = len(self.begins) - 1
        first = np.clip(spans[:, 0].astype(np.int64), 0, last)
        final = np.clip(spans[:, 1].astype(np.int64) - 1, first, last)
        return np.stack([self.begins[first], self.ends[final]], axis=1).astype(np.float32)


class Writer:
    """Collects the pieces of a ``Rewritten``."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._places: list[tuple[int, int, int, bool]] = []  # length, begin, end, whether copied

    def copy(self, text: str, begin: int, end: int) -> None:
        """Characters ``begin`` to ``end`` of ``text`` as they are."""
        if begin < end:
            self._pieces.append(text[begin:end])
            self._places.append((end - begin, begin, begin + 1, True))

    def put(self, piece: str, begin: int, end: int) -> None:
        """``piece`` in place of the characters ``begin`` to ``end``."""
        if piece:
            self._pieces.append(piece)
            self._places.append((len(piece), begin, end, False))

    def done(self) -> Rewritten:
        places = np.array(self._places, dtype=np.int32).reshape(-1, 4)
        lengths = places[:, 0]
        _, begins, ends, copied = np.repeat(places, lengths, axis=0).T  # (characters,) each
        # from the second character of a copied piece on, its place moves with it
        within = np.arange(len(begins), dtype=np.int32) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        moved = (within * copied).astype(np.int32)
        return Rewritten("".join(self._pieces), begins + moved, ends + moved)


def without_long_words(text: str) -> Rewritten | None:
    """A space put into every run of over 80 characters; None where there is none."""
    if not _LONG_WORD.search(text):
        return None
    writer = Writer()
    at = 0
    for match in _LONG_WORD.finditer(text):
        writer.copy(text, at, match.start())
        for begin in range(match.start(), match.end(), _PIECE):
            end = min(begin + _PIECE, match.end())
            writer.copy(text, begin, end)
            writer.put(" ", end, end)
        at = match.end()
    writer.copy(text, at, len(text))
    return writer.done()
