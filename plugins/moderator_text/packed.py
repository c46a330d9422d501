"""BERT's forward pass over texts laid end to end, so that no time goes into padding.

Attention is computed for the texts of equal length together, without a mask; everything else sees one long
row of tokens. The result is that of the padded model (Devlin et al. 2019), up to rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def can_pack(config: Any) -> bool:
    """Whether ``PackedBert`` computes what a model of this transformers configuration would."""
    return (
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
    )


class PackedBert:
    """The encoder of a ``transformers.BertModel``, whose weights it shares except for the fused projections
    of attention."""

    def __init__(self, model: Any) -> None:
        import torch

        embeddings, config = model.embeddings, model.config
        self._words = embeddings.word_embeddings.weight  # (V, D)
        types = embeddings.token_type_embeddings.weight[0]  # (D,)
        self._places = (embeddings.position_embeddings.weight + types).detach()  # (P, D)
        self._norm = embeddings.LayerNorm
        self._heads = int(config.num_attention_heads)
        self._layers = []
        for layer in model.encoder.layer:
            attention = layer.attention.self
            parts = (attention.query, attention.key, attention.value)
            weight = torch.cat([each.weight for each in parts]).detach()  # (3D, D)
            bias = torch.cat([each.bias for each in parts]).detach()  # (3D,)
            self._layers.append(
                (weight, bias, layer.attention.output, layer.intermediate.dense, layer.output)
            )

    def __call__(self, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Word piece ids of texts → last hidden states ``(pieces, D)`` of each. Fastest where texts of one
        length are neighbours."""
        import torch
        from torch.nn import functional

        lengths = [len(each) for each in texts]
        device = self._words.device
        ids = torch.from_numpy(np.fromiter(itertools.chain.from_iterable(texts), np.int64, sum(lengths)))
        places = torch.from_numpy(np.concatenate([np.arange(each) for each in lengths]))
        with torch.inference_mode():
            x = self._words[ids.to(device)] + self._places[places.to(device)]  # (N, D)
            x = self._norm(x)
            for weight, bias, after, inner, outer in self._layers:
                mixed = self._attended(functional.linear(x, weight, bias), lengths)  # (N, D)
                x = after.LayerNorm(after.dense(mixed).add_(x))
                x = outer.LayerNorm(outer.dense(functional.gelu(inner(x))).add_(x))
        return list(x.split(lengths))

    def _attended(self, projected: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Queries, keys and values side by side (N, 3D) → what each token gathers from its text (N, D)."""
        import torch
        from torch.nn import functional

        width = projected.shape[1] // 3
        out = torch.empty(len(projected), width, dtype=projected.dtype, device=projected.device)
        at = 0
        for length, run in itertools.groupby(lengths):
            count = sum(1 for _ in run)
            rows = slice(at, at + count * length)
            split = projected[rows].view(count, length, 3, self._heads, -1)  # (B, L, 3, H, D/H)
            q, k, v = split.permute(2, 0, 3, 1, 4)  # (B, H, L, D/H) each
            made = functional.scaled_dot_product_attention(q, k, v)  # (B, H, L, D/H)
            out[rows] = made.transpose(1, 2).reshape(-1, width)
            at = rows.stop
        return out
