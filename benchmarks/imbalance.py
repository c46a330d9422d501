"""What helps rare labels: remedies of ``[training]`` compared, on sources that were not trained on.

    .venv/bin/python benchmarks/imbalance.py --data DATA --data data --model DIR --work DIR [--also FILE …]
        [--rounds 2] [--steps 150]

``--model`` and ``--work`` are the output and the work folder of a finished ``moderator train``: the tokens of
its embedders are used again, and only the fusion model is fitted anew, on texts, without the linear readout
that a whole training adds. Figures are means over source × label and compare the remedies, no more.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from left_out_sources import compared, judged

from moderator.fusion.config import EmbedderSpec, FusionConfig
from moderator.pipeline.models import model_directory
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.train.batches import Material
from moderator.train.config import read_config
from moderator.train.folders import DataFolders
from moderator.train.fusion import FusionTrainer
from moderator.train.material import contents_of, gather_texts
from moderator.train.run import Paths, fit_embedders, loaded_embedders, validation_of
from moderator.train.tokens import TokenCache, cache_tokens
from moderator.types import Modality

REMEDIES: dict[str, dict[str, Any]] = {
    "none": {},
    "balance 0.5": {"balance": 0.5},
    "rare 0.3": {"rare": 0.3},
    "asymmetric 0 / 2": {"focus_negative": 2.0},
    "balance 0.5, rare 0.3": {"balance": 0.5, "rare": 0.3},
}
RARE = ("violence", "sexual", "self_harm", "illicit", "spam")


def quiet(*_: object) -> None:
    """Nobody looks."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=model_directory("default") / "train.toml")
    parser.add_argument("--also", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    config = read_config(given.config)
    names = tuple(name for name in config.fusion.embedders if name.startswith("text"))
    config = replace(config, fusion=replace(config.fusion, embedders=names, not_alone=()))
    data, paths = DataFolders(tuple(given.data)), Paths(given.data, given.model, given.work)
    examples = gather_texts(config, data, DEFAULT)
    gathered = {Modality.TEXT: examples}
    settings = Settings()
    fitted = fit_embedders(config, paths, settings, gathered, DEFAULT, quiet)
    embedders = loaded_embedders(config, paths, settings)
    _, test = judged(config, data, given.also, 1000)
    caches: dict[str, TokenCache] = {}
    asked: dict[str, TokenCache] = {}
    for embedder in embedders:
        folder = given.work / "tokens" / "text"
        caches[embedder.name] = fitted.get(embedder.name) or cache_tokens(
            embedder, examples, folder, lambda example: contents_of(example.item), quiet
        )
        asked[embedder.name] = cache_tokens(
            embedder, test, given.work / "tokens" / "left-out", lambda e: contents_of(e.item), quiet
        )
    fusion = FusionConfig(
        embedders=tuple(EmbedderSpec(e.name, e.modality, e.dim, e.fingerprint) for e in embedders),
        labels=DEFAULT.names,
        taxonomy=DEFAULT.version,
        width=config.fusion.width,
        latents=config.fusion.latents,
        layers=config.fusion.layers,
    )
    known = np.full((len(test), len(DEFAULT)), 0.0)
    print(f"{'remedy':24} {'validation AUROC':>17}   left out: AUROC   AUPRC   AUPRC of rare labels")
    for name, options in REMEDIES.items():
        training = replace(config.training, rounds=given.rounds, steps=given.steps, joint=0.0, **options)
        with tempfile.TemporaryDirectory() as folder:
            trainer = FusionTrainer(
                fusion, training, Material(examples, caches), validation_of(examples), Path(folder)
            )
            trainer.run(quiet)
            model = trainer.best_model()
            trainer.material = Material(test, asked)
            scores = trainer.logits(model, range(len(test))).astype(np.float64)
        lines = list(compared(test, scores, known, DEFAULT.names))
        rare = [line.auprc for line in lines if line.label in RARE]
        print(
            f"{name:24} {trainer.best:17.4f}   {np.mean([x.auroc for x in lines]):15.3f}   "
            f"{np.mean([x.auprc for x in lines]):5.3f}   {np.mean(rare):.3f} ({len(rare)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
