"""The loss, what labels of joined parts are, and that fitting learns and resumes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from moderator.errors import TrainingError
from moderator.fusion.checkpoint import load_checkpoint
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.taxonomy import DEFAULT
from moderator.train.batches import Batches, FusionTraining, Material, united
from moderator.train.examples import Example
from moderator.train.fusion import FusionTrainer
from moderator.train.losses import balance_of, masked_bce, targets_of, weights_of
from moderator.train.tokens import TokenCache
from moderator.types import Item, Modality

NAN = math.nan


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        (1.0, NAN, 1.0),  # harmful whatever the other is
        (0.0, NAN, NAN),  # the other may be harmful
        (NAN, NAN, NAN),
        (0.3, 0.0, 0.3),
        (0.3, 0.8, 0.8),
        (0.3, NAN, NAN),
        (0.5, NAN, 0.5),
    ],
)
def test_labels_of_two_parts_in_one_post(first: float, second: float, both: float) -> None:
    for left, right in ((first, second), (second, first)):
        made = united(np.array([left], np.float32), np.array([right], np.float32))
        assert made.dtype == np.float32
        assert np.allclose(made, [both], equal_nan=True)


def test_unknown_labels_and_weights_in_the_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3, generator=generator, requires_grad=True)
    targets = torch.tensor([[NAN, 0, 1], [1, NAN, NAN], [NAN] * 3, [0.4, 1, 0], [0, 0, 0], [1, 1, 1]])
    weights = torch.tensor([1.0, 0.5, 1.0, 1.0, 1 / 3, 1.0])
    loss = masked_bce(logits, targets, weights)
    total, mass = torch.tensor(0.0), 0.0
    for row, column in product(range(6), range(3)):
        if not targets[row, column].isnan():
            one = functional.binary_cross_entropy_with_logits(logits[row, column], targets[row, column])
            total, mass = total + weights[row] * one, mass + float(weights[row])
    torch.testing.assert_close(loss, total / mass)
    loss.backward()
    assert logits.grad is not None
    assert bool((logits.grad[targets.isnan()] == 0).all())
    assert bool((logits.grad[~targets.isnan()] != 0).all())
    nothing = masked_bce(logits, torch.full((6, 3), NAN), weights)
    assert float(nothing.detach()) == 0.0


def test_what_is_right_already_counts_less() -> None:
    logits = torch.tensor([[3.0, -3.0, 3.0, -3.0]])
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    one = torch.ones(1)
    plain = [float(masked_bce(logits[:, [c]], targets[:, [c]], one)) for c in range(4)]
    focused = [
        float(masked_bce(logits[:, [c]], targets[:, [c]], one, focus=(1.0, 2.0))) / plain[c] for c in range(4)
    ]
    wrong = torch.tensor(3.0).sigmoid().item()
    assert focused == pytest.approx([1 - wrong, wrong, wrong**2, (1 - wrong) ** 2], rel=1e-4)
    doubled = masked_bce(logits, targets, one, positives=torch.full((4,), 2.0))
    assert float(doubled) == pytest.approx((2 * plain[0] + 2 * plain[1] + plain[2] + plain[3]) / 4, rel=1e-5)


def test_balance_of_labels() -> None:
    targets = np.array([[1, NAN, 0], [0, 1, 0], [0, NAN, 0], [0, NAN, 0], [NAN, 0, 0]], np.float32)
    weights = np.ones(5, np.float32)
    assert balance_of(targets, weights, 0.0).tolist() == [1, 1, 1]
    assert balance_of(targets, weights, 1.0).tolist() == pytest.approx([3, 1, 1])
    assert balance_of(targets, weights, 0.5).tolist() == pytest.approx([3**0.5, 1, 1])
    many = np.zeros((1000, 1), np.float32)
    many[0] = 1
    assert balance_of(many, np.ones(1000, np.float32), 1.0).tolist() == [20]


def test_rare_labels_are_drawn_as_often_as_others() -> None:
    examples = [
        Example(Item.of(text=str(n)), {"a": float(n < 100), "b": float(n == 999)}, "s", "", "train")
        for n in range(1000)
    ]
    tokens = TokenCache.of_lengths(np.ones((1000, DIM), np.float16), [1] * 1000)
    targets = targets_of(examples, ("a", "b"))
    for rare, share in ((0.0, 0.001), (1.0, 0.5)):
        training = FusionTraining(batch_size=2000, rare=rare)
        batches = Batches(
            Material(examples, {"x": tokens}), training, range(1000), targets, weights_of(examples)
        )
        drawn = batches.draw(np.random.default_rng(1))
        assert drawn.targets[:, 1].mean() == pytest.approx(share, abs=0.05)


def test_targets_and_weights_of_examples() -> None:
    examples = [
        Example(Item.of(text="a"), {"b": 1.0}, "s", "", "train"),
        Example(Item.of(text="a"), {"a": 0.25, "b": 0.0}, "s", "", "train", weak=2),
    ]
    assert np.array_equal(targets_of(examples, ("a", "b")), [[NAN, 1], [0.25, 0]], equal_nan=True)
    assert weights_of(examples).tolist() == pytest.approx([1.0, 1 / 3])
    assert targets_of([], ("a", "b")).shape == (0, 2)


DIM = 6
CONFIG = FusionConfig(
    (EmbedderSpec("words", Modality.TEXT, DIM, "1:a"), EmbedderSpec("pixels", Modality.IMAGE, DIM, "1:b")),
    DEFAULT.names,
    DEFAULT.version,
    width=16,
    heads=2,
    latents=2,
    layers=1,
)
TRAINING = FusionTraining(rounds=4, steps=25, batch_size=32, warmup=10, learning_rate=3e-3, average=0.9)


def material() -> tuple[Material, dict[str, list[int]]]:
    """Texts are toxic where their first dimension is high, pictures violent where theirs is."""
    rng = np.random.default_rng(3)
    examples, values, lengths = [], {"words": [], "pixels": []}, {"words": [], "pixels": []}  # type: ignore[var-annotated]
    for number in range(400):
        name = "pixels" if number % 4 == 0 else "words"
        harmful = int(rng.integers(2))
        tokens = rng.normal(0, 1, (int(rng.integers(1, 5)), DIM))
        tokens[0, 0] = harmful * 2 - 1 + rng.normal(0, 0.3)
        label = "violence" if name == "pixels" else "toxicity"
        item = Item.of(image=b"x") if name == "pixels" else Item.of(text=str(number))
        split = "valid" if number % 5 == 0 else "train"
        examples.append(Example(item, {label: float(harmful)}, name, "", split))
        values[name].append(tokens.astype(np.float16))
        for each in lengths:
            lengths[each].append(len(tokens) if each == name else 0)
    caches = {name: TokenCache.of_lengths(np.concatenate(values[name]), lengths[name]) for name in values}
    held_out = {
        name: [i for i, each in enumerate(examples) if each.split == "valid" and each.dataset == name]
        for name in values
    }
    return Material(examples, caches), held_out


def test_it_learns_each_modality_and_its_checkpoint_says_so(tmp_path: Path) -> None:
    given, held_out = material()
    trainer = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "state")
    lines: list[str] = []
    summary = trainer.run(lines.append)
    assert summary["rounds"] == 4
    assert len(lines) == 4
    scores = trainer.validate()
    assert set(scores) == {"words/toxicity", "pixels/violence"}
    assert min(scores.values()) > 0.8
    trainer.finish(tmp_path / "fusion.safetensors")
    read = load_checkpoint(tmp_path / "fusion.safetensors", DEFAULT)
    assert read.config == CONFIG
    rows = held_out["words"]
    logits = trainer.logits(read.model, rows)
    truth = trainer.targets[rows, 0] >= 0.5
    said = read.calibration.probabilities(torch.from_numpy(logits))[:, 0].numpy()
    assert ((said >= 0.5) == truth).mean() > 0.7


def test_it_resumes_to_the_same_weights(tmp_path: Path) -> None:
    given, held_out = material()
    whole = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "whole")
    whole.run(lambda line: None)

    def stop(line: str) -> None:
        if line.startswith("round 2/"):
            raise KeyboardInterrupt

    cut = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.run(stop)
    lines: list[str] = []
    resumed = FusionTrainer(CONFIG, TRAINING, given, held_out, tmp_path / "cut")
    resumed.run(lines.append)
    assert [line.split("  ")[0] for line in lines] == ["round 3/4", "round 4/4"]
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name]), name
    whole.finish(tmp_path / "whole.safetensors")
    resumed.finish(tmp_path / "cut.safetensors")
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "cut.safetensors").read_bytes()


def test_validation_rows_teach_nothing(tmp_path: Path) -> None:
    """Other labels on the validation rows, same weights."""
    given, held_out = material()
    flipped = [
        replace(each, labels={name: 1 - value for name, value in each.labels.items()})
        if each.split == "valid"
        else each
        for each in given.examples
    ]
    short = FusionTraining(rounds=1, steps=5, batch_size=16)
    runs: list[dict[str, torch.Tensor]] = []
    for examples in (given.examples, flipped):
        folder = tmp_path / str(len(runs))
        trainer = FusionTrainer(CONFIG, short, Material(examples, given.caches), held_out, folder)
        trainer.run(lambda line: None)
        runs.append(trainer.average)
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())


def test_validation_without_both_classes_is_said(tmp_path: Path) -> None:
    given, held_out = material()
    trainer = FusionTrainer(CONFIG, TRAINING, given, {"words": held_out["words"][:5]}, tmp_path)
    with pytest.raises(TrainingError, match="no label has ten positive and ten negative validation rows"):
        trainer.run(lambda line: None)


def test_an_embedder_without_tokens_is_said(tmp_path: Path) -> None:
    given, held_out = material()
    empty = TokenCache.of_lengths(np.zeros((0, DIM), np.float16), [0] * len(given.examples))
    caches = {"words": given.caches["words"], "pixels": empty}
    with pytest.raises(TrainingError, match="an embedder has no tokens for any training example"):
        FusionTrainer(CONFIG, TRAINING, Material(given.examples, caches), held_out, tmp_path)
