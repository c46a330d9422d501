"""Writes a model directory whose embedders store their weights in 8 bits, where they can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from moderator.errors import CheckpointError, TrainingError
from moderator.fusion.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from moderator.fusion.config import EmbedderSpec
from moderator.fusion.model import build
from moderator.host import PluginHost
from moderator.pipeline.models import CHECKPOINT, model_directory, with_model_weights
from moderator.plugin import Embedder, Int8Embedder
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT


@dataclass(frozen=True, slots=True)
class Stored:
    """An embedder that was stored in 8 bits, and the bytes of its weights before and after."""

    name: str
    before: int
    after: int


def export_int8(out: Path, settings: Settings, report: Callable[[str], None]) -> list[Stored]:
    """Write the model of ``settings`` to the empty or new folder ``out``, and say what became smaller.

    The fusion model stays as it is, but for the fingerprints it names: it is bound to the files written
    here and to no others. Raises ``TrainingError`` where no embedder can be stored in 8 bits.
    """
    directory = model_directory(settings.model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out} is not an empty folder; write to a new one")
    checkpoint = load_checkpoint(directory / CHECKPOINT, DEFAULT)
    specs = checkpoint.config.embedders
    host = PluginHost.discover(with_model_weights(settings, directory, [spec.name for spec in specs]))
    able = {name: each for name, each in host.embedders.items() if isinstance(each, Int8Embedder)}
    if not any(spec.name in able for spec in specs):
        raise TrainingError(
            f"{directory}: none of its embedders can be stored in 8 bits: "
            f"{', '.join(spec.name for spec in specs)}"
        )
    out.mkdir(parents=True, exist_ok=True)
    stored, named = [], []
    for spec in specs:
        path = out / f"{spec.name}.safetensors"
        if spec.name in able:
            report(f"{spec.name}: to 8 bits")
            fingerprint = _stored(able[spec.name], spec, path)
            before = sum(each.path.stat().st_size for each in able[spec.name].weights())
            stored.append(Stored(spec.name, before, path.stat().st_size))
            named.append(replace(spec, fingerprint=fingerprint))
        else:
            named.append(spec)
            if (directory / path.name).is_file():
                shutil.copyfile(directory / path.name, path)
    # last: a folder without a checkpoint is no model, should this be interrupted
    _save(checkpoint, named, out / CHECKPOINT)
    return stored


def _stored(embedder: Int8Embedder, spec: EmbedderSpec, path: Path) -> str:
    """The fingerprint of the embedder read back from ``path``, written from the one the model knows."""
    _check(embedder, spec)
    embedder.save_int8(path)
    options = {key: value for key, value in embedder.options.items() if key != "precision"}
    again = type(embedder)({**options, "weights": str(path)})
    again.load("cpu")
    return again.fingerprint


def _check(embedder: Embedder, spec: EmbedderSpec) -> None:
    embedder.load("cpu")
    if embedder.fingerprint != spec.fingerprint:
        raise CheckpointError(
            f"the model was trained with {spec.name} {spec.fingerprint}, here is {embedder.fingerprint}; use "
            "the same weights, or train a model"
        )


def _save(checkpoint: Checkpoint, specs: list[EmbedderSpec], path: Path) -> None:
    model = build(replace(checkpoint.config, embedders=tuple(specs)))
    model.load_state_dict(checkpoint.model.state_dict())
    save_checkpoint(path, model, checkpoint.calibration)
