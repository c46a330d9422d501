from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from moderator.errors import MediaError, TrainingError
from moderator.plugin import TrainableEmbedder
from moderator.train.embedder import EmbedderProgress, EmbedderTraining, train_embedder
from moderator.train.examples import Example
from moderator.train.prepared import Prepared
from moderator.types import Content, Embedding, Item, Modality, Part

CONFIG = EmbedderTraining(epochs=6, batch_size=16, lr=1e-2, warmup=0.1, patience=6, seed=1)


class Bars(TrainableEmbedder):
    """An embedder of images eight pixels square, small enough to train in a second."""

    name: ClassVar[str] = "image-bars"
    modality: ClassVar[Modality] = Modality.IMAGE

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self.module: nn.Module = nn.Identity()

    @property
    def dim(self) -> int:
        return 8

    @property
    def fingerprint(self) -> str:
        return "1:"

    def load(self, device: str) -> None:
        raise NotImplementedError

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return ()

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        raise NotImplementedError

    def initialise(self, device: str, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.module = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8))
        return self.module

    def inputs(self, contents: Sequence[Content], rng: np.random.Generator | None = None) -> torch.Tensor:
        pixels = (
            np.stack([np.asarray(content.data)[:, :, 0] for content in contents]).astype(np.float32) / 255
        )
        if rng is not None:
            pixels = pixels + rng.normal(0, 0.05, pixels.shape).astype(np.float32)
        return torch.from_numpy(pixels).flatten(1)  # (B, 64)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.module(inputs)[:, None]  # (B, 1, D)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool)

    def save(self, path: Path) -> None:
        save_file(self.module.state_dict(), path)


def bars(high: bool, seed: int, count: int = 1) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8)
        image[rng.integers(4) + (0 if high else 4)] += 80
        images.append(image)
    return images


def example(index: int, **change: Any) -> Example:
    positive = index % 2 == 0
    labels = {"violence": float(positive), "hate": 0.0}
    if index % 3 == 0:
        labels["profanity"] = float(not positive)
    item = Item(str(index), tuple(Part(Modality.IMAGE, image) for image in bars(positive, index)))
    made = Example(item, labels, "bars", "", "valid" if index % 4 < 2 else "train", index % 3, "", "CC0-1.0")
    return replace(made, **change)


EXAMPLES = [example(index) for index in range(480)]


def decode(item: Item) -> list[Content]:
    return [Content(Modality.IMAGE, part.value, part=place) for place, part in enumerate(item.parts)]


def test_learns_what_is_there_and_reports_it(tmp_path: Path) -> None:
    seen: list[EmbedderProgress] = []
    report = train_embedder(Bars(), EXAMPLES, tmp_path, CONFIG, decode, seen.append)
    assert report.losses[-1] < 0.8 * report.losses[0]
    assert report.labels["violence"].auroc > 0.9
    assert report.labels["profanity"].auroc > 0.9
    assert report.labels["violence"].auprc > 0.9
    assert (report.labels["violence"].positives, report.labels["violence"].negatives) == (120, 120)
    assert set(report.labels) == {"violence", "profanity"}  # hate has no positives: nothing to learn
    assert (report.trained_on, report.validated_on, report.skipped) == (240, 240, 0)
    assert report.aurocs[report.best_epoch - 1] == max(report.aurocs)
    assert sum(progress.auroc is not None for progress in seen) == len(report.losses)
    assert seen[0].steps == 15
    written = json.loads((tmp_path / "image-bars.json").read_text())
    assert written["labels"]["violence"]["auroc"] == report.labels["violence"].auroc
    assert written["config"]["epochs"] == 6
    assert written["path"] == "image-bars.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-bars.json", "image-bars.safetensors"]


class StoppedError(Exception):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def stop(progress: EmbedderProgress) -> None:
        if progress.epoch == 3 and progress.step == 5:
            raise StoppedError

    whole = train_embedder(Bars(), EXAMPLES, tmp_path / "whole", CONFIG, decode)
    with pytest.raises(StoppedError):
        train_embedder(Bars(), EXAMPLES, tmp_path / "parts", CONFIG, decode, stop)
    assert (tmp_path / "parts" / "image-bars.train.safetensors").exists()
    torch.rand(7)  # chance elsewhere must not matter
    epochs: list[int] = []
    parts = train_embedder(
        Bars(), EXAMPLES, tmp_path / "parts", CONFIG, decode, lambda progress: epochs.append(progress.epoch)
    )
    assert min(epochs) == 3
    assert parts.losses == whole.losses
    assert parts.labels == whole.labels
    one = load_file(tmp_path / "whole" / "image-bars.safetensors")
    two = load_file(tmp_path / "parts" / "image-bars.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_state_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    def stop(progress: EmbedderProgress) -> None:
        if progress.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_embedder(Bars(), EXAMPLES, tmp_path, CONFIG, decode, stop)
    with pytest.raises(TrainingError, match="another configuration or other data"):
        train_embedder(Bars(), EXAMPLES, tmp_path, replace(CONFIG, lr=0.1), decode)
    with pytest.raises(TrainingError, match="another configuration or other data"):
        train_embedder(Bars(), EXAMPLES[:-1], tmp_path, CONFIG, decode)
    (tmp_path / "image-bars.train.safetensors").write_bytes(b"cut off")
    with pytest.raises(TrainingError, match="delete it to start afresh"):
        train_embedder(Bars(), EXAMPLES, tmp_path, CONFIG, decode)


def test_stops_when_it_gets_no_better(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=30, lr=1e-7, patience=2)
    report = train_embedder(Bars(), EXAMPLES[:96], tmp_path, config, decode)
    assert len(report.losses) == report.best_epoch + 2 < 30


def test_memory_does_not_change_what_is_learnt(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=2)
    cached = train_embedder(Bars(), EXAMPLES[:200], tmp_path / "a", config, decode)
    again = train_embedder(Bars(), EXAMPLES[:200], tmp_path / "b", replace(config, cache_mb=0), decode)
    assert cached.losses == again.losses


def test_the_number_of_threads_is_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    train_embedder(Bars(), EXAMPLES[:64], tmp_path, replace(CONFIG, epochs=1, threads=1), decode)
    assert torch.get_num_threads() == before


def test_of_several_contents_the_worst_decides(tmp_path: Path) -> None:
    examples = []
    for index in range(400):
        images = bars(False, index, count=3)
        if index % 2:
            images[index % 3] = bars(True, index)[0]
        item = Item(str(index), tuple(Part(Modality.IMAGE, image) for image in images))
        examples.append(example(index, item=item, labels={"violence": float(index % 2)}, weak=0))
    config = replace(CONFIG, epochs=10, patience=10)
    report = train_embedder(Bars(), examples, tmp_path, config, decode)
    assert report.labels["violence"].auroc > 0.8


def test_what_cannot_be_decoded_is_counted(tmp_path: Path) -> None:
    def partly(item: Item) -> list[Content]:
        if int(item.id) % 10 == 0:
            raise MediaError("broken")
        return [] if int(item.id) % 10 == 1 else decode(item)

    report = train_embedder(Bars(), EXAMPLES[:200], tmp_path, replace(CONFIG, epochs=1), partly)
    assert report.skipped == 40
    assert report.trained_on + report.validated_on == 160

    def never(item: Item) -> list[Content]:
        raise MediaError("broken")

    with pytest.raises(TrainingError, match="none of 100 examples has image"):
        train_embedder(Bars(), EXAMPLES[:200], tmp_path, CONFIG, never)


def test_without_anything_to_learn_it_says_so(tmp_path: Path) -> None:
    train = [one for one in EXAMPLES if one.split == "train"]
    with pytest.raises(TrainingError, match="0 to validate on"):
        train_embedder(Bars(), train, tmp_path, CONFIG, decode)
    negative = [replace(one, labels={"violence": 0.0}) for one in EXAMPLES]
    with pytest.raises(TrainingError, match="both positives and negatives"):
        train_embedder(Bars(), negative, tmp_path, CONFIG, decode)
    with pytest.raises(TrainingError, match="epochs must be above 0"):
        EmbedderTraining(epochs=0)


def test_a_label_without_positives_in_validation_has_no_figure(tmp_path: Path) -> None:
    examples = [
        replace(one, labels={"violence": 0.0}) if one.split == "valid" else one for one in EXAMPLES[:100]
    ]
    report = train_embedder(Bars(), examples, tmp_path, replace(CONFIG, epochs=2), decode)
    assert math.isnan(report.labels["violence"].auroc)
    written = json.loads((tmp_path / "image-bars.json").read_text())
    assert written["labels"]["violence"]["auroc"] is None


def test_divergence_is_an_error(tmp_path: Path) -> None:
    class Broken(Bars):
        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            tokens, mask = super().forward(inputs)
            return tokens * float("nan"), mask

    with pytest.raises(TrainingError, match="loss is nan in epoch 1; lower lr"):
        train_embedder(Broken(), EXAMPLES[:64], tmp_path, CONFIG, decode)


# What is prepared


def prepared(examples: Sequence[Example], labels: Sequence[str] = ("violence", "profanity")) -> Prepared:
    return Prepared(examples, labels, Modality.IMAGE, decode, 1 << 20)


def test_unknown_labels_weigh_nothing_and_weak_ones_less() -> None:
    data = prepared([example(1), example(2), example(3)])
    assert data.truth.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert data.weight.tolist() == [[0.5, 0], [pytest.approx(1 / 3), 0], [1, 1]]


def test_class_weights() -> None:
    rows = [
        example(index, labels={"violence": float(index == 0), "profanity": 0.0}, weak=0) for index in range(8)
    ]
    assert prepared(rows).class_weights(0.0).tolist() == [[1, 0], [1, 0]]
    negative, positive = prepared(rows).class_weights(1.0)[:, 0]
    assert negative * 7 == pytest.approx(positive * 1)


def test_batches_hold_everything_once_in_an_order_of_chance() -> None:
    data = prepared(EXAMPLES[:100])
    one = list(data.batches(7, np.random.default_rng(0)))
    two = list(data.batches(7, np.random.default_rng(1)))
    assert sorted(np.concatenate(one)) == list(range(100))
    assert [list(batch) for batch in one] != [list(batch) for batch in two]
    assert sorted(np.concatenate(list(data.batches(7, None)))) == list(range(100))


def test_audio_is_kept_as_sixteen_bits_whether_cached_or_not() -> None:
    samples = np.linspace(-1.5, 1.5, 1000, dtype=np.float32)
    item = Item("a", (Part(Modality.AUDIO, samples),))
    one = replace(EXAMPLES[0], item=item)

    def opened(item: Item) -> list[Content]:
        return [Content(Modality.AUDIO, part.value, rate=16_000) for part in item.parts]

    for cache in (1 << 20, 0):
        data = Prepared([one], ["violence"], Modality.AUDIO, opened, cache)
        [content], owner = data.contents(np.array([0]))
        assert content.data.dtype == np.float32  # type: ignore[union-attr]
        assert np.abs(np.asarray(content.data) - samples.clip(-1, 1)).max() < 1e-4
        assert owner.tolist() == [0]
