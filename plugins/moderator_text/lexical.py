"""``text-lexical``: hashed character n-grams, one vector each, summed per word. Any language, any spelling.

The bag-of-n-grams idea is fastText's (Bojanowski et al. 2017, Joulin et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from moderator.errors import PluginError, WeightsError
from moderator.media.text import normalise
from moderator.plugin import TrainableEmbedder
from moderator.types import Content, Embedding, Modality
from moderator.weights import Weights, find_weights
from moderator_text.ngrams import NGrams, ngrams
from moderator_text.spans import to_original

if TYPE_CHECKING:
    import torch

_FILE = "text-lexical.safetensors"
_PACKAGE = "moderator/models/default"
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class LexicalInputs:
    """N-grams of a batch; ``keep`` float32 ``(N,)`` or None: 0 drops an n-gram (training only)."""

    grams: NGrams
    texts: int
    keep: np.ndarray[Any, np.dtype[np.float32]] | None


class LexicalText(TrainableEmbedder):
    """Options: ``weights`` (file or folder), ``buckets``, ``dim`` and ``dropout`` (training only)."""

    name: ClassVar[str] = "text-lexical"
    modality: ClassVar[Modality] = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        unknown = set(self.options) - {"weights", "buckets", "dim", "dropout"}
        if unknown:
            raise PluginError(f"{self.name}: unknown option {', '.join(sorted(unknown))}")
        self._buckets = int(self.options.get("buckets", 1 << 18))
        self._dim = int(self.options.get("dim", 16))
        self._dropout = float(self.options.get("dropout", 0.3))
        if self._buckets & (self._buckets - 1) or self._buckets < 2:
            raise PluginError(f"{self.name}: buckets must be a power of two, got {self._buckets}")
        self._table: torch.nn.EmbeddingBag | None = None
        self._digest = ""

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        return f"1:{self._digest[:16]}"

    def weights(self) -> Sequence[Weights]:
        return [
            find_weights(self.name, _FILE, explicit=self.options.get("weights"), packages=[_PACKAGE])
        ]

    def load(self, device: str) -> None:
        import torch
        from safetensors.torch import load_file

        found = self.weights()[0]
        state = load_file(found.path)
        if set(state) != {"rows", "scale"} or state["rows"].ndim != 2:
            raise WeightsError(f"{self.name}: {found.path} holds {sorted(state)}, expected rows and scale")
        table = state["rows"].float() * state["scale"].float()[:, None]  # (buckets, dim)
        self._buckets, self._dim = table.shape
        self._table = torch.nn.EmbeddingBag.from_pretrained(table, mode="sum").to(device)
        self._digest = found.sha256

    def initialise(self, device: str, seed: int) -> torch.nn.Module:
        import torch

        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(self._buckets, self._dim, generator=generator) * 0.01
        self._table = torch.nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="sum").to(device)
        return self._table

    def inputs(self, contents: Sequence[Content], rng: np.random.Generator | None = None) -> LexicalInputs:
        texts = [content.normalised or str(content.data) for content in contents]
        grams = ngrams(texts, self._buckets)
        keep = None
        if rng is not None and self._dropout:
            keep = (rng.random(len(grams.buckets)) >= self._dropout).astype(np.float32)
            keep /= 1.0 - self._dropout
        return LexicalInputs(grams, len(texts), keep)

    def forward(self, inputs: LexicalInputs) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        sums, text_of = self._sums(inputs)  # (K, D), (K,)
        grams = inputs.grams
        sizes = torch.from_numpy(np.diff(np.append(grams.bags, len(grams.buckets)))).to(sums)  # (K,)
        per_text = sums.new_zeros(inputs.texts)
        per_text.index_add_(0, text_of, sizes)
        whole = sums.new_zeros(inputs.texts, self._dim)
        whole.index_add_(0, text_of, sums)
        whole = whole / per_text.clamp(min=1).sqrt()[:, None]  # (B, D)
        words = sums / sizes.clamp(min=1).sqrt()[:, None]  # (K, D)
        counts = torch.bincount(text_of, minlength=inputs.texts)  # (B,)
        width = int(counts.max()) + 1
        slot = torch.arange(len(text_of), device=sums.device) - (counts.cumsum(0) - counts)[text_of] + 1
        tokens = sums.new_zeros(inputs.texts, width, self._dim)
        tokens = tokens.index_put((text_of, slot), words)
        tokens = torch.cat([whole[:, None], tokens[:, 1:]], dim=1)  # (B, T, D)
        mask = torch.arange(width, device=sums.device)[None] <= counts[:, None]  # (B, T)
        return tokens, mask

    def _sums(self, inputs: LexicalInputs) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if self._table is None:
            raise PluginError(f"{self.name}: load() or initialise() comes before use")
        device = self._table.weight.device
        sums = self._table(
            torch.from_numpy(inputs.grams.buckets).to(device),
            torch.from_numpy(inputs.grams.bags).to(device),
            per_sample_weights=None if inputs.keep is None else torch.from_numpy(inputs.keep).to(device),
        )
        return sums, torch.from_numpy(inputs.grams.text_of).to(device)

    def save(self, path: Path) -> None:
        import torch
        from safetensors.torch import save_file

        if self._table is None:
            raise PluginError(f"{self.name}: nothing to save before initialise()")
        table = self._table.weight.detach().cpu()
        scale = (table.abs().amax(dim=1) / 127).clamp(min=1e-8).half()  # (buckets,)
        rows = (table / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        save_file({"rows": rows, "scale": scale}, path)

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        import torch

        result: list[Embedding] = []
        with torch.inference_mode():
            for begin in range(0, len(contents), _BATCH):
                batch = contents[begin : begin + _BATCH]
                inputs = self.inputs(batch)
                tokens, mask = self.forward(inputs)
                ends = np.cumsum(np.bincount(inputs.grams.text_of, minlength=len(batch)))
                for row, (content, end, count) in enumerate(zip(batch, ends, mask.sum(1).tolist(), strict=True)):
                    spans = np.zeros((count, 2), dtype=np.float32)
                    spans[0] = 0, len(content.normalised or content.data)
                    spans[1:] = inputs.grams.spans[end - count + 1 : end]
                    result.append(Embedding(tokens[row, :count], to_original(spans, content)))
        return result

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [text_content(text) for text in ("You are a wonderful person.", "滚出去，这里不欢迎你。", "a")]


def text_content(text: str) -> Content:
    """A text as the pipeline would hand it over."""
    normalised = normalise(text)
    return Content(
        Modality.TEXT, text, normalised.text, normalised.offsets, span=(0.0, float(len(text)))
    )
