"""How much a model still sees when people write so as not to be seen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moderator.train.evasion import EVASIONS
from moderator.train.examples import Example
from moderator.types import Item


@dataclass(frozen=True, slots=True)
class Robustness:
    """Recall at a threshold of harmful texts as they are, and written in an ``evasion``. ``rows``: those the
    evasion changed."""

    evasion: str
    label: str
    lang: str
    rows: int
    clean: float
    evaded: float

    @property
    def lost(self) -> float:
        """What the evasion costs, in points of recall."""
        return 100 * (self.clean - self.evaded)


def evasive_copies(examples: Sequence[Example], evasion: str) -> tuple[list[int], list[Example]]:
    """The texts an evasion changes: their rows, and copies in that spelling. What is drawn depends on the
    text alone."""
    rows, copies = [], []
    for row, example in enumerate(examples):
        text = str(example.item.parts[0].value)
        seed = zlib.crc32(f"{evasion}:{text}".encode("utf-8", "backslashreplace"))
        changed = EVASIONS[evasion](text, np.random.default_rng(seed))
        if changed != text:
            rows.append(row)
            copies.append(replace(example, item=Item.of(id=example.item.id, text=changed)))
    return rows, copies


def robustness(
    evasion: str,
    examples: Sequence[Example],
    clean: NDArray[np.float64],
    evaded: NDArray[np.float64],
    labels: Sequence[str],
    *,
    threshold: float,
    fewest: int = 20,
) -> list[Robustness]:
    """Per label and language with at least ``fewest`` positives. ``clean`` and ``evaded`` are scores
    ``(N, labels)`` of the texts and of their copies."""
    scored = np.isfinite(clean.sum(axis=1) + evaded.sum(axis=1))
    result = []
    for column, label in enumerate(labels):
        for lang in sorted({example.lang for example in examples}):
            rows = [
                row
                for row, example in enumerate(examples)
                if scored[row] and example.lang == lang and example.labels.get(label, 0.0) >= 0.5
            ]
            if len(rows) >= fewest:
                before = float((clean[rows, column] >= threshold).mean())
                after = float((evaded[rows, column] >= threshold).mean())
                result.append(Robustness(evasion, label, lang, len(rows), before, after))
    return result


def recall_under_evasions(
    score: Callable[[Sequence[Example], str], NDArray[np.float64]],
    examples: Sequence[Example],
    clean: NDArray[np.float64],
    labels: Sequence[str],
    *,
    threshold: float,
) -> list[Robustness]:
    """All evasions in turn. ``clean``: scores ``(N, labels)`` of the examples as they are; ``score``
    gives those of their evasive copies, and is told the evasion's name."""
    harmful = [row for row, each in enumerate(examples) if max(each.labels.values(), default=0.0) >= 0.5]
    found: list[Robustness] = []
    for name in EVASIONS:
        rows, copies = evasive_copies([examples[row] for row in harmful], name)
        if copies:
            before = clean[[harmful[row] for row in rows]]
            found += robustness(name, copies, before, score(copies, name), labels, threshold=threshold)
    return found
