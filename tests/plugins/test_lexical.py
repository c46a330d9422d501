"""The n-grams are as defined, and the weights fitted to them learn, are saved and are refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moderator.errors import PluginError, WeightsError
from moderator.taxonomy import DEFAULT
from moderator.train.metrics import auroc
from moderator_text.lexical import LexicalText
from moderator_text.ngrams import BUCKETS, MAX_WORD, ngrams
from tests.pipeline.small_model import BENIGN, HARMFUL, labelled, small_model
from tests.plugins.test_text import PROBES, contents

# --- n-grams: the definition, in plain Python -------------------------------------------------------

_M = (1 << 64) - 1
_BASE = 0x9E3779B97F4A7C15 | 1


def mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _M
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _M
    return value ^ (value >> 31)


def polynomial(points: Sequence[int]) -> int:
    return sum(mixed(point + 1) * pow(_BASE, power, 1 << 64) for power, point in enumerate(points)) & _M


def reference(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Buckets (sorted) and token spans of one text, character by character."""
    low = text.lower()
    if len(low) != len(text):
        low = "".join(each.lower()[:1] for each in text)
    points = [0x20, *(0x20 if each in "\t\n\r\u3000" else ord(each) for each in low), 0x20]
    kinds = [0 if point == 0x20 else 2 if point >= 0x2190 else 1 for point in points]
    starts, run = [], 0
    for at, kind in enumerate(kinds):
        run = run + 1 if at and kinds[at - 1] == kind else 0
        if kind and run % (2 if kind == 2 else MAX_WORD) == 0:
            starts.append(at)
    starts = starts or [0]
    ends = [
        next((at for at in range(start, end) if points[at] == 0x20), end)
        for start, end in zip(starts, [*starts[1:], len(points)], strict=True)
    ]
    hashes = [
        (polynomial(points[at : at + order]) + order) & _M
        for order in (1, 2, 3, 4, 5)
        for at in range(len(points) - order + 1)
        if order > 1 or points[at] >= 0x2190
    ]
    words = [
        (polynomial(points[start:end]) + 0xD1B54A32D192ED03) & _M
        for start, end in zip(starts, ends, strict=True)
    ]
    pairs = [(mixed(left) * 0x8CB92BA72F3D8DD7 + right) & _M for left, right in pairwise(words)]
    buckets = sorted(mixed(each) & (BUCKETS - 1) for each in (*hashes, *words, *pairs))
    return buckets, spans_of(points, starts, len(text))


def spans_of(points: Sequence[int], starts: Sequence[int], length: int) -> list[tuple[int, int]]:
    """A space belongs to the token after it, or to the last one if there is none."""
    owner, token = [], -1
    for at in range(len(points)):
        token += at in starts
        space = points[at] == 0x20 and at not in starts
        owner.append(min(token + 1, len(starts) - 1) if space else token)
    result = []
    for number in range(len(starts)):
        mine = [at - 1 for at, each in enumerate(owner) if each == number]
        result.append((min(max(mine[0], 0), length), min(max(mine[-1] + 1, 0), length)))
    return result


_TEXTS = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="ab \t\u3000你好→é😀İß", max_size=60),
        st.text(alphabet=st.characters(exclude_categories=()), max_size=8),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
@example(["", " ", "a", "你", "İ", "x" * 40])
@example(["a  b\n\nc", "你好 hello你", "\ud800"])
def test_ngrams_are_as_defined(texts: list[str]) -> None:
    """The vectorised hashes of a batch equal those of each text alone, made by the definition."""
    made = ngrams(texts)
    lengths = np.diff(np.append(made.bags, len(made.buckets)))
    assert (lengths > 0).all()
    owner = np.repeat(made.text_of, lengths)
    for index, text in enumerate(texts):
        buckets, spans = reference(text)
        assert sorted(made.buckets[owner == index].tolist()) == buckets
        assert [tuple(map(int, each)) for each in made.spans[made.text_of == index]] == spans


# --- fitting ----------------------------------------------------------------------------------------


def fitted(targets: NDArray[np.float32], texts: Sequence[str], **options: Any) -> LexicalText:
    made = LexicalText({"min_count": 1, "size": 4096, **options})
    made.fit(contents(texts), targets, np.ones(len(texts), dtype=np.float32), lambda line: None)
    return made


def test_fitted_weights_survive_saving(tmp_path: Path) -> None:
    texts, targets = labelled()
    made = fitted(targets, texts)
    made.save(tmp_path / "text-lexical.safetensors")
    read = LexicalText({"weights": str(tmp_path)})
    read.load("cpu")
    assert read.dim == made.dim == len(DEFAULT)
    for before, after in zip(
        made.embed_batch(contents(PROBES)), read.embed_batch(contents(PROBES)), strict=True
    ):
        assert np.array_equal(before.spans, after.spans)
        # eight bits a weight
        assert (before.tokens - after.tokens).abs().max() < 0.1
    again = fitted(targets, texts)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "text-lexical.safetensors"
    ).read_bytes()


def test_it_learns_words_it_was_shown() -> None:
    texts, targets = labelled()
    made = fitted(targets, texts)
    held_out = {
        "toxicity": "that stupid idiot again",
        "profanity": "fuck that",
        "harassment": "a pathetic worthless loser",
        "hate": "they are all vermin",
        "violence": "i will kill him with a knife",
        "sexual": "naked sex pictures",
        "self_harm": "end my life, cut myself",
        "illicit": "cheap heroin and cocaine",
        "spam": "click to win the free prize",
    }
    benign = (
        "a walk in the garden",
        "the museum opens at ten",
        "she bakes bread at home",
        "我们明天去图书馆",
    )
    said = torch.stack([each.tokens[0] for each in made.embed_batch(contents([*held_out.values(), *benign]))])
    for column, (row, label) in enumerate(zip(range(9), held_out, strict=True)):
        assert label == DEFAULT.names[column]
        truth = [index == row for index in range(len(said))]
        assert auroc(truth, said[:, column].numpy()) > 0.9, label


def test_unknown_labels_are_ignored() -> None:
    """A label that is unknown everywhere says nothing, and unknown rows teach nothing about a label."""
    texts, targets = labelled()
    unknown = targets.copy()
    unknown[:, 3] = np.nan
    made = fitted(unknown, texts)
    said = torch.stack([each.tokens[0] for each in made.embed_batch(contents(texts))])
    assert not said[:, 3].any()
    known = fitted(targets, texts)
    whole = torch.stack([each.tokens[0] for each in known.embed_batch(contents(texts))])
    others = [column for column in range(9) if column != 3]
    torch.testing.assert_close(said[:, others], whole[:, others], atol=0.05, rtol=0.05)
    rows = [index for index, text in enumerate(texts) if text in HARMFUL["spam"] or text in BENIGN]
    masked = np.full_like(targets, np.nan)
    masked[rows, 8] = targets[rows, 8]
    alone = fitted(masked, texts).embed_batch(
        contents(["click for a free prize", BENIGN[0], HARMFUL["hate"][0]])
    )
    spam, benign, hate = (float(each.tokens[0, 8]) for each in alone)
    assert spam > benign
    assert spam > hate


def test_a_file_that_is_no_lexical_model_is_refused() -> None:
    made = LexicalText({"weights": str(small_model() / "image-timm.safetensors")})
    with pytest.raises(WeightsError, match="not a lexical model"):
        made.load("cpu")


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"text-lexical: no weights at .* \(given explicitly\)"):
        LexicalText({"weights": str(tmp_path)}).load("cpu")


def test_nothing_to_fit_to_is_said() -> None:
    with pytest.raises(PluginError, match="text-lexical: nothing to fit to"):
        fitted(np.zeros((0, 9), dtype=np.float32), [])
