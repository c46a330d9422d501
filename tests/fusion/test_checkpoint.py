"""A checkpoint gives back what was saved, and refuses what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from moderator.errors import CheckpointError
from moderator.fusion.calibration import Calibration, fit
from moderator.fusion.checkpoint import load_checkpoint, save_checkpoint
from moderator.fusion.collate import View, collate
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.fusion.model import build
from moderator.taxonomy import DEFAULT, Label, Taxonomy
from moderator.types import Modality
from moderator.weights import sha256_of

CONFIG = FusionConfig(
    (EmbedderSpec("words", Modality.TEXT, 12, "1:aa"), EmbedderSpec("image.x", Modality.IMAGE, 4, "2:bb")),
    DEFAULT.names,
    DEFAULT.version,
    width=32,
)


def saved(path: Path) -> Path:
    calibration = Calibration(
        DEFAULT.names, tuple(1 + 0.1 * i for i in range(9)), tuple(float(i) for i in range(9))
    )
    save_checkpoint(path, build(CONFIG, seed=4), calibration)
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = saved(tmp_path / "fusion.safetensors")
    first, second = load_checkpoint(path, DEFAULT), load_checkpoint(path, DEFAULT)
    assert first.config == CONFIG
    assert first.digest == sha256_of(path)
    assert first.calibration.bias == tuple(range(9))
    tokens = collate([View({"words": torch.randn(5, 12)}, {})], ["words", "image.x"], "cpu")
    with torch.inference_mode():
        exact, again = build(CONFIG, seed=4)(tokens, 1), first.model(tokens, 1)
        assert torch.equal(again, second.model(tokens, 1))
    torch.testing.assert_close(again, exact, atol=5e-3, rtol=0)  # half precision on disk
    save_checkpoint(tmp_path / "again.safetensors", first.model, first.calibration)
    assert load_checkpoint(tmp_path / "again.safetensors", DEFAULT).digest == first.digest


def test_misfits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no fusion checkpoint there.*moderator train"):
        load_checkpoint(tmp_path / "absent.safetensors", DEFAULT)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(damaged, DEFAULT)
    path = saved(tmp_path / "fusion.safetensors")
    other = Taxonomy("2", (*DEFAULT.labels, Label("new", "a label more")))
    with pytest.raises(CheckpointError, match="trained for taxonomy 1"):
        load_checkpoint(path, other)
    save_file(load_file(path), tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="format None"):
        load_checkpoint(tmp_path / "plain.safetensors", DEFAULT)


def test_calibration_finds_the_true_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (4000, 2)).astype(np.float32)
    truth = 1 / (1 + np.exp(-(logits / 2.5 - 1.0)))
    targets = (rng.random(truth.shape) < truth).astype(np.float32)
    targets[:, 1] = np.nan  # unknown everywhere: stays as it is
    calibration = fit(("hate", "spam"), logits, targets)
    assert calibration.temperature[0] == pytest.approx(2.5, rel=0.1)
    assert calibration.bias[0] == pytest.approx(-1.0, abs=0.15)
    assert (calibration.temperature[1], calibration.bias[1]) == (1.0, 0.0)
    probabilities = calibration.probabilities(torch.from_numpy(logits))[:, 0].numpy()
    assert np.abs(probabilities - truth[:, 0]).max() < 0.05


def test_a_language_has_a_calibration_of_its_own() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 2, (8000, 1)).astype(np.float32)
    targets = (rng.random((8000, 1)) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    languages = ["zh" if row % 2 else "" for row in range(8000)]
    logits = truth.copy()
    logits[1::2] = 0.5 * truth[1::2] - 1.0  # of Chinese less is known
    made = fit(("hate",), logits, targets, languages=languages)
    assert made.temperature[0] == pytest.approx(1.0, rel=0.1)
    assert made.languages["zh"].temperature[0] == pytest.approx(0.5, rel=0.1)
    read = Calibration.from_json(made.to_json(), ("hate",))
    assert read == made
    said = read.probabilities(torch.from_numpy(logits), languages)[:, 0].numpy()
    assert np.abs(said - 1 / (1 + np.exp(-truth[:, 0]))).max() < 0.06
    unknown = read.probabilities(torch.from_numpy(logits[:2]), ["fr", ""])
    assert torch.equal(unknown, read.probabilities(torch.from_numpy(logits[:2])))
    wide = read.widened(("hate", "own"))
    assert wide.languages["zh"].bias == (*read.languages["zh"].bias, 0.0)


def test_a_language_with_few_rows_shares_that_of_all() -> None:
    logits = np.linspace(-3, 3, 100, dtype=np.float32)[:, None]
    targets = (logits > 0.5).astype(np.float32)
    made = fit(("hate",), logits, targets, languages=["zh"] * 10 + [""] * 90)
    assert made.languages["zh"].temperature == made.temperature
    only = fit(("hate",), logits, targets, languages=["zh"] * 100)
    assert only.temperature == only.languages["zh"].temperature != (1.0,)


def test_calibration_of_a_separable_label_stays_finite() -> None:
    logits = np.concatenate([np.full((50, 1), -3.0), np.full((50, 1), 3.0)]).astype(np.float32)
    targets = (logits > 0).astype(np.float32)
    calibration = fit(("hate",), logits, targets)
    assert 0 < calibration.temperature[0] <= 1
    assert np.isfinite(calibration.bias[0])


@pytest.mark.parametrize("text", ["", "{}", '{"hate": {"temperature": 0, "bias": 0}}'])
def test_broken_calibration_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="calibration"):
        Calibration.from_json(text, ("hate",))
