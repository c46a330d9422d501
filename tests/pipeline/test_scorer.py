"""Scores in half precision: near those in full, the same in any batch, and only where an embedder's are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from moderator.fusion.calibration import Calibration
from moderator.fusion.checkpoint import Checkpoint
from moderator.fusion.collate import View
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.model import build
from moderator.pipeline.scorer import Scorer
from moderator.taxonomy import DEFAULT
from moderator.types import Modality
from tests.pipeline.parts import embedder_class, moderator, spec


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    specs = tuple(EmbedderSpec(name, Modality.TEXT, 96, "1") for name in ("words", "letters"))
    config = FusionConfig(specs, DEFAULT.names, DEFAULT.version)
    model = build(config, seed=3)
    with torch.no_grad():  # as spread as those of a trained model
        model.output.mul_(3)
    return Scorer(Checkpoint(model, Calibration.identity(config.labels), "0"), "cpu")


def views(count: int) -> list[View]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for number in range(count):
        tokens = torch.randn(1 + number % 40, 96, generator=generator)
        made.append(View({("words", "letters")[number % 2]: tokens}, {}))
    return made


def test_views_of_embedders_in_half_precision_are_scored_in_it(scorer: Scorer) -> None:
    given = views(60)
    full = scorer.probabilities(given)
    mixed = scorer.probabilities(given, {"words"})
    assert full.min() < 0.3 and full.max() > 0.7
    changed = np.abs(mixed - full).max(axis=1)
    assert changed[1::2].max() < 1e-5, "those of the other embedder stay in full precision"
    assert 0 < changed[0::2].max() < 5e-3


def test_scores_in_half_precision_do_not_depend_on_the_batch(scorer: Scorer) -> None:
    given = views(80)
    together = scorer.probabilities(given, {"words"})
    alone = np.concatenate([scorer.probabilities([view], {"words"}) for view in given])
    assert np.abs(together - alone).max() < 2e-3


def test_an_embedder_in_full_precision_keeps_the_fusion_in_it() -> None:
    config = FusionConfig((spec(),), DEFAULT.names, DEFAULT.version)
    model = Checkpoint(build(config, seed=2), Calibration.identity(config.labels), "0")

    def scores(precision: str) -> Sequence[float]:
        kind = embedder_class(precision=precision)
        with moderator([kind], model=model) as judging:
            return list(judging.check(text="hello").scores.values())

    full, half = scores("float32"), scores("bfloat16")
    assert full != half
    assert full == pytest.approx(half, abs=5e-3)
