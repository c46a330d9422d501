"""What ``moderator train`` is told: one TOML file, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from moderator.errors import TrainingError
from moderator.train.batches import FusionTraining
from moderator.train.embedder import EmbedderTraining
from moderator.train.reading import Reading
from moderator.train.speech import Speech
from moderator.train.teacher import Teacher
from moderator.train.tune import Tuning

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class TextData:
    """Labelled text. ``files`` are relative to the data folder. ``leave_out``: sources never looked at
    in training; ``validation``: whole sources kept for validation beside ``valid_share`` of the others."""

    files: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    valid_share: float = 0.05
    max_per_source: int = 4000
    caps: Mapping[str, int] = field(default_factory=dict)
    evasion: float = 0.0
    """Share of training rows that are there a second time in a spelling made to get past filters."""
    assume_negative: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Source → labels taken as absent in its rows whose known labels are all negative. For languages in
    which a label has positives and no negatives: without it the language itself would be the harm."""


@dataclass(frozen=True, slots=True)
class ImageData:
    """Pictures of a manifest; only the ``datasets`` named."""

    manifest: str = ""
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """How many texts of a source to speak: those with and without ``label``."""

    label: str
    positives: int = 0
    negatives: int = 0


@dataclass(frozen=True, slots=True)
class AudioData:
    """Speech synthesised from ``texts`` (source → quota) of the text files over recorded ``backgrounds``."""

    manifest: str = ""
    backgrounds: tuple[str, ...] = ()
    texts: Mapping[str, Quota] = field(default_factory=dict)
    max_words: int = 15
    speech: Speech = field(default_factory=Speech)


@dataclass(frozen=True, slots=True)
class FusionModelConfig:
    """Which embedders the fusion model reads, and its sizes (see ``FusionConfig``)."""

    embedders: tuple[str, ...] = ()
    not_alone: tuple[str, ...] = ()
    """Embedders trained on too little to clear content by themselves (``EmbedderSpec.alone``)."""
    width: int = 128
    heads: int = 4
    latents: int = 8
    layers: int = 2
    decoder_layers: int = 1
    dropout: float = 0.1
    shortcut: bool = True


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole training. ``embedders``: trainable embedder → how its own weights are fitted."""

    text: TextData
    image: ImageData
    audio: AudioData
    embedders: Mapping[str, EmbedderTraining]
    fusion: FusionModelConfig
    training: FusionTraining
    tuning: Mapping[str, Tuning] = field(default_factory=dict)
    """Text encoder → how it is tuned before the fusion model is fitted."""
    teacher: Teacher = field(default_factory=Teacher)
    """A classifier that fills in labels of the texts; none without a ``model``."""
    reading: Reading = field(default_factory=Reading)
    """Posts of a caption and a picture of words, and texts to be drawn and read back."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Embedder → its plugin options while training."""


def read_config(path: Path) -> TrainConfig:
    """Read a training configuration. Raises ``TrainingError`` naming the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read as TOML: {error}") from error
    known = {each.name for each in dataclasses.fields(TrainConfig)}
    if unknown := set(table) - known:
        raise TrainingError(
            f"{path}: unknown section {', '.join(sorted(unknown))}; known are {sorted(known)}"
        )
    for name in known & set(table):
        if not isinstance(table[name], dict):
            raise TrainingError(f"{path}: {name} must be a section, got {table[name]!r}")
    audio = dict(table.get("audio", {}))
    audio["texts"] = {
        source: _made(Quota, quota, f"{path}: audio.texts.{source}")
        for source, quota in audio.get("texts", {}).items()
    }
    audio["speech"] = _made(Speech, audio.get("speech", {}), f"{path}: audio.speech")
    config = TrainConfig(
        text=_made(TextData, table.get("text", {}), f"{path}: text"),
        image=_made(ImageData, table.get("image", {}), f"{path}: image"),
        audio=_made(AudioData, audio, f"{path}: audio"),
        embedders={
            name: _made(EmbedderTraining, section, f"{path}: embedders.{name}")
            for name, section in table.get("embedders", {}).items()
        },
        fusion=_made(FusionModelConfig, table.get("fusion", {}), f"{path}: fusion"),
        training=_made(FusionTraining, table.get("training", {}), f"{path}: training"),
        tuning={
            name: _made(Tuning, section, f"{path}: tuning.{name}")
            for name, section in table.get("tuning", {}).items()
        },
        teacher=_made(Teacher, table.get("teacher", {}), f"{path}: teacher"),
        reading=_made(Reading, table.get("reading", {}), f"{path}: reading"),
        options=table.get("options", {}),
    )
    if not 0 <= config.text.evasion <= 1:
        raise TrainingError(f"{path}: text.evasion must be from 0 to 1, got {config.text.evasion}")
    if both := sorted(set(config.embedders) & set(config.tuning)):
        raise TrainingError(f"{path}: {', '.join(both)} has both an [embedders] and a [tuning] section")
    if not config.fusion.embedders:
        raise TrainingError(f"{path}: fusion.embedders names no embedder")
    return config


def _type_of(field_: dataclasses.Field[Any]) -> type:
    """The type a key must have: that of its default; keys without one are strings."""
    if field_.default_factory is not dataclasses.MISSING:
        return type(field_.default_factory())
    return str if field_.default is dataclasses.MISSING else type(field_.default)


def _made(kind: type[C], section: Any, where: str) -> C:
    if not isinstance(section, dict):
        raise TrainingError(f"{where}: must be a table, got {section!r}")
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := set(section) - set(fields):
        raise TrainingError(
            f"{where}: unknown key {', '.join(sorted(unknown))}; known are {', '.join(fields)}"
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in section.items()}
    for key, value in values.items():
        wanted = _type_of(fields[key])
        if isinstance(value, bool) is not (wanted is bool) or not isinstance(
            value, (int, float) if wanted is float else wanted
        ):
            raise TrainingError(f"{where}.{key}: must be a {wanted.__name__}, got {section[key]!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise TrainingError(f"{where}: {error}") from error
