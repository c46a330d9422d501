"""Thresholds from the precision one wants, measured on labelled rows the model has not seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.errors import TrainingError
from moderator.train.examples import Example
from moderator.train.intervals import interval
from moderator.train.losses import targets_of
from moderator.types import Action

_FEWEST = 20
"""Harmful rows that must be above a threshold for its precision to mean something."""
_RULE = re.compile(r"^(\s*)- name:\s*(\S+)\s*$")
_NOTE = "# calibrated: "


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where the scores of ``label`` reach a precision. ``low`` and ``high`` bound the precision with 95 %
    (bootstrap); ``rows`` and ``positives`` are what it was measured on."""

    label: str
    action: Action
    value: float
    precision: float
    low: float
    high: float
    recall: float
    rows: int
    positives: int

    @property
    def rule(self) -> str:
        """The name of the policy's rule it is for."""
        return f"{self.label.replace('_', '-')}-{self.action.value}"


def find_threshold(
    label: str,
    action: Action,
    truth: NDArray[np.bool_],
    scores: NDArray[np.float64],
    *,
    precision: float,
    prevalence: float | None = None,
) -> Threshold | None:
    """The lowest threshold from which on up the precision is at least ``precision``; None if none is.

    ``truth`` and ``scores`` ``(N,)``. ``prevalence``: how frequent the label is where it will be used, in
    place of its share of the rows, on which precision depends. Thresholds have two decimals, since more are
    not known.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    weight = 1.0
    if prevalence is not None:
        weight = (1 - prevalence) / prevalence * positives / negatives  # of a harmless row

    def reached(truth: NDArray[np.bool_], above: NDArray[Any]) -> float:
        hits, alarms = int((above & truth).sum()), int((above & ~truth).sum())
        return hits / max(1e-9, hits + weight * alarms)

    best: float | None = None
    for value in np.arange(0.99, 0.0, -0.01).round(2).tolist():
        above = scores >= value
        if int((above & truth).sum()) < _FEWEST:
            continue
        if reached(truth, above) < precision:
            break
        best = value
    if best is None:
        return None
    above = scores >= best
    low, high = interval(reached, truth, above)
    recall = float(above[truth].mean())
    return Threshold(label, action, best, reached(truth, above), low, high, recall, len(truth), positives)


def find_thresholds(
    examples: Sequence[Example],
    scores: NDArray[np.float64],
    labels: Sequence[str],
    *,
    precisions: Mapping[Action, float],
    prevalence: float | None,
    missing: Callable[[str], None],
    only: Collection[str] = (),
) -> list[Threshold]:
    """A threshold per label (those of ``only``, if given) and action; ``missing`` is told of each that is
    not reached. ``scores`` are ``(N, labels)``, NaN where an example could not be scored."""
    targets = targets_of(examples, labels)
    found = []
    for column, label in enumerate(labels):
        if only and label not in only:
            continue
        known = ~np.isnan(targets[:, column]) & np.isfinite(scores[:, column])
        truth, values = targets[known, column] >= 0.5, scores[known, column]
        for action, precision in precisions.items():
            made = find_threshold(label, action, truth, values, precision=precision, prevalence=prevalence)
            if made is None:
                missing(
                    f"{label}: no threshold reaches a precision of {precision:g} with {_FEWEST} harmful rows "
                    f"above it ({int(truth.sum())} harmful of {len(truth)} rows); its {action.value} rule "
                    "stays"
                )
            else:
                found.append(made)
    return found


def with_thresholds(policy: str, thresholds: Sequence[Threshold]) -> tuple[str, Mapping[str, float]]:
    """A policy's text with new thresholds, and the old ones by rule.

    Changed is the condition ``LABEL >= NUMBER`` of the rule ``LABEL-review`` or ``LABEL-block``, where it
    stands alone or first of alternatives (``||``); a comment says what the threshold reaches. All else stays.
    """
    wanted = {each.rule: each for each in thresholds}
    lines = policy.splitlines()
    before: dict[str, float] = {}
    made: list[str] = []
    rule: Threshold | None = None
    for at, line in enumerate(lines):
        if line.strip().startswith(_NOTE) and _name_after(lines, at) in wanted:
            continue  # of an earlier calibration
        if match := _RULE.match(line):
            rule = wanted.get(match[2])
            if rule is not None and _has_condition(lines, match[2], rule.label):
                made.append(f"{match[1]}{_said(rule)}")
        if rule is not None and (found := _standing_alone(line, rule.label)):
            before[rule.rule] = float(found[2])
            line = f"{line[: found.start(2)]}{rule.value:g}{line[found.end(2) :]}"
            rule = None
        made.append(line)
    if not before:
        raise TrainingError(
            "the policy has no rule LABEL-review or LABEL-block with a condition LABEL >= NUMBER"
        )
    return "\n".join(made) + "\n", before


def _said(each: Threshold) -> str:
    return (
        f"{_NOTE}precision {each.precision:.2f} ({each.low:.2f}–{each.high:.2f}), recall {each.recall:.2f} "
        f"on {each.rows} rows"
    )


def _name_after(lines: Sequence[str], at: int) -> str:
    """The name of the first rule from line ``at`` on."""
    return next((match[2] for line in lines[at:] if (match := _RULE.match(line))), "")


def _has_condition(lines: Sequence[str], name: str, label: str) -> bool:
    """Whether the rule has a condition that can be changed."""
    inside = False
    for line in lines:
        if match := _RULE.match(line):
            inside = match[2] == name
        elif inside and _standing_alone(line, label):
            return True
    return False


def _standing_alone(line: str, label: str) -> re.Match[str] | None:
    """``LABEL >= NUMBER`` at the start of a condition, followed by nothing or by an alternative."""
    return re.match(rf"^(\s*(?:when:\s*)?{label}\s*>=\s*)(\d*\.?\d+)(?=\s*(?:\|\||$))", line)
