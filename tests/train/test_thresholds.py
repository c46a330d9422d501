"""Thresholds reach the precision asked for, and only they change in a policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from moderator.cli.calibrate import calibrate
from moderator.errors import TrainingError
from moderator.train.thresholds import Threshold, find_threshold, with_thresholds
from moderator.types import Action
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model

POLICY = """# Kept.
name: mine
version: 1
rules:
  - name: hate-block
    when: hate >= 0.9 || (hate >= 0.7 && lexicon_hate >= 0.9)
    then: block
  # calibrated: precision 0.10 (0.00–0.20), recall 1.00 on 3 rows
  - name: hate-review
    when: hate >= 0.5
    then: review
    why: hate >= 0.5 is much
  - name: violence-block
    when: violence >= 0.95 && lexicon_violence >= 0.5
    then: block
  - name: self-harm-review
    when: >-
      self_harm >= 0.4 || lexicon_self_harm >= 0.6
    then: review
otherwise: allow
"""


def threshold(label: str, action: Action, value: float) -> Threshold:
    return Threshold(label, action, value, 0.9, 0.85, 0.95, 0.5, 1000, 100)


def test_only_standing_conditions_change() -> None:
    text, before = with_thresholds(
        POLICY,
        [
            threshold("hate", Action.BLOCK, 0.81),
            threshold("hate", Action.REVIEW, 0.33),
            threshold("violence", Action.BLOCK, 0.77),
            threshold("self_harm", Action.REVIEW, 0.21),
        ],
    )
    assert before == {"hate-block": 0.9, "hate-review": 0.5, "self-harm-review": 0.4}
    note = "  # calibrated: precision 0.90 (0.85–0.95), recall 0.50 on 1000 rows\n"
    expected = POLICY.replace("  # calibrated: precision 0.10 (0.00–0.20), recall 1.00 on 3 rows\n", "")
    for rule in ("hate-block", "hate-review", "self-harm-review"):
        expected = expected.replace(f"  - name: {rule}", f"{note}  - name: {rule}")
    expected = expected.replace("when: hate >= 0.9 ", "when: hate >= 0.81 ")
    expected = expected.replace("when: hate >= 0.5\n", "when: hate >= 0.33\n")
    expected = expected.replace("self_harm >= 0.4 ", "self_harm >= 0.21 ")
    assert text == expected


def test_doing_it_again_replaces_the_note() -> None:
    once, _ = with_thresholds(POLICY, [threshold("hate", Action.BLOCK, 0.81)])
    twice, before = with_thresholds(once, [threshold("hate", Action.BLOCK, 0.81)])
    assert twice == once and before == {"hate-block": 0.81}


def test_a_policy_without_such_rules_is_refused() -> None:
    with pytest.raises(TrainingError, match="no rule"):
        with_thresholds("name: x\nrules: []\n", [threshold("hate", Action.BLOCK, 0.8)])


@given(st.integers(0, 10_000), st.floats(0.2, 0.95))
def test_the_precision_holds_and_a_lower_threshold_misses_it(seed: int, precision: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(600) < 0.4
    scores = np.clip(rng.normal(0.35 + 0.3 * truth, 0.2), 0, 1)
    made = find_threshold("hate", Action.REVIEW, truth, scores, precision=precision)
    if made is None:
        return
    above = scores >= made.value
    assert truth[above].mean() >= precision
    assert made.recall == pytest.approx((above & truth).sum() / truth.sum())
    assert made.low <= made.precision <= made.high
    if made.value > 0.011:
        assert truth[scores >= round(made.value - 0.01, 2)].mean() < precision


def test_what_is_rarer_needs_a_higher_threshold() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(4000) % 2 == 0
    scores = np.clip(rng.normal(0.3 + 0.4 * truth, 0.15), 0, 1)
    often = find_threshold("hate", Action.BLOCK, truth, scores, precision=0.9)
    seldom = find_threshold("hate", Action.BLOCK, truth, scores, precision=0.9, prevalence=0.05)
    assert often is not None and seldom is not None
    assert seldom.value > often.value and seldom.recall < often.recall
    above = scores >= seldom.value
    true_rate, false_rate = above[truth].mean(), above[~truth].mean()
    assert 0.05 * true_rate / (0.05 * true_rate + 0.95 * false_rate) >= 0.9


@pytest.mark.parametrize("truth", [[True] * 50, [False] * 50, [True, False] * 5])
def test_too_few_rows_give_none(truth: list[bool]) -> None:
    scores = np.linspace(0, 1, len(truth))
    assert find_threshold("hate", Action.BLOCK, np.array(truth), scores, precision=0.1) is None


def test_the_command_writes_a_policy_that_loads(tmp_path: Path) -> None:
    rows = [
        {"dataset": "forum", "lang": "en", "text": f"{text} {number}", "labels": {"spam": int(harmful)}}
        for number in range(12)
        for texts, harmful in ((HARMFUL["spam"][:3], True), (BENIGN[:6], False))
        for text in texts
    ]
    data, out = tmp_path / "rows.jsonl", tmp_path / "mine.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(data), "--model", str(small_model()), "--out", str(out), "--json"]
    result = CliRunner().invoke(calibrate, arguments)
    assert result.exit_code == 0, result.output
    (block, review) = json.loads(result.stdout)
    assert (block["rule"], review["rule"]) == ("spam-block", "spam-review")
    assert block["precision"] >= 0.95 and block["rows"] == len(rows)
    assert f"spam >= {block['threshold']:g}" in out.read_text(encoding="utf-8")
    assert "hate: no threshold reaches" in result.stderr
    again = CliRunner().invoke(calibrate, [*arguments, "--policy", str(out)])
    assert again.exit_code == 0, again.output  # it loads, and is what it would write
