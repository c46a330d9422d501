"""Word pieces of contents, in chunks an encoder can take. Nothing is cut off, whatever the length."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from moderator.errors import WeightsError
from moderator.types import Content
from moderator_text.spans import to_original

_LONG_WORD = re.compile(r"\S{81,}")
_PIECE = 80
"""WordPiece turns a word of over 100 characters into one [UNK]; longer ones are split before."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """``ids``: [CLS], up to a chunk of word pieces, [SEP]. ``spans`` float32 ``(pieces, 2)``:
    characters of ``Content.data``, for the pieces between the two."""

    ids: list[int]
    spans: NDArray[np.float32]


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a model folder, with the truncation and padding it may come with switched off."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    mask = tokenizer.encode("a b").special_tokens_mask
    if mask[:1] != [1] or mask[-1:] != [1] or any(mask[1:-1]):
        raise WeightsError(
            f"{path}: does not put one special token before a text and one after it, as BERT's do; "
            "such encoders are not supported"
        )
    return tokenizer


def chunks_of(tokenizer: Tokenizer, contents: Sequence[Content], size: int) -> list[list[Chunk]]:
    """Chunks of at most ``size`` word pieces, of nearly equal length, per content; at least one each."""
    if not contents:
        return []
    texts, moves = zip(
        *(_split_long_words(each.normalised or str(each.data)) for each in contents), strict=True
    )
    encodings = tokenizer.encode_batch(list(texts))
    result: list[list[Chunk]] = []
    for content, move, encoding in zip(contents, moves, encodings, strict=True):
        ids: list[int] = encoding.ids
        spans = np.array(encoding.offsets, dtype=np.float32).reshape(-1, 2)[1:-1]
        if move is not None:
            spans = move[spans.astype(np.int64)].astype(np.float32)
        spans = to_original(spans, content)
        pieces = ids[1:-1]
        count = max(1, -(-len(pieces) // size))
        edges = np.linspace(0, len(pieces), count + 1).round().astype(int)
        result.append(
            [
                Chunk([ids[0], *pieces[begin:end], ids[-1]], spans[begin:end])
                for begin, end in itertools.pairwise(edges)
            ]
        )
    return result


def _split_long_words(text: str) -> tuple[str, NDArray[np.int64] | None]:
    """Put a space into every run of over 80 characters; the map from new to old positions, or None.

    Lone surrogates, which UTF-8 and so the tokenizer cannot take, become the replacement character.
    """
    text = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
    if not _LONG_WORD.search(text):
        return text, None
    out: list[str] = []
    old: list[int] = []
    at = 0
    for match in _LONG_WORD.finditer(text):
        out.append(text[at : match.start()])
        old.extend(range(at, match.start()))
        for begin in range(match.start(), match.end(), _PIECE):
            end = min(begin + _PIECE, match.end())
            out.append(text[begin:end] + " ")
            old.extend((*range(begin, end), end))
        at = match.end()
    out.append(text[at:])
    old.extend(range(at, len(text) + 1))
    return "".join(out), np.array(old, dtype=np.int64)
