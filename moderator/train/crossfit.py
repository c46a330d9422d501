"""Embedders that fit themselves: tokens for training come from weights that never saw the example.

Without this the fusion model would learn to trust an embedder as far as its memory of the training rows
goes, and be wrong on every new one (stacked generalisation, Wolpert 1992).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderator.plugin import FittedEmbedder
from moderator.train.examples import Example
from moderator.train.losses import targets_of, weights_of
from moderator.train.material import contents_of
from moderator.train.tokens import TokenCache
from moderator.types import Content

FOLDS = 4

Fresh = Callable[[Mapping[str, object]], FittedEmbedder]


def cross_fitted(
    fresh: Fresh,
    examples: Sequence[Example],
    out: Path,
    work: Path,
    labels: Sequence[str],
    report: Callable[[str], None],
) -> TokenCache:
    """Fit on all training rows into ``out``, and per fold on the others into ``work``; tokens of all rows.

    Weights that are there already are used if they were fitted to the same rows, labels and options.
    Validation rows get the tokens of the final
    weights, as new content will.
    """
    contents = [next(iter(contents_of(example.item)), None) for example in examples]
    fold = np.array([_fold(example) if example.split == "train" else FOLDS for example in examples])
    fold[[index for index, content in enumerate(contents) if content is None]] = -1
    tokens: list[NDArray[np.float16] | None] = [None] * len(examples)
    name = fresh({}).name
    for number in range(FOLDS + 1):
        final = number == FOLDS
        path = out / f"{name}.safetensors" if final else work / f"{name}.fold{number}.safetensors"
        seen = [i for i, each in enumerate(fold.tolist()) if 0 <= each < FOLDS and each != number]
        chosen = [examples[i] for i in seen]
        key, note = _key(fresh({}), chosen, labels), work / f"{path.stem}.{number}.key"
        if not path.is_file() or not note.is_file() or note.read_text(encoding="ascii") != key:
            report(f"{name}: fitting {'the final weights' if final else f'fold {number + 1}/{FOLDS}'}")
            _fit(fresh({}), chosen, [contents[i] for i in seen], labels, path, report)
            note.write_text(key, encoding="ascii")
        embedder = fresh({"weights": str(path)})
        embedder.load("cpu")
        asked = np.flatnonzero(fold == number).tolist()
        given = [content for i in asked if (content := contents[i]) is not None]
        for i, embedding in zip(asked, embedder.embed_batch(given), strict=True):
            tokens[i] = embedding.tokens.numpy().astype(np.float16)
    lengths = [0 if each is None else len(each) for each in tokens]
    kept = [each for each in tokens if each is not None]
    return TokenCache.of_lengths(np.concatenate(kept), lengths)


def _key(embedder: FittedEmbedder, examples: Sequence[Example], labels: Sequence[str]) -> str:
    """What a fit depends on. The weights of another data set must never pass for these."""
    digest = hashlib.sha256(repr([embedder.name, sorted(embedder.options.items()), list(labels)]).encode())
    for example in examples:
        row = [[part.value for part in example.item.parts], sorted(example.labels.items()), example.weak]
        digest.update(repr(row).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _fit(
    embedder: FittedEmbedder,
    examples: Sequence[Example],
    contents: Sequence[Content | None],
    labels: Sequence[str],
    path: Path,
    report: Callable[[str], None],
) -> None:
    embedder.fit(
        [content for content in contents if content is not None],
        targets_of(examples, labels),
        weights_of(examples),
        lambda line: report(f"{embedder.name}: {line}"),
    )
    partial = path.with_suffix(".partial")
    embedder.save(partial)
    partial.replace(path)


def _fold(example: Example) -> int:
    """By the text, so that copies of a text are in one fold, and those that only spell it otherwise."""
    key = example.group or "".join(str(part.value) for part in example.item.parts)
    digest = hashlib.sha256(key.encode("utf-8", "backslashreplace"))
    return int.from_bytes(digest.digest()[:4], "big") % FOLDS
