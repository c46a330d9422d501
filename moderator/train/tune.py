"""Tunes an encoder on texts of many sources so that it generalises: a linear head per label on its summary.

Sources are drawn by the square root of their size and each has a bias of its own, dropped afterwards: what
its annotators call harmful beyond what the text shows. The head is fitted to the untuned encoder first and
tuning starts from there, which keeps what the encoder knew of texts unlike those of training (Kumar et al.
2022).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from moderator.errors import TrainingError
from moderator.plugin import TrainableEmbedder
from moderator.train import state
from moderator.train.ahead import ahead
from moderator.train.examples import Example
from moderator.train.losses import habits_of, masked_bce, targets_of, weights_of
from moderator.train.metrics import auroc
from moderator.train.optimise import WarmCosine
from moderator.train.parallel import count, first_alone, place, share_of
from moderator.train.prepared import Decode
from moderator.train.profiling import stage
from moderator.train.shares import shares
from moderator.types import Content

Report = Callable[[str], None]
_SHOWN = 12_000
"""Rows the head is fitted to before tuning starts."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How an encoder is tuned. ``rows``: texts drawn in all, by source; 0 takes as many as there are.
    ``rounds``: how often it is validated and saved. ``batch``: characters in a batch, padding included."""

    rows: int = 0
    rounds: int = 4
    batch: int = 12_000
    lr: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    dropout: float = 0.1
    emphasis: Mapping[str, float] = field(default_factory=dict)
    """As in ``FusionTraining``."""
    average: float = 0.0
    """Decay of a moving average of weights, which is what is validated and kept (Polyak & Juditsky 1992);
    0 keeps the last ones."""
    seed: int = 1


def tune(
    embedder: TrainableEmbedder,
    examples: Sequence[Example],
    labels: Sequence[str],
    out: Path,
    tuning: Tuning,
    decode: Decode,
    report: Report,
    device: str = "cpu",
) -> Path:
    """Tune ``embedder`` on the training rows of ``examples`` and write ``<name>.safetensors`` into ``out``.

    Goes on after its last finished round if it was interrupted. Raises ``TrainingError`` if there is nothing
    to learn from, or where a state of another run lies in the way.
    """
    out.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        run = _Run(embedder, examples, labels, out, tuning, decode, device)
        run.fit(report)
    path = out / f"{embedder.name}.safetensors"
    with first_alone():
        if not place():
            with run.averaged():
                embedder.save(path)
            run.state_path.unlink(missing_ok=True)
    return path


class _Head(nn.Module):
    """Summaries (B, D) → logits (B, labels), standardised by what the untuned encoder gives."""

    def __init__(self, summaries: torch.Tensor, labels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(summaries.mean(0), requires_grad=False)
        self.scale = nn.Parameter(summaries.std(0).clamp(min=1e-4), requires_grad=False)
        self.linear = nn.Linear(summaries.shape[1], labels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, summaries: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
        x = (summaries - self.mean) / self.scale
        return self.linear(functional.dropout(x, dropout, training=dropout > 0))  # type: ignore[no-any-return]


class _Run:
    def __init__(
        self,
        embedder: TrainableEmbedder,
        examples: Sequence[Example],
        labels: Sequence[str],
        out: Path,
        tuning: Tuning,
        decode: Decode,
        device: str,
    ) -> None:
        self.embedder, self.labels, self.tuning = embedder, labels, tuning
        firsts = [
            next((c for c in decode(each.item) if c.modality is embedder.modality), None) for each in examples
        ]
        kept = [row for row, content in enumerate(firsts) if content is not None]
        self.contents: list[Content] = [content for content in firsts if content is not None]
        self.examples = [examples[row] for row in kept]
        self.sizes = np.array([len(content.data) for content in self.contents])
        self.targets = targets_of(self.examples, labels)  # (N, C)
        self.weights = weights_of(self.examples)  # (N,)
        split = np.array([each.split == "train" for each in self.examples])
        self.train, self.valid = np.flatnonzero(split), np.flatnonzero(~split)
        if not len(self.train) or not len(self.valid):
            raise TrainingError(
                f"{embedder.name}: {len(self.train)} texts to tune on and {len(self.valid)} to validate on; "
                "both are needed"
            )
        names = [self.examples[row].dataset for row in self.train]
        self.sources = sorted(set(names))
        self.source_of = np.full(len(self.examples), -1)
        self.source_of[self.train] = [self.sources.index(name) for name in names]
        self.members = [self.train[self.source_of[self.train] == s] for s in range(len(self.sources))]
        self.share = shares(self.sources, [len(rows) for rows in self.members], tuning.emphasis)  # (S,)
        self.module = embedder.initialise(device, tuning.seed)
        self.device = device
        self.bias = nn.Parameter(torch.zeros(len(self.sources), len(labels), device=device))
        habits = habits_of(self.targets[self.train], self.source_of[self.train], len(self.sources))
        self.habits = torch.from_numpy(habits).to(device)  # (S, C)
        self.total = tuning.rows or len(self.train)
        self.per_round = math.ceil(self.total / tuning.rounds)
        self.round = 0
        self.state_path = out / f"{embedder.name}.tuning.safetensors"
        self.identity = self._identity()

    def fit(self, report: Report) -> None:
        saved = state.read_state(self.state_path, self.identity)
        torch.manual_seed(self.tuning.seed)
        self.head = self._first_head() if saved is None else self._empty_head()
        # batches differ in size: the schedule follows the texts drawn, in steps of a thousandth
        steps = 1000
        optimiser = WarmCosine(
            [self.module, self.head, nn.ParameterList([self.bias])],
            lr=self.tuning.lr,
            weight_decay=self.tuning.weight_decay,
            warmup=self.tuning.warmup,
            clip=1.0,
            steps=steps,
            shared=True,
        )
        self.average = [each.detach().clone() for each in self._averaged()]
        if saved is not None:
            self._restore(saved, optimiser)
        else:
            report(f"{self.embedder.name}: untuned, linear head: AUROC {self._validate():.4f}")
        while self.round < self.tuning.rounds:
            rng = np.random.default_rng([self.tuning.seed, self.round])
            torch.manual_seed(int(rng.integers(2**62)))
            done, losses = 0, []
            with stage(self.embedder.name) as watched:
                batches = share_of(list(self._drawn(rng)))
                for rows, inputs in ahead(((rows, self._inputs(rows)) for rows in batches), self.device):
                    loss = self._loss(rows, inputs)
                    if not math.isfinite(value := float(loss.detach())):
                        raise TrainingError(f"{self.embedder.name}: loss is {value}; lower lr")
                    seen = self.round * self.per_round + done
                    optimiser.descend(loss, int(steps * seen / (self.per_round * self.tuning.rounds)))
                    self._follow()
                    losses.append(value)
                    done += len(rows) * count()
                    watched()
            self.round += 1
            if not place():
                self._save(optimiser)
            report(
                f"{self.embedder.name}: tuning round {self.round}/{self.tuning.rounds}  "
                f"loss {np.mean(losses):.4f}  AUROC {self._validate():.4f}"
            )

    def _averaged(self) -> list[nn.Parameter]:
        """The parameters an average is kept of."""
        return [*self.module.parameters(), *self.head.parameters()] if self.tuning.average else []

    def _follow(self) -> None:
        with torch.no_grad():
            for average, now in zip(self.average, self._averaged(), strict=True):
                average.lerp_(now, 1 - self.tuning.average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the averaged weights are in the place of the last ones."""
        parameters = self._averaged()
        last = [each.detach().clone() for each in parameters]
        with torch.no_grad():
            for each, value in zip(parameters, self.average, strict=True):
                each.copy_(value)
        yield
        with torch.no_grad():
            for each, value in zip(parameters, last, strict=True):
                each.copy_(value)

    def _drawn(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Batches of a round: sources by their share, texts of like length together, in random order."""
        drawn = rng.choice(len(self.sources), size=self.per_round, p=self.share)
        rows = np.array([self.members[s][rng.integers(len(self.members[s]))] for s in drawn])
        batches: list[NDArray[np.int64]] = []
        for pool in np.array_split(rows, math.ceil(len(rows) / 1024)):
            batches += list(self._like_lengths(np.unique(pool)))
        for at in rng.permutation(len(batches)):
            yield batches[at]

    def _like_lengths(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        order = rows[np.argsort(self.sizes[rows], kind="stable")]
        begin = 0
        for end in range(1, len(order) + 1):
            full = end < len(order) and (end + 1 - begin) * (self.sizes[order[end]] + 16) > self.tuning.batch
            if full or end == len(order):
                yield order[begin:end]
                begin = end

    def _inputs(self, rows: NDArray[np.int64]) -> Any:
        return self.embedder.inputs([self.contents[row] for row in rows])

    def _loss(self, rows: NDArray[np.int64], inputs: Any) -> torch.Tensor:
        summaries = self.embedder.forward(inputs)[0][:, 0]  # (B, D)
        logits = self.head(summaries, self.tuning.dropout)  # (B, C)
        source = torch.from_numpy(self.source_of[rows]).to(self.device)
        logits = logits + self.bias[source] * self.habits[source]
        targets = torch.from_numpy(self.targets[rows]).to(self.device)
        weights = torch.from_numpy(self.weights[rows]).to(self.device)
        # the bias may say how a source differs from the others, not what all have in common
        apart = 1e-3 * self.bias.square().sum(1).mean() + self.bias.mean(0).square().sum()
        return masked_bce(logits, targets, weights) + apart

    def _all_summaries(self, rows: NDArray[np.int64]) -> torch.Tensor:
        result: dict[int, torch.Tensor] = {}
        with torch.inference_mode():
            batches = ((batch, self._inputs(batch)) for batch in self._like_lengths(rows))
            for batch, inputs in ahead(batches, self.device):
                made = self.embedder.forward(inputs)[0][:, 0]  # (B, D)
                result.update(zip(batch.tolist(), made, strict=True))
        return torch.stack([result[row] for row in rows.tolist()]).clone()  # (N, D)

    def _first_head(self) -> _Head:
        """A logistic regression per label on the untuned summaries."""
        rng = np.random.default_rng(self.tuning.seed)
        rows = np.sort(rng.permutation(self.train)[:_SHOWN])
        summaries = self._all_summaries(rows)
        head = _Head(summaries, len(self.labels)).to(self.device)
        targets = torch.from_numpy(self.targets[rows]).to(self.device)
        # by source as in tuning
        balance = (np.array([len(m) for m in self.members]) ** -0.5)[self.source_of[rows]].astype(np.float32)
        weights = torch.from_numpy(self.weights[rows] * balance).to(self.device)
        optimiser = torch.optim.LBFGS(head.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = masked_bce(head(summaries), targets, weights) + 1e-3 * head.linear.weight.square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        return head

    def _empty_head(self) -> _Head:
        return _Head(torch.zeros(2, self.embedder.dim, device=self.device), len(self.labels))

    def _validate(self) -> float:
        """Mean AUROC over sources and labels with both classes."""
        with self.averaged(), torch.inference_mode():
            logits = self.head(self._all_summaries(self.valid)).float().cpu().numpy()
        targets = self.targets[self.valid]
        sources = np.array([self.examples[row].dataset for row in self.valid])
        found = []
        for source in sorted(set(sources.tolist())):
            for column in range(len(self.labels)):
                known = (sources == source) & ~np.isnan(targets[:, column])
                truth = targets[known, column] >= 0.5
                if min(truth.sum(), (~truth).sum()) >= 10:
                    found.append(auroc(truth, logits[known, column]))
        return float(np.mean(found)) if found else math.nan

    def _learnt(self) -> state.Tensors:
        return {
            **state.prefixed("module", self.module.state_dict()),
            **state.prefixed("head", self.head.state_dict()),
            **{f"average.{at}": value for at, value in enumerate(self.average)},
            "bias": state.copied(self.bias),
        }

    def _save(self, optimiser: WarmCosine) -> None:
        tensors = {**self._learnt(), **state.prefixed("optimiser", optimiser.tensors())}
        state.write_state(self.state_path, state.Saved(self.identity, {"round": self.round}, tensors))

    def _restore(self, saved: state.Saved, optimiser: WarmCosine) -> None:
        self.round = int(saved.progress["round"])
        self.module.load_state_dict(state.without_prefix("module", saved.tensors))
        self.head.load_state_dict(state.without_prefix("head", saved.tensors))
        with torch.no_grad():
            self.bias.copy_(saved.tensors["bias"])
            for at, value in enumerate(self.average):
                value.copy_(saved.tensors[f"average.{at}"])
        optimiser.restore(state.without_prefix("optimiser", saved.tensors))

    def _identity(self) -> str:
        told = [asdict(self.tuning), self.embedder.name, dict(self.embedder.options), list(self.labels)]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        for example, content in zip(self.examples, self.contents, strict=True):
            row = [example.split, example.dataset, example.weak, sorted(example.labels.items()), content.data]
            digest.update(repr(row).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()
