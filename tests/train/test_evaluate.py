"""Figures per source and label, against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, recall_score, roc_auc_score

from moderator.train.evaluate import ALL, evaluate, measure
from moderator.train.examples import Example
from moderator.types import Item, Scores

LABELS = ("toxicity", "spam")


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_figures_are_those_of_scikit_learn(threshold: float) -> None:
    rng = np.random.default_rng(5)
    truth = rng.random(300) < 0.3
    scores = np.clip(truth * 0.2 + rng.random(300).round(1) * 0.8, 0, 1)  # with ties
    made = measure("s", "l", truth, scores, threshold)
    said = scores >= threshold
    assert made.rows == 300
    assert made.positives == truth.sum()
    assert made.auroc == pytest.approx(roc_auc_score(truth, scores))
    assert made.auprc == pytest.approx(average_precision_score(truth, scores))
    assert made.f1 == pytest.approx(f1_score(truth, said, zero_division=0))
    assert made.accuracy == pytest.approx(accuracy_score(truth, said))
    assert made.recall == pytest.approx(recall_score(truth, said))


def test_one_class_has_no_ranking_figures_and_no_nan_in_its_row() -> None:
    made = measure("s", "l", np.zeros(4, bool), np.array([0.1, 0.2, 0.3, 0.9]), 0.5)
    assert math.isnan(made.auroc)
    row = made.as_row()
    assert row["id"] == "s/l"
    assert row["auroc"] is row["auprc"] is row["recall"] is None
    assert row["accuracy"] == 0.75
    assert row["f1"] == 0.0


def example(text: str, source: str, **labels: float) -> Example:
    return Example(Item.of(text=text), labels, source, "en", "valid")


def test_unknown_labels_and_unscored_rows_are_left_out() -> None:
    examples = [
        example("0.9", "a", toxicity=1.0),
        example("0.2", "a", toxicity=0.0, spam=0.0),
        example("none", "a", toxicity=1.0),
        example("0.7", "b", spam=1.0),
        example("0.1", "b", spam=0.4),
    ]
    batches: list[int] = []
    progress: list[tuple[int, int]] = []

    def score(items: Sequence[Item]) -> list[Scores]:
        batches.append(len(items))
        values = [item.parts[0].value for item in items]
        return [{} if value == "none" else dict.fromkeys(LABELS, float(value)) for value in values]

    figures, failed = evaluate(
        score, examples, LABELS, batch_size=2, progress=lambda done, total: progress.append((done, total))
    )
    assert failed == 1
    assert batches == [2, 2, 1]
    assert progress == [(2, 5), (4, 5), (5, 5)]
    assert [(each.source, each.label, each.rows, each.positives) for each in figures] == [
        ("a", "toxicity", 2, 1),
        ("a", "spam", 1, 0),
        ("b", "spam", 2, 1),
        (ALL, "toxicity", 2, 1),
        (ALL, "spam", 3, 1),
    ]
    assert {each.auroc for each in figures if each.positives} == {1.0}


def test_one_source_needs_no_sum_over_sources() -> None:
    figures, failed = evaluate(
        lambda items: [dict.fromkeys(LABELS, 0.5) for _ in items], [example("x", "a", spam=1.0)], LABELS
    )
    assert [each.source for each in figures] == ["a"]
    assert failed == 0
    assert evaluate(lambda items: [], [], LABELS) == ([], 0)
