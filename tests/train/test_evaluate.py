"""Figures per source and label, against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, recall_score, roc_auc_score

from moderator.train.evaluate import ALL, figures_of, measure, scores_of
from moderator.train.examples import Example
from moderator.train.identity import ANY, false_alarms, identity_terms
from moderator.train.intervals import calibration_error
from moderator.train.robustness import evasive_copies, robustness
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

    scores = scores_of(
        score, examples, LABELS, batch_size=2, progress=lambda done, total: progress.append((done, total))
    )
    assert np.isnan(scores).all(axis=1).tolist() == [False, False, True, False, False]
    figures = figures_of(examples, scores, LABELS)
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
    examples = [example("x", "a", spam=1.0)]
    scores = scores_of(lambda items: [dict.fromkeys(LABELS, 0.5) for _ in items], examples, LABELS)
    assert [each.source for each in figures_of(examples, scores, LABELS)] == ["a"]
    assert figures_of([], scores_of(lambda items: [], [], LABELS), LABELS) == []


def test_bounds_hold_the_figure_and_narrow_with_rows() -> None:
    rng = np.random.default_rng(0)
    width = {}
    for rows in (60, 2000):
        truth = np.arange(rows) % 3 == 0
        scores = np.clip(truth * 0.3 + rng.random(rows) * 0.7, 0, 1)
        made = measure("s", "l", truth, scores, 0.5)
        assert made.auroc_low < made.auroc < made.auroc_high
        assert made.auprc_low < made.auprc < made.auprc_high
        assert measure("s", "l", truth, scores, 0.5) == made  # the same draws
        width[rows] = made.auroc_high - made.auroc_low
    assert width[2000] < width[60] / 3


def test_the_calibration_error_is_the_distance_from_what_was_said() -> None:
    truth = np.array([True] * 8 + [False] * 2)
    assert calibration_error(truth, np.full(10, 0.8)) == pytest.approx(0.0)
    assert calibration_error(truth, np.full(10, 0.5)) == pytest.approx(0.3)
    assert calibration_error(~truth, np.full(10, 1.0)) == pytest.approx(0.8)


def test_false_alarms_are_counted_by_term() -> None:
    harmless = [example(f"my gay neighbour {n}", "a", hate=0.0) for n in range(10)]
    others = [example(f"nothing here {n}", "a", toxicity=0.0) for n in range(20)]
    harmful = [example(f"gay {n}", "a", hate=1.0) for n in range(5)]
    unknown = [example(f"gay people {n}", "a", spam=0.0) for n in range(5)]
    examples = [*harmless, *others, *harmful, *unknown]
    scores = np.full((len(examples), 2), 0.1)
    scores[:4, 0] = 0.9  # four of the ten
    scores[12, 0] = 0.9
    found = false_alarms(examples, scores, ("hate", "spam"), threshold=0.5)
    assert [(each.term, each.rows, each.alarms) for each in found] == [("gay", 10, 4), (ANY, 20, 1)]
    assert found[0].rate == 0.4


def test_identity_terms_are_neutral_and_in_both_languages() -> None:
    terms = identity_terms()
    assert set(terms) == {"en", "zh"}
    for groups in terms.values():
        every = [term for terms_of in groups.values() for term in terms_of]
        assert len(every) == len(set(every)) >= 25


def test_an_evasion_costs_recall() -> None:
    examples = [example(f"what a stupid idiot number {n}", "a", toxicity=1.0) for n in range(30)]
    rows, copies = evasive_copies(examples, "leetspeak")
    assert len(rows) == len(copies) > 25
    again = evasive_copies(examples, "leetspeak")[1]
    assert [c.item.parts[0].value for c in copies] == [c.item.parts[0].value for c in again]
    kept = [examples[row] for row in rows]
    clean = np.full((len(kept), 2), 0.9)
    evaded = clean.copy()
    evaded[: len(kept) // 2] = 0.1
    (made,) = robustness("leetspeak", kept, clean, evaded, LABELS, threshold=0.5)
    assert (made.label, made.lang, made.rows, made.clean) == ("toxicity", "en", len(kept), 1.0)
    assert made.lost == pytest.approx(100 * (len(kept) // 2) / len(kept))
