"""What a directory scan left out, and why: counted in full, with a few examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_SAMPLES = 5


@dataclass(slots=True)
class Skipped:
    """``counts``: reason → how many. ``samples``: reason → the first few paths."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str) -> None:
        self.counts[reason] += 1
        samples = self.samples.setdefault(reason, [])
        if len(samples) < _SAMPLES:
            samples.append(path)

    def clear(self) -> None:
        self.counts.clear()
        self.samples.clear()

    @property
    def total(self) -> int:
        return self.counts.total()
