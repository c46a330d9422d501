"""BERT's forward pass over texts laid end to end, so that no time goes into padding.

Attention is computed for the texts of equal length together, without a mask; everything else sees one long
row of tokens. The result is that of the padded model (Devlin et al. 2019), up to rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moderator_text.int8 import Int8Product

if TYPE_CHECKING:
    import torch

    Product = Callable[[torch.Tensor], torch.Tensor]


def can_pack(config: Any) -> bool:
    """Whether ``PackedBert`` computes what a model of this transformers configuration would."""
    return (
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
    )


class _FloatProduct:
    """A linear layer in the precision of its weight."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, in)`` → ``(N, out)``."""
        from torch.nn import functional

        return functional.linear(x.to(self._weight.dtype), self._weight, self._bias)


class PackedBert:
    """The encoder of a ``transformers.BertModel``, whose weights it shares where they need no change.

    In bfloat16 the products and attention are computed, in int8 the products of linear layers; what runs from
    layer to layer and its normalisation stay float32, so that rounding does not add up.
    """

    def __init__(self, model: Any, precision: str = "float32") -> None:
        import torch

        embeddings, config = model.embeddings, model.config
        self._int8 = precision == "int8"
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._words = embeddings.word_embeddings.weight  # (V, D)
        types = embeddings.token_type_embeddings.weight[0]  # (D,)
        self._places = (embeddings.position_embeddings.weight + types).detach()  # (P, D)
        self._norm = embeddings.LayerNorm
        self._heads = int(config.num_attention_heads)
        self._layers = []
        for layer in model.encoder.layer:
            attention = layer.attention
            parts = (attention.self.query, attention.self.key, attention.self.value)
            products = [
                self._product(*parts),  # (3D, D)
                self._product(attention.output.dense),
                self._product(layer.intermediate.dense),
                self._product(layer.output.dense),
            ]
            self._layers.append((products, attention.output.LayerNorm, layer.output.LayerNorm))

    def _product(self, *linear: Any) -> Product:
        """Linear layers of the same input, as one."""
        import torch

        weight = torch.cat([each.weight for each in linear]) if len(linear) > 1 else linear[0].weight
        bias = torch.cat([each.bias for each in linear]) if len(linear) > 1 else linear[0].bias
        if self._int8:
            return Int8Product(weight.detach(), bias.detach())
        return _FloatProduct(weight.detach().to(self._dtype), bias.detach().to(self._dtype))

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
            for (gather, after, inner, outer), norm, last in self._layers:
                mixed = self._attended(gather(x), lengths)  # (N, D)
                x = norm(x.add_(after(mixed)))
                wide = functional.gelu(inner(x))  # (N, 4D)
                x = last(x.add_(outer(wide)))
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
