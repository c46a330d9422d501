"""The shared classifier: tokens of every modality in, one logit per harm label out.

Each embedder's tokens are resampled to a few latents (Perceiver, Jaegle et al. 2021); an encoder lets
the latents of all modalities see each other; a decoder with one learned query per label reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.layers import CrossLayer, EncoderLayer, initialise
from moderator.types import Modality, Source

SOURCES = tuple(Source)
MODALITIES = tuple(Modality)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """What one embedder gives for a batch of B inputs, of which R have its modality.

    ``values`` (R, T, dim), padded; ``mask`` (R, T) True where real; ``rows`` (R,) which inputs of the
    batch they belong to; ``source`` (R,) index into ``SOURCES``.
    """

    values: Tensor
    mask: Tensor
    rows: Tensor
    source: Tensor


class Standardise(nn.Module):
    """Centres and scales each dimension by what training saw of it; outliers are cut off at 8.

    Unlike a LayerNorm it keeps how far a token is from the middle, which says much where dimensions are
    weights of evidence.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def observe(self, tokens: Tensor) -> None:
        """Take mean and scale from ``tokens`` (N, dim)."""
        self.mean.copy_(tokens.mean(0))
        self.scale.copy_(tokens.std(0, correction=0).clamp(min=1e-4))

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        return ((x - self.mean) / self.scale).clamp(-8, 8)


class Resampler(nn.Module):
    """Tokens of one embedder → a fixed number of latents."""

    def __init__(self, spec: EmbedderSpec, config: FusionConfig) -> None:
        super().__init__()
        self.standardise = Standardise(spec.dim)
        self.project = nn.Linear(spec.dim, config.width)
        self.latents = nn.Parameter(torch.empty(config.latents, config.width))
        self.cross = CrossLayer(
            config.width, config.heads, config.feed_forward, config.dropout, self_attention=False
        )

    def forward(self, tokens: Tokens) -> Tensor:
        """(R, T, dim) → (R, latents, width)."""
        memory = self.project(self.standardise(tokens.values))  # (R, T, D)
        queries = self.latents.expand(len(memory), -1, -1)  # (R, N, D)
        return self.cross(queries, memory, tokens.mask)  # type: ignore[no-any-return]


class FusionModel(nn.Module):
    """Built by ``build``; ``forward`` takes any subset of the embedders it was built for."""

    def __init__(
        self,
        config: FusionConfig,
        resamplers: nn.ModuleDict,
        encoder: nn.ModuleList,
        decoder: nn.ModuleList,
    ) -> None:
        super().__init__()
        self.config = config
        self.resamplers = resamplers
        self.encoder = encoder
        self.decoder = decoder
        width, labels = config.width, len(config.labels)
        self.modality = nn.Parameter(torch.empty(len(MODALITIES), width))
        self.source = nn.Parameter(torch.empty(len(SOURCES), width))
        self.absent = nn.Parameter(torch.empty(len(config.embedders), width))
        self.queries = nn.Parameter(torch.empty(labels, width))
        self.output_norm = nn.LayerNorm(width)
        self.output = nn.Parameter(torch.empty(labels, width))
        self.bias = nn.Parameter(torch.empty(labels))
        short = config.embedders if config.shortcut else ()
        self.shortcuts = nn.ModuleDict(
            {
                key_of(spec): nn.Sequential(Standardise(spec.dim), nn.Linear(spec.dim, labels))
                for spec in short
            }
        )

    def observe(self, name: str, tokens: Tensor, summaries: Tensor) -> None:
        """Before training: what tokens (N, dim) and summaries (M, dim) of embedder ``name`` look like."""
        key = next(key_of(spec) for spec in self.config.embedders if spec.name == name)
        self.resamplers[key].standardise.observe(tokens)  # type: ignore[operator, union-attr]
        if self.config.shortcut:
            self.shortcuts[key][0].observe(summaries)  # type: ignore[index]

    def forward(self, tokens: Mapping[str, Tokens], batch: int) -> Tensor:
        """Tokens by embedder name, for ``batch`` inputs → logits (B, labels).

        An embedder that is missing, or has no row for an input, is absent there: one learned latent
        stands in its place.
        """
        memory, mask = self._fused(tokens, batch)  # (B, E·N, D), (B, E·N)
        for layer in self.encoder:
            memory = layer(memory, mask)
        queries = self.queries.expand(batch, -1, -1)  # (B, C, D)
        for layer in self.decoder:
            queries = layer(queries, memory, mask)
        logits = (self.output_norm(queries) * self.output).sum(-1) + self.bias  # (B, C)
        for spec in self.config.embedders:
            given = tokens.get(spec.name)
            if given is not None and len(given.rows) and self.config.shortcut:
                read = self.shortcuts[key_of(spec)](given.values[:, 0])  # (R, C)
                logits = logits.index_add(0, given.rows, read)
        return logits  # type: ignore[no-any-return]

    def _fused(self, tokens: Mapping[str, Tokens], batch: int) -> tuple[Tensor, Tensor]:
        """Latents of all embedders side by side, and which of them are to be looked at."""
        count, width = self.config.latents, self.config.width
        parts, masks = [], []
        for index, spec in enumerate(self.config.embedders):
            given = tokens.get(spec.name)
            if given is None or not len(given.rows):  # absent everywhere: the others would be masked
                latents = self.absent[index].expand(batch, 1, width)  # (B, 1, D)
                visible = torch.ones(batch, 1, dtype=torch.bool, device=latents.device)
            else:
                latents = self.absent[index].expand(batch, count, width)  # (B, N, D)
                visible = torch.zeros(batch, count, dtype=torch.bool, device=latents.device)
                visible[:, 0] = True
                made = self.resamplers[key_of(spec)](given)  # (R, N, D)
                made = made + self.modality[MODALITIES.index(spec.modality)]
                made = made + self.source[given.source][:, None]
                latents = latents.index_copy(0, given.rows, made.to(latents.dtype))
                visible = visible.index_fill(0, given.rows, True)
            parts.append(latents)
            masks.append(visible)
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)


def build(config: FusionConfig, *, seed: int = 0) -> FusionModel:
    """The one place where a fusion model is put together; weights from ``seed``."""
    block = (config.width, config.heads, config.feed_forward, config.dropout)
    model = FusionModel(
        config,
        resamplers=nn.ModuleDict({key_of(spec): Resampler(spec, config) for spec in config.embedders}),
        encoder=nn.ModuleList(EncoderLayer(*block) for _ in range(config.layers)),
        decoder=nn.ModuleList(CrossLayer(*block, self_attention=True) for _ in range(config.decoder_layers)),
    )
    initialise(model, seed)
    return model.eval()


def key_of(spec: EmbedderSpec) -> str:
    """The name of an embedder as a module's name, which must not hold dots."""
    return spec.name.replace(".", "_")
