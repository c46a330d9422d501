"""The model against TF-IDF character n-grams with logistic regression, on sources neither was trained on.

Both learn from the same rows: those the training configuration names. The left-out sources are never
looked at in training.

    .venv/bin/python benchmarks/left_out_sources.py --data DATA [--model DIR] [--labels hate toxicity]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from moderator.pipeline.models import model_directory
from moderator.pipeline.moderator import Moderator
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.examples import Example, read_text
from moderator.train.folders import DataFolders
from moderator.train.material import gather_texts
from moderator.train.metrics import auroc, average_precision


def text_of(example: Example) -> str:
    return str(example.item.parts[0].value)


def baseline(train: Sequence[Example], test: Sequence[Example], label: str) -> NDArray[np.float64]:
    """Scores ``(len(test),)`` of the usual recipe: 2–5 character n-grams within words, C = 4."""
    rows = [example for example in train if label in example.labels]
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True, max_features=300_000
    )
    features = vectorizer.fit_transform([text_of(example) for example in rows])
    model = LogisticRegression(C=4, solver="liblinear", max_iter=200)
    model.fit(features, [example.labels[label] >= 0.5 for example in rows])
    scores: NDArray[np.float64] = model.decision_function(
        vectorizer.transform([text_of(example) for example in test])
    )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--model", default="default")
    parser.add_argument("--labels", nargs="+", default=["hate", "toxicity"])
    arguments = parser.parse_args()
    data = DataFolders(tuple(arguments.data))
    config = read_config(model_directory("default") / "train.toml")
    train = [each for each in gather_texts(config, data, DEFAULT) if each.split == "train"]
    test = read_text(data.files(config.text.files), labels=DEFAULT.names, only=config.text.leave_out)
    print(f"{len(train)} rows to learn from, {len(test)} of {', '.join(config.text.leave_out)} to judge")
    with Moderator.load(model=arguments.model) as moderator:
        started = time.monotonic()
        verdicts = [verdict for _, verdict in moderator.scan(example.item for example in test)]
        print(f"model: {len(test) / (time.monotonic() - started):.0f} texts/s")
    for label in arguments.labels:
        theirs = baseline(train, test, label)
        ours = np.array([verdict.scores.get(label, np.nan) for verdict in verdicts])
        for source in config.text.leave_out:
            at = [i for i, e in enumerate(test) if e.dataset == source and label in e.labels]
            truth = np.array([test[i].labels[label] >= 0.5 for i in at], dtype=bool)
            if not at or truth.all() or not truth.any():
                continue
            print(
                f"{label:10} {source:20} {len(at):6} rows, {truth.mean():5.1%} positive   "
                f"AUROC model {auroc(truth, ours[at]):.4f}  n-grams {auroc(truth, theirs[at]):.4f}   "
                f"AUPRC model {average_precision(truth, ours[at]):.4f}  "
                f"n-grams {average_precision(truth, theirs[at]):.4f}"
            )


if __name__ == "__main__":
    main()
