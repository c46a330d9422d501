"""What the training of an embedder came to, as a value and as JSON beside the weights."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Validation figures of one label; NaN where one of the classes is missing."""

    positives: int
    negatives: int
    auroc: float
    auprc: float


@dataclass(frozen=True, slots=True)
class EmbedderReport:
    """What came out; the same as JSON lies beside the weights. ``losses``: mean of each epoch."""

    name: str
    path: Path
    labels: dict[str, LabelFigures]
    losses: tuple[float, ...]
    aurocs: tuple[float, ...]
    best_epoch: int
    trained_on: int
    validated_on: int
    skipped: int
    seconds: float


def write_report(path: Path, report: EmbedderReport, config: Mapping[str, Any]) -> None:
    """Write the report and the configuration it came from as JSON; a figure that is NaN becomes null."""
    values = {**dataclasses.asdict(report), "path": report.path.name, "config": dict(config)}
    path.write_text(json.dumps(_without_nan(values), indent=2) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null instead."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
