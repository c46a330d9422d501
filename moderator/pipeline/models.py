"""Model directories: a fusion checkpoint, and beside it the weights of the embedders trained with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import moderator.models.default
from moderator import gpu
from moderator.errors import SettingsError
from moderator.fusion.metadata import read_labels
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT

CHECKPOINT = "fusion.safetensors"


def model_path(model: str) -> Path:
    """Where a model should be: the shipped one for ``default``, else the path given."""
    return Path(moderator.models.default.__path__[0]) if model == "default" else Path(model)


def model_directory(model: str) -> Path:
    """The directory of a model that is there. ``SettingsError`` if the one given has no checkpoint."""
    path = model_path(model)
    if model != "default" and not (path / CHECKPOINT).is_file():
        raise SettingsError(f"model {model!r}: no {CHECKPOINT} there; give 'default' or a trained directory")
    return path


def labels_of(model: str) -> tuple[str, ...]:
    """The labels a model scores; those of the default taxonomy where there is no model to ask."""
    path = model_path(model) / CHECKPOINT
    return read_labels(path) if path.is_file() else DEFAULT.names


def with_model_weights(settings: Settings, directory: Path, embedders: Sequence[str]) -> Settings:
    """Settings in which ``embedders`` use the weights ``<embedder>.safetensors`` of the model directory,
    unless their options already name others."""
    plugins: dict[str, Mapping[str, object]] = dict(settings.plugins)
    for name in embedders:
        file = directory / f"{name}.safetensors"
        if file.is_file():
            plugins[name] = {"weights": str(file), **plugins.get(name, {})}
    return replace(settings, plugins=plugins)


def resolve_device(device: str) -> str:
    """``auto`` → ``cuda`` if there is one, else ``cpu``. ``SettingsError`` for one that is not there."""
    import torch  # the rest of this module is for listings, which should not wait for it

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        gpu.prepare()
    elif device != "cpu":
        raise SettingsError(f"device {device!r}: only auto, cpu and cuda are supported")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
