"""What a text is found by: its words, and of scripts written without spaces single characters and pairs.

The same words come from a text and from what is searched for, so that both databases find the same.
"""

from __future__ import annotations

import re

from moderator.media.text import normalise

MOST = 400
"""Words of one item that are kept, the first ones: a flood of text must not flood the index."""
_LONGEST = 40
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(f"[{_UNSPACED}]+|[^\\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")


def words_of(text: str) -> list[str]:
    """The words a text is found by, each once, in order: "加微信 Now" → 加 微 信 加微 微信 now."""
    found: dict[str, None] = {}
    for run in _runs(text):
        for word in _grams(run, (1, 2)) if _IS_UNSPACED.match(run) else (run,):
            found.setdefault(word)
            if len(found) == MOST:
                return list(found)
    return list(found)


def words_asked(text: str) -> list[str]:
    """The words a text must have to be found by ``text``: of a longer run of characters, its pairs."""
    asked: dict[str, None] = {}
    for run in _runs(text):
        pairs = _grams(run, (2,)) if len(run) > 1 else [run]
        asked.update(dict.fromkeys(pairs if _IS_UNSPACED.match(run) else (run,)))
    return list(asked)


def _runs(text: str) -> list[str]:
    return [run[:_LONGEST] for run in _RUN.findall(normalise(text).text.casefold())]


def _grams(run: str, sizes: tuple[int, ...]) -> list[str]:
    return [run[at : at + size] for size in sizes for at in range(len(run) - size + 1)]
