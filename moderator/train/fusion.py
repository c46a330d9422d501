"""Fits the fusion model on cached tokens of frozen embedders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moderator.errors import TrainingError
from moderator.fusion.calibration import Calibration, fit
from moderator.fusion.checkpoint import save_checkpoint
from moderator.fusion.collate import collate
from moderator.fusion.config import FusionConfig
from moderator.fusion.model import FusionModel, build
from moderator.media.language import language_of
from moderator.train.ahead import ahead
from moderator.train.batches import Batch, Batches, FusionTraining, Material
from moderator.train.examples import Example
from moderator.train.losses import balance_of, habits_of, masked_bce, targets_of, weights_of
from moderator.train.metrics import auroc
from moderator.train.parallel import average_gradients, place
from moderator.train.profiling import stage
from moderator.train.readout import add_readout
from moderator.train.tokens import TokenCache
from moderator.types import Modality

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A model to go on from, instead of from nothing.

    ``said``: its probabilities (N, C) for the examples, NaN for labels it does not know. Where an example's
    label is unknown they are learnt in its place, so that what the model knew is kept (learning without
    forgetting, Li & Hoiem 2016). ``calibration``: for labels with too few validation rows for another.
    """

    model: FusionModel
    said: NDArray[np.float32]
    calibration: Calibration


class FusionTrainer:
    """One run, resumable: its state lies in ``folder`` after every round."""

    def __init__(
        self,
        config: FusionConfig,
        training: FusionTraining,
        material: Material,
        validation: Mapping[str, Sequence[int]],
        folder: Path,
        start: Start | None = None,
        device: str = "cpu",
    ) -> None:
        """``validation``: name of a validation source → indices into ``material.examples``. The model is
        trained on ``device``; tokens stay on disk and are sent there batch by batch."""
        self.config = config
        self.training = training
        self.material = material
        self.validation = validation
        self.folder = folder
        self.start = start
        self.device = device
        self.targets = targets_of(material.examples, config.labels)  # (N, C)
        self.weights = weights_of(material.examples)  # (N,)
        held_out = {index for rows in validation.values() for index in rows}
        seen = np.any([cache.present for cache in material.caches.values()], axis=0)  # (N,)
        usable = [
            index
            for index, example in enumerate(material.examples)
            if example.split == "train" and index not in held_out and seen[index]
        ]
        learnt = self.targets if start is None else np.where(np.isnan(self.targets), start.said, self.targets)
        self.batches = Batches(material, training, usable, learnt, self.weights)
        self.positives = torch.from_numpy(
            balance_of(self.targets[usable], self.weights[usable], training.balance)
        ).to(device)  # (C,)
        self.model = build(config, seed=training.seed)
        if start is not None:
            self.model.load_state_dict(start.model.state_dict())
        else:
            for name, cache in material.caches.items():
                self.model.observe(name, *_sample(cache, usable))
        self.model.to(device)
        # what a source's annotators call harmful beyond what the content shows; dropped at inference
        sources = len(self.batches.sources)
        self.source_bias = nn.Parameter(torch.zeros(sources, len(config.labels), device=device))
        at = np.array([self.batches.source_of[index] for index in usable], dtype=np.int64)
        self.habits = torch.from_numpy(habits_of(learnt[usable], at, sources)).to(device)  # (S, C)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": self.model.parameters(), "weight_decay": training.weight_decay},
                {"params": [self.source_bias], "weight_decay": 0.0},
            ],
            lr=training.learning_rate,
            betas=(0.9, 0.98),
        )
        self.round = 0
        self.best = -1.0
        self.stale = 0

    def run(self, report: Report) -> dict[str, object]:
        """Train until the rounds or the patience are used up; returns the history's summary."""
        self._resume()
        if self.start is not None and not self.round:
            report(f"before  {self._consider()}")
        while self.round < self.training.rounds and self.stale < self.training.patience:
            # several processes draw batches of their own
            rng = np.random.default_rng([self.training.seed, self.round, *([place()] if place() else [])])
            torch.manual_seed(self.training.seed * 1000 + self.round)
            with stage("fusion") as watched:
                loss = self._train_round(rng, watched)
            self.round += 1
            found = self._consider()
            if not place():
                self._save()
            report(f"round {self.round}/{self.training.rounds}  loss {loss:.4f}  {found}")
        return {"rounds": self.round, "best_mean_auroc": self.best}

    def _consider(self) -> str:
        """Validate the averaged weights, and keep them if none were better; the figures, for people."""
        scores = self.validate()
        if not scores:
            raise TrainingError(
                "no label has ten positive and ten negative validation rows in any source; give more "
                "data, a larger text.valid_share, or whole sources as text.validation"
            )
        mean = float(np.nanmean(list(scores.values())))
        if mean > self.best:
            self.best, self.stale = mean, 0
            if not place():
                self.folder.mkdir(parents=True, exist_ok=True)
                save_file(self.average, self.folder / "best.safetensors")
        else:
            self.stale += 1
        shown = "  ".join(f"{name} {value:.3f}" for name, value in sorted(scores.items()))
        return f"AUROC {mean:.4f}  [{shown}]"

    def finish(self, path: Path) -> Calibration:
        """Add the linear readout to the best weights, calibrate on the validation rows and write ``path``."""
        model = self.best_model()
        if self.config.shortcut and self.start is None:
            rows = sorted(index for indices in self.batches.rows.values() for index in indices)
            caches, examples = dict(self.material.caches), self.material.examples
            add_readout(model, caches, examples, rows, self.targets, self.weights)
        indices = [index for rows in self.validation.values() for index in rows]
        logits = self.logits(model.to(self.device), indices)
        targets = self.targets[indices]
        sources = [self.material.examples[index].dataset for index in indices]
        count = {source: sources.count(source) for source in set(sources)}
        # each source counts as the square root of its size, as in training
        weights = np.array([count[source] ** -0.5 for source in sources], dtype=np.float32)
        before = self.start.calibration if self.start is not None else None
        languages = [_language(self.material.examples[index]) for index in indices]
        calibration = fit(self.config.labels, logits, targets, weights, languages, before)
        save_checkpoint(path, model, calibration)
        return calibration

    def validate(self) -> dict[str, float]:
        """AUROC by ``source/label`` of the averaged weights, where a source has both classes."""
        model = build(self.config).to(self.device)
        model.load_state_dict(self.average)
        scores: dict[str, float] = {}
        for source, rows in self.validation.items():
            logits, targets = self.logits(model, rows), self.targets[list(rows)]
            for column, label in enumerate(self.config.labels):
                known = ~np.isnan(targets[:, column])
                truth = targets[known, column] >= 0.5
                if min(truth.sum(), (~truth).sum()) >= 10:
                    scores[f"{source}/{label}"] = auroc(truth, logits[known, column])
        return scores

    def logits(self, model: FusionModel, indices: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``(len(indices), C)`` without source bias, every modality present."""
        out = np.zeros((len(indices), len(self.config.labels)), dtype=np.float32)
        views = [self.material.view(index) for index in indices]
        order = sorted(range(len(views)), key=lambda each: views[each].length)
        names = [spec.name for spec in self.config.embedders]
        with torch.inference_mode():
            for begin in range(0, len(order), 128):
                batch = order[begin : begin + 128]
                tokens = collate([views[each] for each in batch], names, self.device)
                out[batch] = model(tokens, len(batch)).cpu().numpy()
        return out

    def _train_round(self, rng: np.random.Generator, watched: Callable[[], None]) -> float:
        self.model.train()
        total = torch.zeros((), device=self.device)
        drawn = (self.batches.draw(rng) for _ in range(self.training.steps))
        for step, batch in enumerate(ahead(drawn, self.device)):
            done = self.round * self.training.steps + step
            for group in self.optimiser.param_groups:
                group["lr"] = self.training.learning_rate * self._schedule(done)
            loss = self._loss(batch)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            average_gradients((*self.model.parameters(), self.source_bias))
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            decay = min(self.training.average, (1 + done) / (10 + done))
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
            total += loss.detach()
            watched()
        self.model.eval()
        return float(total) / self.training.steps

    def _loss(self, batch: Batch) -> Tensor:
        tokens = collate(batch.views, [spec.name for spec in self.config.embedders], self.device)
        logits = self.model(tokens, len(batch.views))  # (B, C)
        source = torch.from_numpy(batch.source).to(self.device)
        logits = logits + self.source_bias[source] * self.habits[source]
        loss = masked_bce(
            logits,
            torch.from_numpy(batch.targets).to(self.device),
            torch.from_numpy(batch.weights).to(self.device),
            self.positives,
            (self.training.focus_positive, self.training.focus_negative),
        )
        # the bias may say how a source differs from the others, not what all have in common
        return loss + 1e-3 * self.source_bias.square().sum(1).mean() + self.source_bias.mean(0).square().sum()

    def _schedule(self, step: int) -> float:
        total = self.training.rounds * self.training.steps
        warm = min(1.0, (step + 1) / self.training.warmup)
        return float(warm * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / total)))))

    def best_model(self) -> FusionModel:
        model = build(self.config)
        model.load_state_dict(load_file(self.folder / "best.safetensors"))
        return model

    def _save(self) -> None:
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state |= {f"average.{name}": value for name, value in self.average.items()}
        state["source_bias"] = self.source_bias.detach()
        for index, moments in self.optimiser.state_dict()["state"].items():
            state |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        progress = {"round": self.round, "best": self.best, "stale": self.stale, "key": self._key()}
        save_file(
            {name: value.contiguous() for name, value in state.items()},
            self.folder / "state.partial",
            metadata={"progress": json.dumps(progress)},
        )
        (self.folder / "state.partial").replace(self.folder / "state.safetensors")

    def _resume(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["key"] != self._key():
                return  # another configuration or other data: start anew
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.model.load_state_dict(_under(state, "model."))
        self.average = {name: value.to(self.device) for name, value in _under(state, "average.").items()}
        with torch.no_grad():
            self.source_bias.copy_(state["source_bias"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(state, "adam.").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict(
            {"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.round, self.best, self.stale = progress["round"], progress["best"], progress["stale"]

    def _key(self) -> str:
        digest = hashlib.sha256(np.nan_to_num(self.targets, nan=-1.0).tobytes())
        digest.update(self.weights.tobytes())
        digest.update(repr([sorted(self.batches.rows.items()), sorted(self.validation.items())]).encode())
        if self.start is not None:
            digest.update(np.nan_to_num(self.start.said, nan=-1.0).tobytes())
        return f"{self.config.to_json()}|{self.training!r}|{digest.hexdigest()}"


def _sample(cache: TokenCache, rows: Sequence[int], size: int = 2000) -> tuple[Tensor, Tensor]:
    """Tokens and summaries of about ``size`` examples spread over ``rows``."""
    has = cache.present
    present = [row for row in rows if has[row]]
    step = max(1, len(present) // size)
    found = [tokens for row in present[::step] if (tokens := cache[row]) is not None]
    if not found:
        raise TrainingError(
            "an embedder has no tokens for any training example; drop it from fusion.embedders"
        )
    return torch.cat(found), torch.stack([tokens[0] for tokens in found])


def _language(example: Example) -> str:
    text = next((part.value for part in example.item.parts if part.modality is Modality.TEXT), "")
    return language_of(str(text))


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
