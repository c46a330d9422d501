"""``text-lexical``: hashed character n-grams with a weight per label. Any language, any spelling.

The weights are those of a logistic regression per label over tf-idf n-grams (hashing: Weinberger et al.
2009). A token's vector is what its n-grams say for and against each label, so that evidence can be read
off it; the summary token says the same of the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError, WeightsError
from moderator.media.text import normalise
from moderator.plugin import FittedEmbedder
from moderator.types import Content, Embedding, Modality
from moderator.weights import Weights, find_weights
from moderator_text.ngrams import NGrams, ngrams
from moderator_text.spans import to_original
from moderator_text.vocabulary import Vocabulary

if TYPE_CHECKING:
    pass

_FILE = "text-lexical.safetensors"
_PACKAGE = "moderator/models/default"
_BATCH = 256
_OPTIONS = {"weights": None, "size": 1 << 18, "min_count": 3, "strength": 2.0, "iterations": 80}


class LexicalText(FittedEmbedder):
    """Options: ``weights`` (file or folder). In training: ``size`` (n-grams kept), ``min_count`` (texts
    an n-gram must be in), ``strength`` (inverse of the L2 penalty), ``iterations`` (of L-BFGS)."""

    name: ClassVar[str] = "text-lexical"
    modality: ClassVar[Modality] = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        if unknown := set(self.options) - set(_OPTIONS):
            raise PluginError(f"{self.name}: unknown option {', '.join(sorted(unknown))}")
        self._vocabulary: Vocabulary | None = None
        self._rows: NDArray[np.float32] | None = None  # (K + 1, D), the last row for unknown n-grams
        self._digest = ""

    def _option(self, name: str) -> Any:
        return self.options.get(name, _OPTIONS[name])

    @property
    def dim(self) -> int:
        return 0 if self._rows is None else int(self._rows.shape[1])

    @property
    def fingerprint(self) -> str:
        return f"1:{self._digest[:16]}"

    def weights(self) -> Sequence[Weights]:
        return [find_weights(self.name, _FILE, explicit=self.options.get("weights"), packages=[_PACKAGE])]

    def load(self, device: str) -> None:
        """Read the weights. They stay on the CPU whatever ``device``: hashing is the larger part of it."""
        from safetensors.numpy import load_file

        found = self.weights()[0]
        state = load_file(found.path)
        if set(state) != {"ids", "idf", "rows", "scale"} or state["rows"].ndim != 2:
            raise WeightsError(f"{self.name}: {found.path} holds {sorted(state)}, not a lexical model")
        table = state["rows"].astype(np.float32) * state["scale"].astype(np.float32)  # (K, D)
        self._use(Vocabulary(state["ids"], state["idf"].astype(np.float32)), table)
        self._digest = found.sha256

    def _use(self, vocabulary: Vocabulary, table: NDArray[np.float32]) -> None:
        self._vocabulary = vocabulary
        self._rows = np.concatenate([table, np.zeros((1, table.shape[1]), dtype=np.float32)])

    def fit(
        self,
        contents: Sequence[Content],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        progress: Callable[[str], None],
    ) -> None:
        """Fit one logistic regression per label, all at once, by L-BFGS (Liu & Nocedal 1989)."""
        from moderator_text.regression import Problem, solve

        if not contents:
            raise PluginError(f"{self.name}: nothing to fit to")
        texts = [_text_of(content) for content in contents]
        vocabulary = Vocabulary.fit(texts, size=self._option("size"), min_count=self._option("min_count"))
        progress(f"{len(vocabulary)} n-grams kept")
        features = [vocabulary.features(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
        problem = Problem(
            places=np.concatenate([each.places for each in features]),
            values=np.concatenate([each.values for each in features]),
            counts=np.concatenate([each.counts for each in features]),
            size=len(vocabulary),
            targets=targets,
            weights=weights,
        )
        table = solve(problem, strength=self._option("strength"), iterations=self._option("iterations"))
        self._use(vocabulary, table)

    def save(self, path: Path) -> None:
        """Eight bits a weight, with a scale per label: the rounding is far below the noise of the fit."""
        from safetensors.numpy import save_file

        vocabulary, rows = self._fitted()
        table = rows[:-1]  # (K, D)
        # a few n-grams weigh far more than all others: clipping them keeps the steps small
        top = np.quantile(np.abs(table), 0.9999, axis=0)
        scale = (np.maximum(top, 1e-6) / 127).astype(np.float32)  # (D,)
        coded = np.clip(np.round(table / scale), -127, 127).astype(np.int8)
        save_file(
            {"ids": vocabulary.ids, "idf": vocabulary.idf.astype(np.float16), "rows": coded, "scale": scale},
            path,
        )

    def _fitted(self) -> tuple[Vocabulary, NDArray[np.float32]]:
        if self._vocabulary is None or self._rows is None:
            raise PluginError(f"{self.name}: load() or fit() comes before use")
        return self._vocabulary, self._rows

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        result: list[Embedding] = []
        for at in range(0, len(contents), _BATCH):
            result += self._embed(contents[at : at + _BATCH])
        return result

    def _embed(self, contents: Sequence[Content]) -> list[Embedding]:
        import torch

        vocabulary, rows = self._fitted()
        grams = ngrams([_text_of(content) for content in contents])
        places, weights = vocabulary.weigh(grams)  # (N,), (N,)
        with torch.inference_mode():
            sums = torch.nn.functional.embedding_bag(
                torch.from_numpy(places),
                torch.from_numpy(rows),
                torch.from_numpy(grams.bags),
                mode="sum",
                per_sample_weights=torch.from_numpy(weights),
            ).numpy()  # (K, D)
        squares = _sums(weights * weights, grams)  # (K,)
        norms = np.sqrt(np.maximum(squares, 1e-6))  # (K,)
        words = (sums / norms[:, None]).astype(np.float32)  # (K, D)
        return [
            _embedding(content, words[begin:end], sums[begin:end], squares[begin:end], grams.spans[begin:end])
            for content, (begin, end) in zip(contents, _edges(grams, len(contents)), strict=True)
        ]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [text_content(text) for text in ("You are a wonderful person.", "滚出去，这里不欢迎你。", "a")]


def text_content(text: str) -> Content:
    """A text as the pipeline would hand it over."""
    normalised = normalise(text)
    return Content(Modality.TEXT, text, normalised.text, normalised.offsets, span=(0.0, float(len(text))))


def _text_of(content: Content) -> str:
    return content.normalised or str(content.data)


def _sums(values: NDArray[np.float32], grams: NGrams) -> NDArray[np.float32]:
    """Sums of ``values`` (N,) over the n-grams of each token, ``(K,)``. Every token has an n-gram."""
    return np.add.reduceat(values, grams.bags)


def _edges(grams: NGrams, texts: int) -> list[tuple[int, int]]:
    """First and one past the last token of each text."""
    ends = np.cumsum(np.bincount(grams.text_of, minlength=texts))
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def _embedding(
    content: Content,
    words: NDArray[np.float32],
    sums: NDArray[np.float32],
    squares: NDArray[np.float32],
    spans: NDArray[np.float32],
) -> Embedding:
    """The summary, then the words. ``words`` and ``sums`` (T, D), ``squares`` (T,), ``spans`` (T, 2)."""
    import torch

    whole = sums.sum(axis=0) / np.sqrt(max(float(squares.sum()), 1e-6))  # (D,)
    everything = np.array([[0, len(_text_of(content))]], dtype=np.float32)
    tokens = np.concatenate([whole[None], words]).astype(np.float32)  # (1 + T, D)
    return Embedding(torch.from_numpy(tokens), to_original(np.concatenate([everything, spans]), content))
