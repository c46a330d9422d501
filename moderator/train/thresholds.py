"""Thresholds from the precision one wants, measured on labelled rows the model has not seen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.errors import TrainingError
from moderator.types import Action

_FEWEST = 20
"""Harmful rows that must be above a threshold for its precision to mean something."""
_RULE = re.compile(r"^(\s*)- name:\s*(\S+)\s*$")
_NOTE = "# calibrated: "


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where the scores of ``label`` reach a precision. ``low`` and ``high`` bound the precision with 95 %
    (Wilson 1927); ``rows`` and ``positives`` are what it was measured on."""

    label: str
    action: Action
    value: float
    precision: float
    low: float
    high: float
    recall: float
    rows: int
    positives: int


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
    best: Threshold | None = None
    for value in np.arange(0.99, 0.0, -0.01).round(2):
        above = scores >= value
        hits, alarms = int((above & truth).sum()), int((above & ~truth).sum())
        reached = hits / max(1e-9, hits + weight * alarms)
        if hits < _FEWEST:
            continue
        if reached < precision:
            break
        # counts as they would be at that prevalence, no more rows than there are
        low, high = _wilson(reached, hits + alarms)
        best = Threshold(
            label, action, float(value), reached, low, high, hits / positives, len(truth), positives
        )
    return best


def _wilson(share: float, rows: int) -> tuple[float, float]:
    z = 1.96
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def with_thresholds(policy: str, thresholds: Sequence[Threshold]) -> tuple[str, Mapping[str, float]]:
    """A policy's text with new thresholds, and the old ones by rule.

    Changed is the condition ``LABEL >= NUMBER`` of the rule ``LABEL-review`` or ``LABEL-block``, where it
    stands alone or first of alternatives (``||``); a comment says what the threshold reaches. All else stays.
    """
    wanted = {f"{t.label.replace('_', '-')}-{t.action.value}": t for t in thresholds}
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
            before[f"{rule.label.replace('_', '-')}-{rule.action.value}"] = float(found[2])
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
