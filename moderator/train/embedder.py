"""Trains any ``TrainableEmbedder``: one linear head per label on its summary token, then thrown away.

Early stopping on the mean validation AUROC. A resumed run repeats an uninterrupted one exactly (with the
same threads and device).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from moderator.errors import TrainingError
from moderator.plugin import TrainableEmbedder
from moderator.taxonomy import DEFAULT, Taxonomy
from moderator.train import state
from moderator.train.embedder_report import EmbedderReport, LabelFigures, write_report
from moderator.train.examples import Example
from moderator.train.metrics import auroc, average_precision
from moderator.train.optimise import WarmCosine
from moderator.train.parallel import best_device
from moderator.train.prepared import Decode, Prepared
from moderator.train.profiling import stage


@dataclass(frozen=True, slots=True)
class EmbedderTraining:
    """How to train. ``warmup``: share of all steps; ``patience``: epochs without a better validation
    AUROC before it stops; ``dropout``: on the summary, before the head; ``balance``: 0 takes labels as
    frequent as they are, 1 gives positives and negatives of a label equal weight in all.
    """

    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    patience: int = 3
    dropout: float = 0.1
    balance: float = 0.5
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr", "clip", "patience", "threads"):
            if getattr(self, name) <= 0:
                raise TrainingError(f"training: {name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class EmbedderProgress:
    """Sent after each step, and with ``auroc`` (mean over labels, may be NaN) after each epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    auroc: float | None = None


def train_embedder(
    embedder: TrainableEmbedder,
    examples: Sequence[Example],
    out: Path,
    config: EmbedderTraining,
    decode: Decode,
    progress: Callable[[EmbedderProgress], None] | None = None,
    taxonomy: Taxonomy = DEFAULT,
) -> EmbedderReport:
    """Fit the embedder and write ``<name>.safetensors`` and ``<name>.json`` into the folder ``out``.

    The weights kept are those of the best epoch. After each epoch the state goes to
    ``<name>.train.safetensors``: started again with the same arguments, the run goes on from there; the
    file is removed at the end. Raises ``TrainingError`` if there is nothing to learn from, if the loss is
    no longer finite, or if a state of another run lies in the way.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng():
            run = _Run(embedder, examples, out, config, decode, taxonomy)
            run.fit(progress or (lambda _: None))
            report = run.finish(started)
    finally:
        torch.set_num_threads(threads)
    return report


class _Run:
    def __init__(
        self,
        embedder: TrainableEmbedder,
        examples: Sequence[Example],
        out: Path,
        config: EmbedderTraining,
        decode: Decode,
        taxonomy: Taxonomy,
    ) -> None:
        self.embedder, self.config, self.out = embedder, config, out
        train = [example for example in examples if example.split == "train"]
        valid = [example for example in examples if example.split == "valid"]
        if not train or not valid:
            raise TrainingError(
                f"{embedder.name}: {len(train)} examples to train on and {len(valid)} to validate on; "
                "both are needed"
            )
        budget, known = config.cache_mb << 20, (taxonomy.names, embedder.modality, decode)
        self.train = Prepared(train, *known, budget * len(train) // len(examples))
        self.valid = Prepared(valid, *known, budget * len(valid) // len(examples))
        self.names = taxonomy.names
        self.class_weight = self.train.class_weights(config.balance)  # (2, L)
        if not self.class_weight.any():
            raise TrainingError(f"{embedder.name}: no label has both positives and negatives to learn from")

        device = best_device() if config.device == "auto" else config.device
        self.module = embedder.initialise(device, config.seed)
        torch.manual_seed(config.seed)
        self.head = nn.Linear(embedder.dim, len(self.names)).to(device)
        self.steps = math.ceil(len(self.train) / config.batch_size)
        self.optimizer = WarmCosine(
            [self.module, self.head],
            lr=config.lr,
            weight_decay=config.weight_decay,
            warmup=config.warmup,
            clip=config.clip,
            steps=config.epochs * self.steps,
        )
        self.losses: list[float] = []
        self.aurocs: list[float] = []
        self.ranks: list[float] = []
        self.best: state.Tensors = {}
        self.identity = _identity(embedder, train, valid, config, self.names)
        self.state_path = out / f"{embedder.name}.train.safetensors"

    def fit(self, progress: Callable[[EmbedderProgress], None]) -> None:
        self._resume()
        while len(self.losses) < self.config.epochs and not self._out_of_patience():
            epoch = len(self.losses)
            self.losses.append(self._epoch(epoch, progress))
            loss, figures = self._validate()
            known = [f.auroc for f in figures.values() if not math.isnan(f.auroc)]
            self.aurocs.append(float(np.mean(known)) if known else float("nan"))
            # Without a label that can be ranked, the validation loss has to do.
            self.ranks.append(self.aurocs[-1] if known else -loss)
            if self._best_epoch() == epoch:
                self.best = self._learnt()
            self._save_state()
            whole = (epoch + 1, self.config.epochs, self.steps, self.steps)
            progress(EmbedderProgress(*whole, self.losses[-1], self.aurocs[-1]))

    def finish(self, started: float) -> EmbedderReport:
        self._restore_learnt(self.best)
        figures = self._validate()[1]
        self.module.eval()
        path = self.out / f"{self.embedder.name}.safetensors"
        self.embedder.save(path)
        report = EmbedderReport(
            name=self.embedder.name,
            path=path,
            labels=figures,
            losses=tuple(self.losses),
            aurocs=tuple(self.aurocs),
            best_epoch=self._best_epoch() + 1,
            trained_on=len(self.train),
            validated_on=len(self.valid),
            skipped=self.train.skipped + self.valid.skipped,
            seconds=time.monotonic() - started,
        )
        write_report(self.out / f"{self.embedder.name}.json", report, dataclasses.asdict(self.config))
        self.state_path.unlink(missing_ok=True)
        return report

    def _epoch(self, epoch: int, progress: Callable[[EmbedderProgress], None]) -> float:
        # Chance depends on (seed, epoch) only, so that a resumed run draws what the first would have.
        rng = np.random.default_rng([self.config.seed, epoch])
        torch.manual_seed(int(rng.integers(2**62)))
        self.module.train()
        losses: list[float] = []
        with stage(self.embedder.name) as watched:
            for step, rows in enumerate(self.train.batches(self.config.batch_size, rng)):
                logits = self._logits(self.train, rows, rng)  # (B, L)
                loss = self._loss(logits, self.train, rows)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{self.embedder.name}: loss is {value} in epoch {epoch + 1}; "
                        f"lower lr (now {self.config.lr})"
                    )
                self.optimizer.descend(loss, epoch * self.steps + step)
                losses.append(value)
                watched()
                progress(EmbedderProgress(epoch + 1, self.config.epochs, step + 1, self.steps, value))
        return float(np.mean(losses))

    def _logits(
        self, data: Prepared, rows: NDArray[np.int64], rng: np.random.Generator | None
    ) -> torch.Tensor:
        contents, owner = data.contents(rows)
        tokens, _ = self.embedder.forward(self.embedder.inputs(contents, rng))  # (C, T, D)
        summary = functional.dropout(tokens[:, 0], self.config.dropout, training=rng is not None)
        logits: torch.Tensor = self.head(summary)  # (C, L)
        if len(contents) == len(rows):
            return logits
        # Of several contents (windows, frames) the worst one is what the label is about.
        index = torch.from_numpy(owner).to(logits.device)[:, None].expand_as(logits)  # (C, L)
        empty = logits.new_full((len(rows), logits.shape[1]), -torch.inf)
        return empty.scatter_reduce(0, index, logits, "amax")  # (B, L)

    def _loss(self, logits: torch.Tensor, data: Prepared, rows: NDArray[np.int64]) -> torch.Tensor:
        truth = data.truth[rows]  # (B, L)
        balance = truth * self.class_weight[1] + (1 - truth) * self.class_weight[0]  # (B, L)
        weight = torch.from_numpy(data.weight[rows] * balance).to(logits.device)  # (B, L)
        target = torch.from_numpy(truth).to(logits.device)
        losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses * weight).sum() / weight.sum().clamp(min=1e-6)

    def _validate(self) -> tuple[float, dict[str, LabelFigures]]:
        self.module.eval()
        logits = np.zeros_like(self.valid.truth)
        losses: list[float] = []
        with torch.inference_mode():
            for rows in self.valid.batches(self.config.batch_size, None):
                batch = self._logits(self.valid, rows, None)
                losses.append(float(self._loss(batch, self.valid, rows)) * len(rows))
                logits[rows] = batch.float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise TrainingError(f"{self.embedder.name}: validation scores are not finite; lower lr")
        figures = {}
        for column, name in enumerate(self.names):
            if not self.class_weight[:, column].any():
                continue
            known = self.valid.weight[:, column] > 0
            truth, scores = self.valid.truth[known, column], logits[known, column]
            positives = int((truth >= 0.5).sum())
            figures[name] = LabelFigures(
                positives, len(truth) - positives, auroc(truth, scores), average_precision(truth, scores)
            )
        return sum(losses) / len(self.valid), figures

    def _best_epoch(self) -> int:
        return int(np.argmax(self.ranks))

    def _out_of_patience(self) -> bool:
        return bool(self.ranks) and len(self.ranks) - 1 - self._best_epoch() >= self.config.patience

    def _learnt(self) -> state.Tensors:
        module = state.prefixed("module", self.module.state_dict())
        return {**module, **state.prefixed("head", self.head.state_dict())}

    def _restore_learnt(self, tensors: state.Tensors) -> None:
        self.module.load_state_dict(state.without_prefix("module", tensors))
        self.head.load_state_dict(state.without_prefix("head", tensors))

    def _save_state(self) -> None:
        tensors = {
            **state.prefixed("now", self._learnt()),
            **state.prefixed("best", self.best),
            **state.prefixed("optimizer", self.optimizer.tensors()),
        }
        progress = {"losses": self.losses, "aurocs": self.aurocs, "ranks": self.ranks}
        state.write_state(self.state_path, state.Saved(self.identity, progress, tensors))

    def _resume(self) -> None:
        saved = state.read_state(self.state_path, self.identity)
        if saved is None:
            return
        self.losses, self.aurocs = list(saved.progress["losses"]), list(saved.progress["aurocs"])
        self.ranks = list(saved.progress["ranks"])
        self.best = state.without_prefix("best", saved.tensors)
        self._restore_learnt(state.without_prefix("now", saved.tensors))
        self.optimizer.restore(state.without_prefix("optimizer", saved.tensors))


def _identity(
    embedder: TrainableEmbedder,
    train: Sequence[Example],
    valid: Sequence[Example],
    config: EmbedderTraining,
    names: Sequence[str],
) -> str:
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    digest.update(json.dumps([embedder.name, dict(embedder.options), list(names)], default=str).encode())
    for example in (*train, *valid):
        row = [example.split, example.dataset, example.item.id, example.weak, dict(example.labels)]
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
