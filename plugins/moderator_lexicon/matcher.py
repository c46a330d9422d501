"""Finding thousands of words and phrases in a text in one pass (Aho–Corasick).

A text is reduced to its words, joined by single spaces, so that neither punctuation nor line breaks
hide a phrase. Words of scripts written with spaces match whole words only; Chinese, Japanese, Korean
and Thai match anywhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import ge
from typing import Any, Final

import ahocorasick

from moderator_lexicon.entries import Entry, WordList

_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul, where particles follow a word without a space
)
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
MAX_REPEATS: Final = 50

_DOUBLED: Final = re.compile(r"([^\W\d_])\1")
_RUN: Final = re.compile(r"(.)\1*")
_STRETCHED: Final = range(4, 65)  # shorter words resemble too many others once stretched
_WORD: Final = re.compile(r"[^\W_]+")
# What may stand between two Chinese characters without separating them: "加 微 信", "加-微-信".
_FILLER: Final = re.compile(r"[\s*._~·•|/\\+=-]{1,3}")


@dataclass(frozen=True, slots=True)
class Found:
    """A match: characters ``[start, end)`` of the text given, the entry and the list it comes from.

    ``stretched``: the text repeats letters of the entry, which some other words do too.
    """

    start: int
    end: int
    entry: Entry
    source: WordList
    stretched: bool = False


class _Words:
    """A text reduced to words: ``text``, and the way back from its characters to the original's.

    Most texts hold nothing listed, so where words came from is found out when it is first asked for.
    """

    def __init__(self, original: str) -> None:
        self._original = original
        self._places: tuple[list[int], list[int]] | None = None
        if _IS_UNSPACED.search(original):
            self.text, *self._places = _joined(original)  # type: ignore[assignment]
        else:
            self.text = " ".join(_WORD.findall(original))

    def origin(self, index: int) -> int:
        """Where character ``index`` of ``text`` stands in the original."""
        if self._places is None:
            _, *places = _joined(self._original)
            self._places = places[0], places[1]
        starts, origins = self._places
        word = bisect_right(starts, index) - 1
        return origins[word] + index - starts[word]

    def doubled(self) -> Iterator[tuple[int, int]]:
        """Words ``[start, end)`` of ``text`` in which a letter stands twice in a row."""
        end = 0
        while match := _DOUBLED.search(self.text, end):
            start = self.text.rfind(" ", 0, match.start()) + 1
            end = self.text.find(" ", match.end())
            end = end if end >= 0 else len(self.text)
            yield start, end


def _joined(text: str) -> tuple[str, list[int], list[int]]:
    """The words joined; where each begins in that, and where in ``text``. Between Chinese characters a filler
    or two do not separate."""
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[int] = []
    length = 0
    last = ""
    end = 0
    for match in _WORD.finditer(text):
        word = match.group()
        if pieces and not (
            _IS_UNSPACED.match(word[0])
            and _IS_UNSPACED.match(last)
            and _FILLER.fullmatch(text, end, match.start())
        ):
            pieces.append(" ")
            length += 1
        pieces.append(word)
        starts.append(length)
        origins.append(match.start())
        length += len(word)
        last = word[-1]
        end = match.end()
    return "".join(pieces), starts, origins


def fold(text: str) -> tuple[str, list[int] | None]:
    """Case-folded text, and where each character came from (``None``: no character grew)."""
    folded = text.casefold()
    if len(folded) == len(text):  # folding never drops a character, so nothing moved
        return folded, None
    pieces = [character.casefold() for character in text]
    return "".join(pieces), [i for i, piece in enumerate(pieces) for _ in piece]


class Matcher:
    """All entries of some lists, ready for search."""

    def __init__(self, lists: Iterable[WordList], normalise: Callable[[str], str]) -> None:
        """``normalise`` must be what made the texts that will be searched."""
        meanings: dict[str, list[tuple[Entry, WordList]]] = {}
        for source in lists:
            for entry in source.entries:
                # The written form too: a normaliser may read a word differently in isolation.
                for form in {fold(normalise(entry.text))[0], fold(entry.text)[0]}:
                    key = _Words(form).text
                    if key:
                        meanings.setdefault(key, []).append((entry, source))
        self.size = len(meanings)
        # Normalising leaves "fuuuck" as "fuuck": words are also found by their letters without repeats.
        self._stretched: dict[str, list[str]] = {}
        for key in meanings:
            if " " not in key and len(key) in _STRETCHED and not _IS_UNSPACED.search(key):
                self._stretched.setdefault(_single(key), []).append(key)
        self._meanings = meanings
        self._automaton: Any = ahocorasick.Automaton()
        for number, (key, found) in enumerate(meanings.items()):
            self._automaton.add_word(key, (number, len(key), tuple(found)))
        if meanings:
            self._automaton.make_automaton()

    def find(self, text: str) -> list[Found]:
        """The matches in a normalised ``text``, by start; of one signal, none within a longer one.

        Of each entry only the first ``MAX_REPEATS``: a text of nothing else must not cost more.
        """
        if not self.size:
            return []
        folded, moved = fold(text)
        words = _Words(folded)
        found = []
        seen = [0] * self.size
        for last, (number, length, meanings) in self._automaton.iter(words.text):
            first = last - length + 1
            if seen[number] >= MAX_REPEATS or _continues(words.text, first - 1, first):
                continue
            runs_on = _continues(words.text, last + 1, last)
            held = [each for each in meanings if each[0].prefix or not runs_on]
            if held:
                start, end = _between(words, moved, first, last)
                seen[number] += 1
                found += [Found(start, end, *each) for each in held]
        for first, last, meanings in self._stretches(words):
            start, end = _between(words, moved, first, last)
            found += [Found(start, end, *each, stretched=True) for each in meanings]
        return _outermost(found)

    def _stretches(self, words: _Words) -> Iterator[tuple[int, int, list[tuple[Entry, WordList]]]]:
        """Words that are a listed word with some of its letters repeated."""
        seen: dict[str, int] = {}
        for start, end in words.doubled():
            if end - start not in _STRETCHED:
                continue
            word = words.text[start:end]
            seen[word] = seen.get(word, 0) + 1
            if seen[word] > MAX_REPEATS:
                continue
            for key in self._stretched.get(_single(word), ()):
                if key != word and all(map(ge, _runs(word), _runs(key))):
                    yield start, start + len(word) - 1, self._meanings[key]


def _single(word: str) -> str:
    return "".join(letter for letter, _ in groupby(word))


def _runs(word: str) -> list[int]:
    return [len(match.group()) for match in _RUN.finditer(word)]


def _between(words: _Words, moved: list[int] | None, first: int, last: int) -> tuple[int, int]:
    """Characters ``[first, last]`` of the joined words as ``[start, end)`` of the text before folding."""
    start, end = words.origin(first), words.origin(last)
    return (start, end + 1) if moved is None else (moved[start], moved[end] + 1)


def _continues(text: str, beyond: int, edge: int) -> bool:
    """Whether the character at ``beyond`` belongs to the same word as the match's character at ``edge``."""
    if not 0 <= beyond < len(text) or text[beyond] == " ":
        return False
    return not (_IS_UNSPACED.match(text[beyond]) or _IS_UNSPACED.match(text[edge]))


def _outermost(found: list[Found]) -> list[Found]:
    """Without matches that lie within another of the same signal and say no more than it does."""
    found.sort(key=lambda each: (each.start, -each.end, -each.entry.severity))
    kept: list[Found] = []
    reach: dict[str, Found] = {}
    for each in found:
        outer = reach.get(each.source.signal)
        if outer is not None and each.end <= outer.end and each.entry.severity <= outer.entry.severity:
            continue
        kept.append(each)
        if outer is None or each.end > outer.end:
            reach[each.source.signal] = each
    return kept
