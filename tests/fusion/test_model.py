"""Attention, masking, absent modalities, batch independence, determinism of the fusion model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from moderator.errors import CheckpointError
from moderator.fusion.collate import View, collate
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.layers import Attention
from moderator.fusion.model import build
from moderator.types import Modality, Source

SPECS = (
    EmbedderSpec("words", Modality.TEXT, 12, "1:aa"),
    EmbedderSpec("letters", Modality.TEXT, 6, "1:bb"),
    EmbedderSpec("pixels", Modality.IMAGE, 8, "1:cc"),
)
CONFIG = FusionConfig(SPECS, ("hate", "spam", "violence"), "1", width=32, heads=4, latents=4)
NAMES = [spec.name for spec in SPECS]


def view(seed: int, lengths: dict[str, int], source: Source = Source.NATIVE) -> View:
    generator = torch.Generator().manual_seed(seed)
    dims = {spec.name: spec.dim for spec in SPECS}
    tokens = {name: torch.randn(count, dims[name], generator=generator) for name, count in lengths.items()}
    return View(tokens, dict.fromkeys(tokens, source))


def score(views: Sequence[View], seed: int = 3) -> Tensor:
    with torch.inference_mode():
        return build(CONFIG, seed=seed)(collate(views, NAMES, "cpu"), len(views))  # type: ignore[no-any-return]


def test_attention_equals_the_reference() -> None:
    torch.manual_seed(0)
    ours, reference = Attention(16, 4, 0.0), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        reference.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        reference.out_proj.weight.copy_(ours.output.weight)
        reference.out_proj.bias.copy_(ours.output.bias)
    queries, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    expected, _ = reference(queries, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(ours(queries, memory, mask), expected)


def test_masked_tokens_change_nothing() -> None:
    given = collate([view(1, {"words": 3}), view(2, {"words": 9})], NAMES, "cpu")
    values = given["words"].values.clone()
    values[0, 3:] = 1e3
    changed = {"words": type(given["words"])(values, *_rest(given["words"]))}
    model = build(CONFIG)
    with torch.inference_mode():
        torch.testing.assert_close(model(given, 2), model(changed, 2))


def _rest(tokens: object) -> tuple[Tensor, Tensor, Tensor]:
    return tokens.mask, tokens.rows, tokens.source  # type: ignore[attr-defined]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(NAMES), st.integers(1, 40), min_size=0, max_size=3),
        min_size=1,
        max_size=8,
    )
)
def test_scores_do_not_depend_on_the_batch(shapes: list[dict[str, int]]) -> None:
    """Whatever modalities an input has, and whoever is beside it."""
    views = [view(index, lengths) for index, lengths in enumerate(shapes)]
    together = score(views)
    alone = torch.cat([score([each]) for each in views])
    assert together.shape == (len(views), 3)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_each_modality_counts_and_their_order_does_not() -> None:
    both = view(5, {"words": 4, "pixels": 6})
    turned = View(dict(reversed(list(both.tokens.items()))), both.sources)
    torch.testing.assert_close(score([both]), score([turned]))
    text = View({"words": both.tokens["words"]}, both.sources)
    picture = View({"pixels": both.tokens["pixels"]}, both.sources)
    none = View({}, {})
    rows = torch.cat([score([each]) for each in (both, text, picture, none)])
    assert len({tuple(row) for row in rows.tolist()}) == 4


def test_where_content_came_from_counts() -> None:
    assert not torch.equal(score([view(1, {"words": 4})]), score([view(1, {"words": 4}, Source.TRANSCRIPT)]))


def test_same_seed_same_model_other_seed_other_model() -> None:
    views = [view(1, {"words": 4, "letters": 2})]
    assert torch.equal(score(views, seed=1), score(views, seed=1))
    assert not torch.equal(score(views, seed=1), score(views, seed=2))


def test_every_parameter_gets_a_gradient() -> None:
    model = build(CONFIG).train()
    views = [view(1, {"words": 3}), view(2, {"letters": 3, "pixels": 2}), view(3, {"words": 2, "pixels": 2})]
    model(collate(views, NAMES, "cpu"), len(views)).square().sum().backward()
    dead = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # keys' bias shifts all attention scores alike, which softmax forgets: its half of key_value.bias may be 0
    assert dead == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"embedders": ()}, "at least one"), ({"width": 30}, "divisible"), ({"latents": 40}, "exceed 64")],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        FusionConfig(**{"embedders": SPECS, "labels": ("a",), "taxonomy": "1", **changes})  # type: ignore[arg-type]
