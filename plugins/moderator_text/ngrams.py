"""Hashed character n-grams of a batch of texts, vectorised: no Python loop over characters.

Every window of 2–5 characters (1–5 where characters are words by themselves, as in Chinese), every
word and every pair of neighbouring words becomes a bucket number. Windows are hashed with a prefix
polynomial (Karp & Rabin 1987), so that the cost does not grow with the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1 << 24
"""Wide enough that n-grams worth keeping hardly ever share a number."""
ORDERS = (1, 2, 3, 4, 5)
MAX_WORD = 16
"""Longer runs of letters are cut into tokens of this many characters."""
_CJK_TOKEN = 2  # characters a token covers where words are not separated by spaces
_IDEOGRAPHIC = 0x2190  # arrows, symbols, kana, ideographs, emoji: meaning in single characters
_SPACE = 0x20
_BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
_WORD_SALT = np.uint64(0xD1B54A32D192ED03)
_PAIR_SALT = np.uint64(0x8CB92BA72F3D8DD7)


@dataclass(frozen=True, slots=True, eq=False)
class NGrams:
    """Features of B texts with N n-grams in K tokens, sorted by token.

    ``buckets`` int64 ``(N,)``; ``bags`` int64 ``(K,)``: where each token's n-grams start in
    ``buckets``; ``text_of`` int64 ``(K,)``: which text a token belongs to; ``spans`` float32
    ``(K, 2)``: characters of the text each token covers. Every text has at least one token.
    """

    buckets: NDArray[np.int64]
    bags: NDArray[np.int64]
    text_of: NDArray[np.int64]
    spans: NDArray[np.float32]


def ngrams(texts: Sequence[str]) -> NGrams:
    """Hash the n-grams of ``texts`` into ``BUCKETS`` numbers."""
    points, text_of_char, position = _characters(texts)
    token_of_char, starts = _tokens(points, text_of_char)
    prefix, powers = _prefix_hash(points)
    found = [_windows(points, text_of_char, token_of_char, prefix, powers, order) for order in ORDERS]
    found.append(_words(points, starts, text_of_char, prefix, powers))
    hashes = np.concatenate([each[0] for each in found])
    tokens = np.concatenate([each[1] for each in found])
    order = np.argsort(tokens, kind="stable")
    counts = np.bincount(tokens, minlength=len(starts))
    bags = np.zeros(len(starts), dtype=np.int64)
    np.cumsum(counts[:-1], out=bags[1:])
    return NGrams(
        buckets=(_mix(hashes[order]) & np.uint64(BUCKETS - 1)).astype(np.int64),
        bags=bags,
        text_of=text_of_char[starts],
        spans=_spans(token_of_char, position, len(starts), texts, text_of_char[starts]),
    )


def _lower(text: str) -> str:
    low = text.lower()
    # a few letters grow when lowered (İ); spans need one character for one character
    return low if len(low) == len(text) else "".join(each.lower()[:1] for each in text)


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Code points of all texts, each between two spaces; the text and the position each belongs to."""
    lengths = np.array([len(text) + 2 for text in texts], dtype=np.int64)
    joined = "".join(f" {_lower(text)} " for text in texts)
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    points[(points == 0x09) | (points == 0x0A) | (points == 0x0D) | (points == 0x3000)] = _SPACE
    text_of = np.repeat(np.arange(len(texts)), lengths)
    begin = np.cumsum(lengths) - lengths
    return points, text_of, np.arange(len(points)) - begin[text_of] - 1


def _tokens(
    points: NDArray[np.uint64], text_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token of each character, and the character each token starts at."""
    kind = np.where(points == _SPACE, 0, np.where(points >= _IDEOGRAPHIC, 2, 1))
    new_text = np.diff(text_of, prepend=-1) != 0
    run_start = (np.diff(kind, prepend=-1) != 0) | new_text
    index = np.arange(len(points))
    in_run = index - np.maximum.accumulate(np.where(run_start, index, 0))
    size = np.where(kind == 2, _CJK_TOKEN, MAX_WORD)
    is_start = (kind > 0) & (in_run % size == 0)
    # a text without a word still gets one token: its first space
    has_word = np.zeros(int(text_of[-1]) + 1, dtype=bool)
    has_word[text_of[is_start]] = True
    is_start |= new_text & ~has_word[text_of]
    starts = np.flatnonzero(is_start)
    token_of = np.cumsum(is_start) - 1
    # a space leads into the token after it, unless that belongs to the next text
    lead = np.flatnonzero((kind == 0) & ~is_start)
    following = np.minimum(token_of[lead] + 1, len(starts) - 1)
    same = text_of[starts[following]] == text_of[lead]
    token_of[lead] = np.where(same, following, token_of[lead])
    return token_of, starts


def _prefix_hash(points: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sums S with S[j] − S[i] = Σ p(k)·B^k over i ≤ k < j (mod 2^64), and the inverse powers of B."""
    count = len(points)
    powers, inverse = _powers(1 << max(10, (count - 1).bit_length()))
    prefix = np.zeros(count + 1, dtype=np.uint64)
    np.cumsum(_mix(points + np.uint64(1)) * powers[:count], out=prefix[1:])
    return prefix, inverse


@lru_cache(maxsize=8)
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    base = int(_BASE)
    inverse = pow(base, -1, 1 << 64)
    return _geometric(base, count), _geometric(inverse, count)


def _geometric(base: int, count: int) -> NDArray[np.uint64]:
    steps = np.full(count, base, dtype=np.uint64)
    steps[0] = 1
    return np.multiply.accumulate(steps)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit moves every output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _windows(
    points: NDArray[np.uint64],
    text_of: NDArray[np.int64],
    token_of: NDArray[np.int64],
    prefix: NDArray[np.uint64],
    inverse: NDArray[np.uint64],
    order: int,
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    count = len(points) - order + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    inside = text_of[:count] == text_of[order - 1 :]
    if order == 1:
        inside &= points >= _IDEOGRAPHIC
    at = np.flatnonzero(inside)
    hashes = (prefix[at + order] - prefix[at]) * inverse[at] + np.uint64(order)
    return hashes, token_of[at]


def _words(
    points: NDArray[np.uint64],
    starts: NDArray[np.int64],
    text_of: NDArray[np.int64],
    prefix: NDArray[np.uint64],
    inverse: NDArray[np.uint64],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Whole tokens and pairs of neighbouring tokens of the same text."""
    ends = np.append(starts[1:], len(points))
    space = np.append(np.flatnonzero(points == _SPACE), len(points))
    next_space = space[np.searchsorted(space, starts)]
    ends = np.maximum(np.minimum(ends, next_space), starts)
    single = (prefix[ends] - prefix[starts]) * inverse[starts] + _WORD_SALT
    pair_at = np.flatnonzero(text_of[starts[:-1]] == text_of[starts[1:]])
    pairs = _mix(single[pair_at]) * _PAIR_SALT + single[pair_at + 1]
    tokens = np.arange(len(starts))
    return np.concatenate([single, pairs]), np.concatenate([tokens, pair_at])


def _spans(
    token_of: NDArray[np.int64],
    position: NDArray[np.int64],
    count: int,
    texts: Sequence[str],
    text_of_token: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Characters each token covers, leading spaces included, clipped to its text."""
    spans = np.zeros((count, 2), dtype=np.float32)
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1, dtype=np.int64)
    np.minimum.at(first, token_of, position)
    np.maximum.at(last, token_of, position)
    limit = np.array([len(text) for text in texts])[text_of_token]
    spans[:, 0] = np.clip(first, 0, limit)
    spans[:, 1] = np.clip(last + 1, 0, limit)
    return spans
