"""Word pieces of contents, in chunks an encoder can take. Nothing is cut off, whatever the length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from moderator.errors import WeightsError
from moderator.types import Content
from moderator_text.emoji import named
from moderator_text.gloss import Glossary
from moderator_text.rewritten import Rewritten, without_long_words
from moderator_text.spans import to_original


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """``ids``: [CLS], up to a chunk of word pieces, [SEP]. ``spans`` float32 ``(pieces, 2)``:
    characters of ``Content.data``, for the pieces between the two."""

    ids: list[int]
    spans: NDArray[np.float32]


def read_tokenizer(written: str, path: Path) -> Tokenizer:
    """The tokenizer ``written`` as JSON in ``path``, with the truncation and padding it may come with
    switched off. ``WeightsError`` if it is none, or of a kind that is not supported."""
    try:
        tokenizer = Tokenizer.from_str(written)
    except Exception as error:  # the package raises nothing narrower
        raise WeightsError(f"{path}: no tokenizer can be read from it: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    mask = tokenizer.encode("a b").special_tokens_mask
    if mask[:1] != [1] or mask[-1:] != [1] or any(mask[1:-1]):
        raise WeightsError(
            f"{path}: does not put one special token before a text and one after it, as BERT's do; "
            "such encoders are not supported"
        )
    return tokenizer


def chunks_of(
    tokenizer: Tokenizer, contents: Sequence[Content], size: int, glossary: Glossary | None = None
) -> list[list[Chunk]]:
    """Chunks of at most ``size`` word pieces, of nearly equal length, per content; at least one each.
    With a ``glossary`` the tokenizer sees its glosses in place of the words it knows, and emoji by name."""
    if not contents:
        return []
    prepared = [_prepared(each.normalised or str(each.data), glossary) for each in contents]
    encodings = tokenizer.encode_batch([text for text, _ in prepared])
    result: list[list[Chunk]] = []
    for content, (_, rewrites), encoding in zip(contents, prepared, encodings, strict=True):
        ids: list[int] = encoding.ids
        spans = np.array(encoding.offsets, dtype=np.float32).reshape(-1, 2)[1:-1]
        for rewrite in reversed(rewrites):
            spans = rewrite.before(spans)
        spans = to_original(spans, content)
        pieces = ids[1:-1]
        if len(pieces) <= size:
            result.append([Chunk(ids, spans)])
            continue
        count = -(-len(pieces) // size)
        edges = np.linspace(0, len(pieces), count + 1).round().astype(int)
        result.append(
            [
                Chunk([ids[0], *pieces[begin:end], ids[-1]], spans[begin:end])
                for begin, end in itertools.pairwise(edges)
            ]
        )
    return result


def budgeted(order: Sequence[int], chunks: Sequence[Chunk], budget: int, *, padded: bool) -> list[list[int]]:
    """Cut an order of rising lengths into batches of at most ``budget`` tokens, counted with padding if
    there will be some."""
    batches: list[list[int]] = []
    used = 0
    for index in order:
        size = len(chunks[index].ids)
        used = size * (len(batches[-1]) + 1) if padded and batches else used + size
        if not batches or used > budget:
            batches.append([])
            used = size
        batches[-1].append(index)
    return batches


def _prepared(text: str, glossary: Glossary | None) -> tuple[str, list[Rewritten]]:
    """``text`` as the tokenizer can take it, and the steps that led there."""
    if text.isascii():
        glossary = None
    else:  # lone surrogates, which UTF-8 and so the tokenizer cannot take, become a question mark
        text = text.encode("utf-8", "replace").decode("utf-8")
    steps = []
    if glossary is not None and (spelt := named(text)) is not None:
        steps.append(spelt)
        text = spelt.text
    if glossary is not None and (glossed := glossary.gloss(text)) is not None:
        steps.append(glossed)
        text = glossed.text
    if (split := without_long_words(text)) is not None:
        steps.append(split)
        text = split.text
    return text, steps
