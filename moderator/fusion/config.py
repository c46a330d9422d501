"""The one configuration a fusion model is built from. It travels inside the checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moderator.errors import CheckpointError
from moderator.types import Modality, Source


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """An embedder the model reads: its tokens' width, and the fingerprint it was trained with."""

    name: str
    modality: Modality
    dim: int
    fingerprint: str
    alone: bool = True
    """Whether it knows enough to clear content by itself. One that was trained on little informs the
    scores, but an item that only such embedders could look at is not fully judged."""


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Sizes of a fusion model; ``labels`` in the order of its outputs."""

    embedders: tuple[EmbedderSpec, ...]
    labels: tuple[str, ...]
    taxonomy: str
    width: int = 128
    heads: int = 4
    latents: int = 8
    """Latents each embedder's tokens are resampled to."""
    layers: int = 2
    decoder_layers: int = 1
    feed_forward: int = 4
    """Hidden width of feed-forward blocks, in multiples of ``width``."""
    dropout: float = 0.1
    """In training only."""
    shortcut: bool = True
    """Add a linear read-out of each embedder's summary token to the logits (Cheng et al. 2016)."""
    sources: tuple[Source, ...] = (Source.NATIVE,)
    """Where content may come from that training has shown; the embedding of others is what chance made it."""

    def __post_init__(self) -> None:
        if not self.embedders:
            raise CheckpointError("a fusion model needs at least one embedder")
        if self.width % self.heads:
            raise CheckpointError(f"width {self.width} is not divisible by {self.heads} heads")
        if self.latents * len(self.embedders) > 64:
            raise CheckpointError(
                f"{len(self.embedders)} embedders × {self.latents} latents exceed 64; lower latents"
            )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FusionConfig:
        try:
            raw: Mapping[str, Any] = json.loads(text)
            embedders = tuple(
                EmbedderSpec(**{**spec, "modality": Modality(spec["modality"])}) for spec in raw["embedders"]
            )
            sources = tuple(Source(name) for name in raw.get("sources", (Source.NATIVE,)))
            return cls(**{**raw, "embedders": embedders, "labels": tuple(raw["labels"]), "sources": sources})
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's configuration cannot be read: {error}") from error
