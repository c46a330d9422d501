"""Chinese word by word in English, so that an English encoder gets something to read.

An encoder that learned from English alone knows Chinese characters as symbols without a meaning. With each
word replaced by its gloss ("我想杀了你" → "i want kill you") it reads a clumsy English whose content words
and tone are right, and what the model learned from English texts holds for Chinese ones. Words are found by
longest match from the left (maximum matching, Liang 1984), which needs nothing but the glossary.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from moderator.errors import PluginError
from moderator_text.rewritten import Rewritten, Writer

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
_NOTHING = "-"


class Glossary:
    """``words``: Chinese word → English gloss, empty for words without content of their own."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = dict(words)
        self._longest = max(map(len, self._words), default=1)
        lines = "\n".join(f"{word}\t{gloss}" for word, gloss in sorted(self._words.items()))
        self.digest = hashlib.sha256(lines.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._words)

    def gloss(self, text: str) -> Rewritten | None:
        """``text`` with its Chinese in English; None where there is no Chinese. Characters the glossary
        lacks stay as they are, apart from their neighbours."""
        if text.isascii() or not _HAN.search(text):
            return None
        writer = Writer()
        at = 0
        for run in _HAN.finditer(text):
            writer.copy(text, at, run.start())
            self._run(writer, text, run.start(), run.end())
            at = run.end()
        writer.copy(text, at, len(text))
        return writer.done()

    def _run(self, writer: Writer, text: str, begin: int, end: int) -> None:
        words = self._words
        while begin < end:
            for size in range(min(self._longest, end - begin), 0, -1):
                gloss = words.get(text[begin : begin + size])
                if gloss is not None or size == 1:
                    break
            upto = begin + size
            if gloss is None:
                gloss = text[begin:upto]
            if gloss:
                writer.put(f" {gloss} ", begin, upto)
            begin = upto


@cache
def chinese_english() -> Glossary:
    """The glossary that ships: written for this project, CC0."""
    words: dict[str, str] = {}
    source = files("moderator_text.glossaries") / "zh-en.tsv"
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        word, tab, gloss = line.partition("\t")
        if not tab or not word or not gloss:
            raise PluginError(f"{source}:{number}: not WORD<tab>GLOSS: {line!r}")
        words[word] = "" if gloss == _NOTHING else gloss
    return Glossary(words)
