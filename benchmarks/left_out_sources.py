"""The model against TF-IDF character n-grams with logistic regression, on sources neither was trained on.

Both learn from the same rows: those the training configuration names. Judged are the sources that it leaves
out, and those of the files given with ``--also``, which must not be among its files.

    .venv/bin/python benchmarks/left_out_sources.py --data DATA --data data
        [--model DIR] [--config TRAIN.toml] [--twin] [--also FILE …] [--rows 2000] [--json FILE]

Where a source has only positives of a label, the negatives are rows of the other sources judged that are in
its language and known to be free of the label; the line says so.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from twin import twin_of

from moderator.pipeline.models import model_directory
from moderator.pipeline.moderator import Moderator
from moderator.taxonomy import DEFAULT
from moderator.train.config import TrainConfig, read_config
from moderator.train.examples import Example, read_text
from moderator.train.folders import DataFolders
from moderator.train.material import gather_texts
from moderator.train.metrics import auroc, average_precision

_FEWEST = 15
"""Positives and negatives a figure needs."""


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of both on one label of one source."""

    label: str
    source: str
    rows: int
    positives: int
    borrowed: bool
    auroc: float
    auroc_ngrams: float
    auprc: float
    auprc_ngrams: float


def text_of(example: Example) -> str:
    return str(example.item.parts[0].value)


def baseline(train: Sequence[Example], test: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float64]:
    """Scores ``(len(test), labels)`` of the usual recipe: 2–5 character n-grams within words, C = 4."""
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True, max_features=300_000
    )
    features = vectorizer.fit_transform([text_of(example) for example in train])
    asked = vectorizer.transform([text_of(example) for example in test])
    scores = np.full((len(test), len(labels)), np.nan)
    for column, label in enumerate(labels):
        rows = [index for index, example in enumerate(train) if label in example.labels]
        truth = [train[index].labels[label] >= 0.5 for index in rows]
        if len(set(truth)) == 2:
            model = LogisticRegression(C=4, solver="liblinear", max_iter=200)
            scores[:, column] = model.fit(features[rows], truth).decision_function(asked)
    return scores


def rows_of(test: Sequence[Example], source: str, label: str) -> tuple[list[int], bool]:
    """Indices of the rows to judge ``label`` of ``source`` by, and whether negatives were borrowed."""
    own = [i for i, each in enumerate(test) if each.dataset == source and label in each.labels]
    positives = [i for i in own if test[i].labels[label] >= 0.5]
    if len(positives) < _FEWEST:
        return [], False
    if len(own) - len(positives) >= _FEWEST:
        return own, False
    lang = test[positives[0]].lang
    borrowed = [i for i, each in enumerate(test) if each.lang == lang and each.labels.get(label, 1.0) < 0.5]
    return positives + borrowed if len(borrowed) >= _FEWEST else [], True


def compared(
    test: Sequence[Example], ours: NDArray[np.float64], theirs: NDArray[np.float64], labels: Sequence[str]
) -> Iterator[Line]:
    for source in sorted({each.dataset for each in test}):
        for column, label in enumerate(labels):
            at, borrowed = rows_of(test, source, label)
            at = [i for i in at if np.isfinite(ours[i, column]) and np.isfinite(theirs[i, column])]
            truth = np.array([test[i].labels[label] >= 0.5 for i in at], dtype=bool)
            if not at or truth.all() or not truth.any():
                continue
            a, b = ours[at, column], theirs[at, column]
            yield Line(
                label,
                source,
                len(at),
                int(truth.sum()),
                borrowed,
                auroc(truth, a),
                auroc(truth, b),
                average_precision(truth, a),
                average_precision(truth, b),
            )


def judged(
    config: TrainConfig, data: DataFolders, also: Sequence[Path], limit: int
) -> tuple[list[Example], list[Example]]:
    """The rows a configuration trains on; those of sources it leaves out and of ``also``, ``limit`` each."""
    train = [each for each in gather_texts(config, data, DEFAULT) if each.split == "train"]
    files = data.files(config.text.files)
    test = read_text(files, labels=DEFAULT.names, only=config.text.leave_out, max_per_source=limit)
    known = {each.dataset for each in train}
    others = read_text(also, labels=DEFAULT.names, max_per_source=limit)
    return train, test + [each for each in others if each.dataset not in known]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--model", default="default")
    parser.add_argument("--config", type=Path, default=model_directory("default") / "train.toml")
    parser.add_argument("--twin", action="store_true", help="leave out what benchmarks/twin.py leaves out")
    parser.add_argument("--also", type=Path, action="append", default=[])
    parser.add_argument("--rows", type=int, default=10_000, help="of one source at most")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    labels = DEFAULT.names
    data, config = DataFolders(tuple(arguments.data)), read_config(arguments.config)
    config = twin_of(config) if arguments.twin else config
    train, test = judged(config, data, arguments.also, arguments.rows)
    print(
        f"{len(train)} rows to learn from, {len(test)} of {len({e.dataset for e in test})} sources to judge"
    )
    ours = np.full((len(test), len(labels)), np.nan)
    with Moderator.load(model=arguments.model) as moderator:
        started = time.monotonic()
        for row, (_, verdict) in enumerate(moderator.scan(example.item for example in test)):
            ours[row] = [verdict.scores.get(label, np.nan) for label in labels]
        print(f"model: {len(test) / (time.monotonic() - started):.0f} texts/s")
    lines = list(compared(test, ours, baseline(train, test, labels), labels))
    print(f"{'source':24} {'label':10} {'rows':>6} {'positive':>8}   AUROC n-grams   AUPRC n-grams")
    for line in lines:
        print(
            f"{line.source:24} {line.label:10} {line.rows:6} {line.positives / line.rows:8.1%}   "
            f"{line.auroc:.3f}   {line.auroc_ngrams:.3f}   {line.auprc:.3f}   {line.auprc_ngrams:.3f}"
            f"{'   (negatives of other sources)' if line.borrowed else ''}"
        )
    for name in ("auroc", "auprc"):
        gains = [getattr(line, name) - getattr(line, f"{name}_ngrams") for line in lines]
        behind = f"behind on {sum(gain < 0 for gain in gains)} of {len(gains)}"
        print(f"{name.upper()}: {np.mean(gains):+.3f} on average over n-grams, {behind}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")


if __name__ == "__main__":
    main()
