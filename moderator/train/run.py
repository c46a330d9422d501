"""A whole training: embedders' own weights first, then the fusion model on their tokens.

Each stage leaves its result in the output folder and is skipped when it is there already, so that a run
that was interrupted goes on where it stopped. The folder is a model directory in the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moderator.errors import TrainingError
from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.host import PluginHost
from moderator.plugin import Embedder, Extractor, FittedEmbedder, TrainableEmbedder
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT, Taxonomy
from moderator.train.batches import Material
from moderator.train.config import TrainConfig
from moderator.train.crossfit import cross_fitted
from moderator.train.embedder import EmbedderProgress, train_embedder
from moderator.train.examples import Example
from moderator.train.folders import DataFolders
from moderator.train.fusion import FusionTrainer
from moderator.train.material import contents_of, gather_audio, gather_images, gather_readings, gather_texts
from moderator.train.parallel import best_device, first_alone, place
from moderator.train.teacher import taught
from moderator.train.tokens import TokenCache, cache_tokens
from moderator.train.tune import tune
from moderator.types import Modality, Source

Report = Callable[[str], None]
READER = "ocr"
"""The extractor that reads pictures of words in training."""


@dataclass(frozen=True, slots=True)
class Paths:
    """``data``: folders the configuration's files are in; ``out``: the model directory to be; ``work``: what
    only training needs (token caches, states)."""

    data: Sequence[Path]
    out: Path
    work: Path


def train(
    config: TrainConfig,
    paths: Paths,
    settings: Settings,
    report: Report,
    taxonomy: Taxonomy = DEFAULT,
) -> Path:
    """Run all stages; returns the path of the fusion checkpoint. Raises ``TrainingError``.

    Where several processes train, encoders are tuned and the fusion model is fitted by all of them, the
    rest is done by the first.
    """
    paths.out.mkdir(parents=True, exist_ok=True)
    paths.work.mkdir(parents=True, exist_ok=True)
    with first_alone():
        gathered = _gathered(config, paths, settings, taxonomy, report)
    for modality, examples in gathered.items():
        report(f"{modality.value}: {len(examples)} examples of {len({e.dataset for e in examples})} sources")
    _train_embedders(config, paths, settings, gathered, taxonomy, report)
    with first_alone():
        fitted = fit_embedders(config, paths, settings, gathered, taxonomy, report)
        embedders = loaded_embedders(config, paths, settings)
        caches = _token_caches(embedders, fitted, gathered, paths.work / "tokens", report)
    examples = [example for group in gathered.values() for example in group]
    fusion = FusionConfig(
        embedders=tuple(
            EmbedderSpec(e.name, e.modality, e.dim, e.fingerprint, e.name not in config.fusion.not_alone)
            for e in embedders
        ),
        labels=taxonomy.names,
        taxonomy=taxonomy.version,
        width=config.fusion.width,
        heads=config.fusion.heads,
        latents=config.fusion.latents,
        layers=config.fusion.layers,
        decoder_layers=config.fusion.decoder_layers,
        dropout=config.fusion.dropout,
        shortcut=config.fusion.shortcut,
        sources=tuple(source for source in Source if source in {each.source for each in examples}),
    )
    trainer = FusionTrainer(
        fusion,
        config.training,
        Material(examples, caches),
        validation_of(examples),
        paths.work / "fusion",
        device=best_device(),
    )
    history = trainer.run(report)
    path = paths.out / "fusion.safetensors"
    with first_alone():
        if not place():
            calibration = trainer.finish(path)
            figures = {"history": history, "calibration": json.loads(calibration.to_json())}
            (paths.work / "fusion.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            report(f"fusion: {path} written")
    return path


def _gathered(
    config: TrainConfig, paths: Paths, settings: Settings, taxonomy: Taxonomy, report: Report
) -> dict[Modality, list[Example]]:
    """The examples of each modality the configuration names."""
    data = DataFolders(tuple(paths.data))
    texts = gather_texts(config, data, taxonomy)
    if config.teacher.model:
        texts = taught(texts, config.teacher, taxonomy.names, paths.work, report)
    texts += gather_readings(config, data, texts, lambda: _reader(settings), paths.work, taxonomy, report)
    return {
        Modality.TEXT: texts,
        Modality.IMAGE: gather_images(config, data, taxonomy),
        Modality.AUDIO: gather_audio(config, data, paths.work, taxonomy, report),
    }


def _train_embedders(
    config: TrainConfig,
    paths: Paths,
    settings: Settings,
    gathered: Mapping[Modality, Sequence[Example]],
    taxonomy: Taxonomy,
    report: Report,
) -> None:
    """Embedders' own weights: trained from nothing, or adapters for those there are."""
    for name in (*config.embedders, *config.tuning):
        target = paths.out / f"{name}.safetensors"
        if target.is_file():
            report(f"{name}: {target} is there already; delete it to train anew")
            continue
        embedder = _embedder(name, settings, config.options.get(name, {}))
        if not isinstance(embedder, TrainableEmbedder):
            section = "embedders" if name in config.embedders else "tuning"
            raise TrainingError(f"{name} has no weights of its own to train; remove [{section}.{name}]")
        examples = gathered[embedder.modality]
        if name in config.embedders:

            def progress(at: EmbedderProgress, name: str = name) -> None:
                if at.auroc is not None:
                    report(f"{name}: epoch {at.epoch}/{at.epochs}  loss {at.loss:.4f}  AUROC {at.auroc:.4f}")

            with first_alone():
                if not place():
                    training = config.embedders[name]
                    train_embedder(embedder, examples, paths.work, training, contents_of, progress, taxonomy)
                    (paths.work / f"{name}.safetensors").replace(target)
        else:
            tuning = config.tuning[name]
            made = tune(
                embedder, examples, taxonomy.names, paths.work, tuning, contents_of, report, best_device()
            )
            with first_alone():
                if not place():
                    made.replace(target)


def fit_embedders(
    config: TrainConfig,
    paths: Paths,
    settings: Settings,
    gathered: Mapping[Modality, Sequence[Example]],
    taxonomy: Taxonomy,
    report: Report,
) -> dict[str, TokenCache]:
    """Fit those that fit themselves; their tokens by name, each made by weights that had not seen it."""
    caches = {}
    for name in config.fusion.embedders:
        embedder = _embedder(name, settings, config.options.get(name, {}))
        if isinstance(embedder, FittedEmbedder):

            def fresh(options: Mapping[str, object], name: str = name) -> FittedEmbedder:
                made = _embedder(name, settings, {**config.options.get(name, {}), **options})
                assert isinstance(made, FittedEmbedder)  # noqa: S101 - the same plugin as above
                return made

            caches[name] = cross_fitted(
                fresh, gathered[embedder.modality], paths.out, paths.work, taxonomy.names, report
            )
    return caches


def loaded_embedders(config: TrainConfig, paths: Paths, settings: Settings) -> list[Embedder]:
    embedders = []
    for name in config.fusion.embedders:
        weights = paths.out / f"{name}.safetensors"
        trained = {"weights": str(weights)} if weights.is_file() else {}
        embedder = _embedder(name, settings, {**config.options.get(name, {}), **trained})
        embedder.load(best_device())
        embedders.append(embedder)
    return embedders


def _token_caches(
    embedders: Sequence[Embedder],
    fitted: Mapping[str, TokenCache],
    gathered: Mapping[Modality, Sequence[Example]],
    folder: Path,
    report: Report,
) -> dict[str, TokenCache]:
    """Tokens by embedder name, each over the examples of all modalities in the order of ``gathered``."""
    sizes = {modality: len(examples) for modality, examples in gathered.items()}
    order = list(gathered)
    caches = {}
    for embedder in embedders:

        def progress(done: int, total: int, name: str = embedder.name) -> None:
            report(f"{name}: tokens of {done}/{total} examples")

        modality = embedder.modality
        made = fitted.get(embedder.name) or cache_tokens(
            embedder,
            gathered[modality],
            folder / modality.value,
            lambda example: contents_of(example.item),
            progress,
        )
        at = order.index(modality)
        caches[embedder.name] = made.among(
            sum(sizes[each] for each in order[:at]), sum(sizes[each] for each in order[at + 1 :])
        )
    return caches


def _reader(settings: Settings) -> Extractor:
    host = PluginHost.discover(settings)
    if READER not in host.extractors:
        raise TrainingError(f"[reading] needs the extractor {READER}, which is not installed or not allowed")
    reader = host.extractors[READER]
    reader.load("cpu")
    return reader


def _embedder(name: str, settings: Settings, options: Mapping[str, object]) -> Embedder:
    """A fresh embedder with ``options`` over those of the settings."""
    merged = {**settings.plugins, name: {**settings.plugins.get(name, {}), **options}}
    host = PluginHost.discover(
        Settings(allow_plugins=settings.allow_plugins, plugins=merged, limits=settings.limits)
    )
    if name not in host.embedders:
        raise TrainingError(f"embedder {name} is not installed; known are {', '.join(host.embedders)}")
    return host.embedders[name]


def validation_of(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Source → its rows held out."""
    rows: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        if example.split == "valid":
            rows.setdefault(example.dataset, []).append(index)
    return rows
