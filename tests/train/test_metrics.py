from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from moderator.errors import TrainingError
from moderator.train.metrics import auroc, average_precision


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [3, 1000])
def test_agrees_with_scikit_learn_with_and_without_ties(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(200) < 0.3
    scores = np.floor((rng.random(200) + 0.3 * truth) * levels) / levels
    assert auroc(truth, scores) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(truth, scores) == pytest.approx(
        average_precision_score(truth, scores), abs=1e-12
    )


def test_soft_labels_are_positive_from_one_half() -> None:
    assert auroc([0.2, 0.5, 0.9], [0.1, 0.2, 0.3]) == 1.0


def test_one_class_only_has_no_figure() -> None:
    assert math.isnan(auroc([1, 1], [0.1, 0.2]))
    assert math.isnan(auroc([0, 0], [0.1, 0.2]))
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert average_precision([1, 1], [0.1, 0.2]) == 1.0


def test_refuses_unequal_lengths_and_nan() -> None:
    with pytest.raises(TrainingError, match="one length"):
        auroc([1, 0], [0.5])
    with pytest.raises(TrainingError, match="finite"):
        auroc([1, 0], [0.5, float("nan")])
