"""Goes on from a trained model with one's own labelled texts, without forgetting the rest.

Embedders stay as they are; the fusion model learns. Labels the model does not know yet get a query and a
reading of their own.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.errors import TrainingError
from moderator.fusion.checkpoint import Checkpoint, load_checkpoint
from moderator.fusion.collate import collate
from moderator.fusion.model import FusionModel, build
from moderator.host import PluginHost
from moderator.pipeline.models import CHECKPOINT, model_directory, with_model_weights
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.train.batches import FusionTraining, Material
from moderator.train.examples import Example, read_text
from moderator.train.fusion import FusionTrainer, Start
from moderator.train.material import contents_of
from moderator.train.parallel import best_device
from moderator.train.tokens import TokenCache, cache_tokens
from moderator.types import Modality

Report = Callable[[str], None]
_VALID = 0.2
_FEWEST = 20
"""Positives and negatives a new label needs."""


_TRAINING = FusionTraining(
    rounds=8,
    steps=50,
    batch_size=64,
    learning_rate=2e-4,
    warmup=40,
    patience=3,
    joint=0.0,
    average=0.99,
)


@dataclass(frozen=True, slots=True)
class FineTuning:
    """``new_labels``: those the model is to learn beyond its own. ``training``: as for a whole training."""

    files: Sequence[Path]
    new_labels: Sequence[str] = ()
    training: FusionTraining = _TRAINING


def finetune(
    model: str, tuning: FineTuning, out: Path, work: Path, settings: Settings, report: Report
) -> Path:
    """Go on from ``model`` (``default`` or a directory) and write a model directory to ``out``; returns its
    checkpoint. A fifth of the rows, by the hash of their text, is kept to validate on.

    Raises ``TrainingError`` where the texts or the model do not fit.
    """
    directory = model_directory(model)
    if out.resolve() == directory.resolve():
        raise TrainingError(f"{out} is the model to go on from; write to another directory")
    base = load_checkpoint(directory / CHECKPOINT, DEFAULT)
    labels = _labels(base, tuning.new_labels)
    examples = _read(tuning.files, labels, tuning.new_labels, report)
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    caches = _caches(base, directory, settings, examples, work / "tokens", report)
    start = Start(
        _widened(base.model, labels),
        _said(base, Material(examples, caches), len(labels)),
        base.calibration.widened(labels),
    )
    trainer = FusionTrainer(
        start.model.config,
        tuning.training,
        Material(examples, caches),
        {"own": [at for at, each in enumerate(examples) if each.split == "valid"]},
        work / "fusion",
        start,
        best_device(),
    )
    history = trainer.run(report)
    path = out / CHECKPOINT
    trainer.finish(path)
    for file in directory.glob("*.safetensors"):
        if file.name != CHECKPOINT:
            shutil.copyfile(file, out / file.name)
    report(f"{path} written, from the best of {history['rounds']} rounds or the model as it was")
    return path


def _labels(base: Checkpoint, new: Sequence[str]) -> tuple[str, ...]:
    for name in new:
        if name in base.config.labels:
            raise TrainingError(f"{name} is a label of the model already; leave out --new-label {name}")
        if not name.isidentifier() or name != name.lower():
            raise TrainingError(f"label {name!r} must be lower-case letters, digits and underscores")
    return (*base.config.labels, *new)


def _read(files: Sequence[Path], labels: Sequence[str], new: Sequence[str], report: Report) -> list[Example]:
    examples = read_text(files, labels=labels, valid_share=_VALID)
    for name in new:
        known = [each.labels[name] >= 0.5 for each in examples if name in each.labels]
        positive, negative = sum(known), len(known) - sum(known)
        if min(positive, negative) < _FEWEST:
            raise TrainingError(
                f"new label {name}: {positive} rows with it and {negative} without; at least {_FEWEST} of "
                "each are needed"
            )
    counts = Counter(name for each in examples for name, value in each.labels.items() if value >= 0.5)
    splits = Counter(each.split for each in examples)
    report(
        f"{splits['train']} rows to learn from, {splits['valid']} to validate on; "
        + ", ".join(f"{name} {counts[name]}" for name in labels if counts[name])
    )
    return examples


def _caches(
    base: Checkpoint,
    directory: Path,
    settings: Settings,
    examples: Sequence[Example],
    folder: Path,
    report: Report,
) -> dict[str, TokenCache]:
    """Tokens by the model's text embedders."""
    names = [spec.name for spec in base.config.embedders if spec.modality is Modality.TEXT]
    host = PluginHost.discover(with_model_weights(settings, directory, names))
    caches = {}
    for spec in base.config.embedders:
        if spec.modality is not Modality.TEXT:
            continue
        if spec.name not in host.embedders:
            raise TrainingError(f"the model needs the embedder {spec.name}, which is not installed")
        embedder = host.embedders[spec.name]
        embedder.load(best_device())
        if embedder.fingerprint != spec.fingerprint:
            raise TrainingError(
                f"the model was trained with {spec.name} {spec.fingerprint}, here is {embedder.fingerprint}"
            )

        def progress(done: int, total: int, name: str = spec.name) -> None:
            report(f"{name}: tokens of {done}/{total} texts")

        caches[spec.name] = cache_tokens(
            embedder, examples, folder, lambda example: contents_of(example.item), progress
        )
    return caches


def _widened(model: FusionModel, labels: tuple[str, ...]) -> FusionModel:
    """The same model with room for the labels that are new."""
    wide = build(replace(model.config, labels=labels))
    state = wide.state_dict()
    for name, value in model.state_dict().items():
        if state[name].shape == value.shape:
            state[name] = value
        else:  # one row a label: queries, outputs, readings
            state[name][: len(value)] = value
            state[name][len(value) :] = value.mean(0)
    wide.load_state_dict(state)
    return wide


def _said(base: Checkpoint, material: Material, width: int) -> NDArray[np.float32]:
    """What the model says of the examples now ``(N, width)``: the sigmoid of its logits, which is what is
    learnt; NaN for new labels."""
    names = [spec.name for spec in base.config.embedders]
    result = np.full((len(material.examples), width), np.nan, dtype=np.float32)
    with torch.inference_mode():
        for begin in range(0, len(result), 128):
            views = [material.view(at) for at in range(begin, min(begin + 128, len(result)))]
            logits = base.model(collate(views, names, "cpu"), len(views))  # (B, C)
            result[begin : begin + len(views), : logits.shape[1]] = logits.sigmoid().numpy()
    return result
