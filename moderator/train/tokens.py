"""Frozen embedders run once over all examples; their tokens wait on disk for the fusion training."""

from __future__ import annotations

import hashlib
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
_ENTRY = np.dtype([("example", "V16"), ("length", "<i8")])


@dataclass(frozen=True, slots=True, eq=False)
class TokenCache:
    """Tokens of N examples by one embedder: those of example ``n`` are ``values[begins[n]:ends[n]]``.

    ``values`` float16 ``(K, dim)``, on disk; ``begins`` and ``ends`` int64 ``(N,)``. An example the embedder
    has nothing for (another modality, undecodable) has no tokens.
    """

    values: NDArray[np.float16]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of_lengths(cls, values: NDArray[np.float16], lengths: Sequence[int]) -> TokenCache:
        """Examples whose tokens follow each other."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(values, ends - np.asarray(lengths, dtype=np.int64), ends)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        begin, end = int(self.begins[index]), int(self.ends[index])
        return torch.from_numpy(self.values[begin:end].astype(np.float32)) if end > begin else None

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which examples have tokens, ``(N,)``."""
        return self.ends > self.begins

    def among(self, before: int, after: int) -> TokenCache:
        """The same tokens in a longer list: ``before`` examples without any first, ``after`` at the end."""
        return TokenCache(
            self.values, np.pad(self.begins, (before, after)), np.pad(self.ends, (before, after))
        )


def cache_tokens(
    embedder: Embedder, examples: Sequence[Example], folder: Path, decode: Decode, progress: Progress
) -> TokenCache:
    """Embed the first content of the embedder's modality of each example.

    What ``folder`` has from an embedder of the same name and fingerprint is used again, example by example:
    an interrupted run goes on where it stopped, and one on other data embeds only what is new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = hashlib.sha256(embedder.fingerprint.encode()).hexdigest()[:12]
    values_file = folder / f"{embedder.name}-{code}.f16"
    index_file = folder / f"{embedder.name}-{code}.index"
    index_file.touch()
    values_file.touch()
    whole = index_file.stat().st_size // _ENTRY.itemsize
    entries = np.fromfile(index_file, dtype=_ENTRY, count=whole)
    ends = np.cumsum(entries["length"], dtype=np.int64)
    places = {
        each.tobytes(): (int(end - length), int(end))
        for each, length, end in zip(entries["example"], entries["length"], ends, strict=True)
    }
    size = int(ends[-1]) if whole else 0
    keys = [_key(example) for example in examples]
    waiting = [index for index, key in enumerate(keys) if key not in places]
    waiting = list({keys[index]: index for index in waiting}.values())  # copies of a text once
    with values_file.open("r+b") as values, index_file.open("r+b") as index:
        values.truncate(size * embedder.dim * 2)  # what was written last may not have been noted
        index.truncate(whole * _ENTRY.itemsize)
        values.seek(0, 2)
        index.seek(0, 2)
        for begin in range(0, len(waiting), _CHUNK):
            chunk = waiting[begin : begin + _CHUNK]
            made = _embed(embedder, [_first(decode(examples[each]), embedder) for each in chunk])
            lengths = [0 if tokens is None else len(tokens) for tokens in made]
            for each, tokens, length in zip(chunk, made, lengths, strict=True):
                if tokens is not None:
                    values.write(tokens.tobytes())
                places[keys[each]] = (size, size + length)
                size += length
            values.flush()
            noted = [(keys[each], length) for each, length in zip(chunk, lengths, strict=True)]
            index.write(np.array(noted, dtype=_ENTRY).tobytes())
            index.flush()
            progress(begin + len(chunk), len(waiting))
    where = np.array([places[key] for key in keys], dtype=np.int64).reshape(-1, 2)  # (N, 2)
    if not size:
        return TokenCache(np.zeros((0, embedder.dim), dtype=np.float16), where[:, 0], where[:, 1])
    mapped = np.memmap(values_file, dtype=np.float16, mode="r").reshape(-1, embedder.dim)
    return TokenCache(mapped, where[:, 0], where[:, 1])


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


def _key(example: Example) -> bytes:
    parts = "".join(f"{part.modality}:{part.value!r}\n" for part in example.item.parts)
    return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).digest()[:16]
