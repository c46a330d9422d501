"""False alarms on harmless texts that name a group: the best-known fault of toxicity models.

Dixon et al. (2018) measured it on templates; here it is on the harmless rows of whatever is evaluated.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from moderator.train.examples import Example

_HARMS = ("hate", "toxicity", "harassment")
ANY = "no term"


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """``alarms`` of ``rows`` harmless texts naming ``term`` score ``threshold`` or more in hate, toxicity or
    harassment. ``term`` is ``no term`` for the harmless texts that name none, to compare with."""

    term: str
    group: str
    lang: str
    rows: int
    alarms: int

    @property
    def rate(self) -> float:
        return self.alarms / self.rows


@cache
def identity_terms() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Language → group → terms, from ``identity_terms.toml``."""
    table = tomllib.loads((files("moderator.train") / "identity_terms.toml").read_text(encoding="utf-8"))
    return {lang: {group: tuple(terms) for group, terms in groups.items()} for lang, groups in table.items()}


def false_alarms(
    examples: Sequence[Example],
    scores: NDArray[np.float64],
    labels: Sequence[str],
    *,
    threshold: float,
    fewest: int = 10,
) -> list[FalseAlarms]:
    """A row per term and language with at least ``fewest`` harmless texts; ``scores`` ``(N, labels)``.

    Harmless is a text with some of hate, toxicity and harassment known and none of them present.
    """
    columns = [labels.index(label) for label in _HARMS if label in labels]
    harmless = [
        row
        for row, example in enumerate(examples)
        if (known := [example.labels[name] for name in _HARMS if name in example.labels])
        and max(known) < 0.5
        and np.isfinite(scores[row]).all()
    ]
    alarm = {row: bool((scores[row, columns] >= threshold).any()) for row in harmless}
    result = []
    for lang, groups in identity_terms().items():
        rows = [row for row in harmless if examples[row].lang == lang]
        texts = {row: str(examples[row].item.parts[0].value).lower() for row in rows}
        named: set[int] = set()
        for group, terms in groups.items():
            for term in terms:
                pattern = re.compile(rf"\b{re.escape(term)}s?\b" if lang == "en" else re.escape(term))
                found = [row for row in rows if pattern.search(texts[row])]
                named.update(found)
                if len(found) >= fewest:
                    result.append(FalseAlarms(term, group, lang, len(found), sum(alarm[r] for r in found)))
        others = [row for row in rows if row not in named]
        if len(others) >= fewest:
            result.append(FalseAlarms(ANY, "", lang, len(others), sum(alarm[row] for row in others)))
    return sorted(result, key=lambda each: (each.lang, -each.rate))
