"""An evaluation as one HTML file without scripts: figures, curves, reliability, false alarms, worst mistakes.

Texts are blurred until pointed at: who reads a report has not agreed to read what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderator.train.evaluate import Figures
from moderator.train.examples import Example
from moderator.train.identity import FalseAlarms
from moderator.train.losses import targets_of
from moderator.train.robustness import Robustness

_SIZE = 240
_MISTAKES = 8
"""Of each kind and label."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}
td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,td.text,th.text{text-align:left}figure{display:inline-block;margin:1em}
figcaption{font-weight:600}svg{background:#fafafa;border:1px solid #ddd}
.hidden{filter:blur(6px);cursor:help}.hidden:hover,.hidden:focus{filter:none}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All that was measured: ``scores`` ``(N, labels)``, NaN where an example could not be scored."""

    title: str
    labels: Sequence[str]
    examples: Sequence[Example]
    scores: NDArray[np.float64]
    figures: Sequence[Figures]
    threshold: float
    alarms: Sequence[FalseAlarms] = ()
    evasions: Sequence[Robustness] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_html(evaluation: Evaluation, path: Path) -> None:
    path.write_text("".join(_page(evaluation)), encoding="utf-8")


def _page(made: Evaluation) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(made.title)}</title>'
    yield f"<style>{_STYLE}</style><h1>{escape(made.title)}</h1>"
    yield _table(("", "value"), [(name, value) for name, value in made.facts])
    yield "<h2>Figures</h2><p>Bounds hold 95 %. Chance is AUROC 0.5, AUPRC the share of positives.</p>"
    yield _table(
        ("source", "label", "rows", "positives", "AUROC", "", "AUPRC", "", "recall", "F1", "ECE"),
        [_figures_row(each) for each in made.figures],
    )
    yield "<h2>Precision and recall, reliability</h2>"
    targets = targets_of(made.examples, made.labels)
    for column, label in enumerate(made.labels):
        known = ~np.isnan(targets[:, column]) & np.isfinite(made.scores[:, column])
        truth, scores = targets[known, column] >= 0.5, made.scores[known, column]
        if truth.any() and not truth.all():
            yield _figure(f"{label}: precision over recall", _precision_recall(truth, scores))
            yield _figure(f"{label}: how often, over how likely", _reliability(truth, scores))
    if made.alarms:
        yield "<h2>False alarms on harmless texts that name a group</h2>"
        yield _table(
            ("term", "group", "language", "rows", "false alarms"),
            [(a.term, a.group, a.lang, f"{a.rows}", f"{a.rate:.1%}") for a in made.alarms],
        )
    if made.evasions:
        yield "<h2>Recall under evasions</h2>"
        yield _table(
            ("evasion", "label", "language", "rows", "as it is", "evaded", "points lost"),
            [
                (
                    e.evasion,
                    e.label,
                    e.lang,
                    f"{e.rows}",
                    f"{e.clean:.3f}",
                    f"{e.evaded:.3f}",
                    f"{e.lost:.1f}",
                )
                for e in made.evasions
            ],
        )
    yield f"<h2>Worst mistakes at {made.threshold:g}</h2><p>Point at a text to read it.</p>"
    for column, label in enumerate(made.labels):
        yield from _mistakes(made, label, targets[:, column], made.scores[:, column])
    yield "</html>\n"


def _figures_row(each: Figures) -> tuple[str, ...]:
    return (
        each.source,
        each.label,
        f"{each.rows}",
        f"{each.positives}",
        _number(each.auroc),
        _bounds(each.auroc_low, each.auroc_high),
        _number(each.auprc),
        _bounds(each.auprc_low, each.auprc_high),
        _number(each.recall),
        _number(each.f1),
        _number(each.ece),
    )


def _mistakes(
    made: Evaluation, label: str, truth: NDArray[np.float32], scores: NDArray[np.float64]
) -> Iterator[str]:
    known = ~np.isnan(truth) & np.isfinite(scores)
    missed = known & (truth >= 0.5) & (scores < made.threshold)
    false = known & (truth < 0.5) & (scores >= made.threshold)
    for name, rows, sign in (("missed", missed, 1), ("false alarm", false, -1)):
        at = np.flatnonzero(rows)
        at = at[np.argsort(sign * scores[at], kind="stable")][:_MISTAKES]
        if len(at):
            yield f"<h3>{escape(label)}: {name} ({int(rows.sum())})</h3><table>"
            for row in at.tolist():
                example = made.examples[row]
                text = f'<span class="hidden" tabindex="0">{escape(_shown(example))}</span>'
                source = escape(example.dataset)
                yield f"<tr><td>{scores[row]:.3f}</td><td>{source}</td><td class='text'>{text}</td></tr>"
            yield "</table>"


def _shown(example: Example) -> str:
    value = example.item.parts[0].value
    text = value if isinstance(value, str) else f"{getattr(value, 'name', value)}"
    return text if len(text) <= 400 else f"{text[:400]} …"


def _precision_recall(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> str:
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    recall = hits / hits[-1]
    precision = hits / np.arange(1, len(hits) + 1)
    kept = np.unique(np.linspace(0, len(hits) - 1, 200).astype(int))
    share = float(truth.mean())
    return _line([(0, share), (1, share)], "#bbb") + _line(
        list(zip(recall[kept].tolist(), precision[kept].tolist(), strict=True)), "#0b57d0"
    )


def _reliability(truth: NDArray[np.bool_], scores: NDArray[np.float64], bins: int = 10) -> str:
    place = np.minimum((scores * bins).astype(int), bins - 1)
    points = [
        (float(scores[place == each].mean()), float(truth[place == each].mean()), int((place == each).sum()))
        for each in range(bins)
        if (place == each).any()
    ]
    dots = "".join(
        f'<circle cx="{x * _SIZE:.1f}" cy="{(1 - y) * _SIZE:.1f}" r="{2 + 8 * (n / len(truth)) ** 0.5:.1f}" '
        'fill="#0b57d0" fill-opacity=".7"/>'
        for x, y, n in points
    )
    return _line([(0, 0), (1, 1)], "#bbb") + _line([(x, y) for x, y, _ in points], "#0b57d0") + dots


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x * _SIZE:.1f},{(1 - y) * _SIZE:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _figure(caption: str, drawing: str) -> str:
    said = escape(caption)
    svg = f'<svg role="img" aria-label="{said}" width="{_SIZE}" height="{_SIZE}">{drawing}</svg>'
    return f"<figure>{svg}<figcaption>{said}</figcaption></figure>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _bounds(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.2f}–{high:.2f}"
