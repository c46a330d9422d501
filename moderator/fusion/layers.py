"""Transformer blocks (Vaswani et al. 2017), pre-norm (Xiong et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention of ``queries`` over ``memory``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """``queries`` (B, Q, D), ``memory`` (B, M, D), ``mask`` (B, M) True where memory is real → (B, Q, D).

        Every row of ``mask`` must hold at least one True.
        """
        batch, length, width = queries.shape
        q = self._split(self.query(queries))  # (B, H, Q, D/H)
        k, v = (self._split(each) for each in self.key_value(memory).chunk(2, dim=-1))  # (B, H, M, D/H)
        attended = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if mask is None else mask[:, None, None, :],  # (B, 1, 1, M)
            dropout_p=self.dropout if self.training else 0.0,
        )
        merged = attended.transpose(1, 2).reshape(batch, length, width)  # (B, Q, D)
        return self.output(merged)  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU (Hendrycks & Gimpel 2016) between."""

    def __init__(self, width: int, multiple: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, multiple * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(multiple * width, width),
        )


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, width: int, heads: int, multiple: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, multiple, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` (B, L, D), ``mask`` (B, L) → (B, L, D)."""
        y = self.attention_norm(x)
        x = x + self.drop(self.attention(y, y, mask))
        return x + self.drop(self.feed_forward(self.forward_norm(x)))  # type: ignore[no-any-return]


class CrossLayer(nn.Module):
    """Optional self-attention among the queries, cross-attention to the memory, feed-forward.

    Without self-attention this is a resampler block (Jaegle et al. 2021), with it a decoder layer whose
    queries are labels (Query2Label, Liu et al. 2021).
    """

    def __init__(
        self, width: int, heads: int, multiple: int, dropout: float, *, self_attention: bool
    ) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width) if self_attention else None
        self.self_attention = Attention(width, heads, dropout) if self_attention else None
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads, dropout)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, multiple, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """``x`` (B, Q, D), ``memory`` (B, M, D), ``mask`` (B, M) → (B, Q, D)."""
        if self.self_attention is not None and self.self_norm is not None:
            y = self.self_norm(x)
            x = x + self.drop(self.self_attention(y, y))
        x = x + self.drop(self.cross_attention(self.cross_norm(x), memory, mask))
        return x + self.drop(self.feed_forward(self.forward_norm(x)))  # type: ignore[no-any-return]


def initialise(module: nn.Module, seed: int) -> None:
    """Every weight of a fusion model is set here, from ``seed``: truncated normals, zeros, ones."""
    generator = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.trunc_normal_(each.weight, std=each.in_features**-0.5, generator=generator)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.LayerNorm):
            nn.init.ones_(each.weight)
            nn.init.zeros_(each.bias)
        else:
            for parameter in each.parameters(recurse=False):
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
