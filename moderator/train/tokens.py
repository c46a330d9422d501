"""Frozen embedders run once over all examples; their tokens wait on disk for the fusion training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.plugin import Embedder
from moderator.train.examples import Example
from moderator.types import Content

Decode = Callable[[Example], Sequence[Content]]
Progress = Callable[[int, int], None]

_CHUNK = 2048
MAX_TOKENS = 192
"""Tokens kept per example; longer ones are thinned evenly. In training only."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenCache:
    """Tokens of N examples by one embedder: ``values`` float16 ``(K, dim)`` on disk, ``ends`` ``(N,)``.

    An example the embedder has nothing for (another modality, undecodable) has no tokens.
    """

    values: NDArray[np.float16]
    ends: NDArray[np.int64]

    def __getitem__(self, index: int) -> torch.Tensor | None:
        begin = int(self.ends[index - 1]) if index else 0
        end = int(self.ends[index])
        return torch.from_numpy(self.values[begin:end].astype(np.float32)) if end > begin else None

    def among(self, before: int, after: int) -> TokenCache:
        """The same tokens in a longer list: ``before`` examples without any first, ``after`` at the end."""
        last = self.ends[-1] if len(self.ends) else 0
        edges = (np.zeros(before, dtype=np.int64), self.ends, np.full(after, last, dtype=np.int64))
        return TokenCache(self.values, np.concatenate(edges))


def cache_tokens(
    embedder: Embedder, examples: Sequence[Example], folder: Path, decode: Decode, progress: Progress
) -> TokenCache:
    """Embed the first content of the embedder's modality of each example. Resumes where it stopped.

    What is in ``folder`` is reused only for the same examples and fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(embedder, examples)
    state_file, values_file = folder / f"{embedder.name}.json", folder / f"{embedder.name}.f16"
    state: dict[str, object] = json.loads(state_file.read_text()) if state_file.is_file() else {}
    if state.get("key") != key:
        state = {"key": key, "lengths": []}
        values_file.write_bytes(b"")
    lengths = [int(each) for each in state["lengths"]]  # type: ignore[attr-defined]
    with values_file.open("r+b") as file:
        file.truncate(sum(lengths) * embedder.dim * 2)
        file.seek(0, 2)
        while len(lengths) < len(examples):
            chunk = examples[len(lengths) : len(lengths) + _CHUNK]
            # bfloat16 halves the wait; the noise it adds is below what dropout adds anyway
            with torch.autocast("cpu", torch.bfloat16):
                made = _embed(embedder, [_first(decode(example), embedder) for example in chunk])
            for tokens in made:
                lengths.append(0 if tokens is None else len(tokens))
                if tokens is not None:
                    file.write(tokens.tobytes())
            file.flush()
            partial = state_file.with_suffix(".partial")
            partial.write_text(json.dumps({"key": key, "lengths": lengths}))
            partial.replace(state_file)
            progress(len(lengths), len(examples))
    ends = np.cumsum(lengths, dtype=np.int64)
    if not len(ends) or not ends[-1]:
        return TokenCache(np.zeros((0, embedder.dim), dtype=np.float16), ends)
    values = np.memmap(values_file, dtype=np.float16, mode="r").reshape(-1, embedder.dim)
    return TokenCache(values, ends)


def _first(contents: Sequence[Content], embedder: Embedder) -> Content | None:
    return next((each for each in contents if each.modality is embedder.modality), None)


def _embed(embedder: Embedder, contents: Sequence[Content | None]) -> list[NDArray[np.float16] | None]:
    given = [content for content in contents if content is not None]
    embeddings = iter(embedder.embed_batch(given) if given else [])
    result: list[NDArray[np.float16] | None] = []
    for content in contents:
        if content is None:
            result.append(None)
            continue
        tokens = next(embeddings).tokens.float().cpu().numpy()  # (T, dim)
        if len(tokens) > MAX_TOKENS:
            tokens = tokens[np.linspace(0, len(tokens) - 1, MAX_TOKENS).round().astype(int)]
        result.append(tokens.astype(np.float16))
    return result


def _key(embedder: Embedder, examples: Sequence[Example]) -> str:
    digest = hashlib.sha256(embedder.fingerprint.encode())
    for example in examples:
        for part in example.item.parts:
            digest.update(f"{part.modality}:{part.value!r}\n".encode("utf-8", "backslashreplace"))
        digest.update(b"\0")
    return digest.hexdigest()
