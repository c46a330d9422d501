"""How much a text shouts: the share of it in capitals or in runs of ! and ?."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moderator import hookimpl
from moderator.errors import PluginError
from moderator.plugin import Detector
from moderator.testing import make_text
from moderator.types import Content, Evidence, Modality, Signal, SignalSpec

_WORD = re.compile(r"[^\W\d_]{2,}")  # single capitals (I, A) are no shouting
_MARKS = re.compile(r"[!?！？]{2,}")  # nor is a single mark


class Shouting(Detector):
    """Signal ``shouting``: share of the letters in capital words, raised by runs of ``!`` and ``?``."""

    name = "shouting"
    modality = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._min_letters = self.options.get("min_letters", 8)
        if not isinstance(self._min_letters, int) or self._min_letters < 1:
            raise PluginError(f"min_letters must be a whole number above 0, got {self._min_letters!r}")

    @property
    def fingerprint(self) -> str:
        return f"1:min_letters={self._min_letters}"

    @property
    def signals(self) -> Sequence[SignalSpec]:
        return [SignalSpec("shouting", description="share of the text in capitals or in runs of ! and ?")]

    def load(self, device: str) -> None:
        pass  # no weights

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        return [self._detect(str(content.data)) for content in contents]

    def _detect(self, text: str) -> list[Signal]:
        letters = sum(character.isalpha() for character in text)
        if letters < self._min_letters:
            return []
        # scripts without case (汉字, हिन्दी) have no capitals: isupper() is false for them
        words = [word for word in _WORD.finditer(text) if word.group().isupper()]
        marks = list(_MARKS.finditer(text))
        loud = sum(len(match.group()) for match in (*words, *marks))
        if not loud:
            return []
        evidence = tuple(
            Evidence(self.name, 0, (float(match.start()), float(match.end())), match.group()[:40])
            for match in sorted((*words, *marks), key=lambda match: match.start())
        )
        return [Signal("shouting", min(1.0, loud / letters), evidence)]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [
            make_text("BUY THIS NOW!!!"),
            make_text("I read it in the NATO report."),
            make_text("大家好！"),
        ]


@hookimpl
def register_detectors() -> list[type[Detector]]:
    return [Shouting]
