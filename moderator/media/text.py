"""Text as models read it: styled, hidden, spaced-out and look-alike letters made plain.

The original is never changed; ``offsets`` lead from every character a model saw back to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.media.lookalikes import ALWAYS_LATIN, TO_CYRILLIC, TO_LATIN


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """``text``: the plain form, case preserved. ``offsets``: int32 ``(len(text),)``, never falling;
    ``offsets[i]`` is the index in the original of the character ``text[i]`` came from."""

    text: str
    offsets: NDArray[np.int32]


_LATIN = "A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ"
_LETTER = r"[^\W\d_]"
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_NOT_ALNUM_BEFORE, _NOT_ALNUM_AFTER = r"(?<![^\W_])", r"(?![^\W_])"

# Three cheap searches rather than one alternation: most text has nothing to do and must pay little.
_ASCII_WORK = (
    re.compile(r"[\x00-\x1f\x7f$@]|[!013457][A-Za-z]|  "),
    re.compile(r"([A-Za-z])(?i:\1)(?i:\1)"),
    re.compile(r"([ .\-_*/|~+,])[A-Za-z]\1[A-Za-z]\1"),
)
_DROPPED_ASCII = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_SPACES = re.compile(r" {2,}")
_CLUSTER = re.compile(f"[^{_MARKS}]?[{_MARKS}]+")
_MIXED = re.compile(rf"[{_LATIN}]\d*[^\W\d_{_LATIN}]|[^\W\d_{_LATIN}]\d*[{_LATIN}]")
_WORD = re.compile(r"\w+")
_LATIN_LETTER = re.compile(f"[{_LATIN}]")
_OTHER_LETTER = re.compile(rf"[^\W\d_{_LATIN}]")
_SPACED = re.compile(rf"(?<![\w.\-*/|~+,·•'’]){_LETTER}(?: {{1,3}}{_LETTER}{_NOT_ALNUM_AFTER}){{3,}}")
_DOTTED = re.compile(
    rf"{_NOT_ALNUM_BEFORE}{_LETTER}([.\-_*/|~+,·•]){_LETTER}{_NOT_ALNUM_AFTER}"
    rf"(?:\1{_LETTER}{_NOT_ALNUM_AFTER}){{2,}}"
)
_RUN = re.compile(rf"({_LETTER})\1{{2,}}", re.IGNORECASE)

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "$": "s", "@": "a", "!": "i"}
_DOLLARS = re.compile(r"(?<=[A-Za-z])\$+(?=[A-Za-z])|(?<=[A-Za-z])\${2,}|(?<![\w$])\$(?=[a-z]{2})")
# Only a short beginning may stand before these: "name@host" and "wow!great" are no leetspeak.
_AT = re.compile(rf"{_NOT_ALNUM_BEFORE}(?<![.@_-])[A-Za-z]{{1,3}}@(?=[A-Za-z])(?![\w-]+\.\w)")
_BANG = re.compile(rf"{_NOT_ALNUM_BEFORE}[A-Za-z]{{1,2}}!(?=[A-Za-z])")
_DIGIT_WORD = re.compile(
    rf"{_NOT_ALNUM_BEFORE}[A-Za-z]+[013457]{{1,2}}[A-Za-z][A-Za-z0-9]*{_NOT_ALNUM_AFTER}"
)
_DIGITS = re.compile(r"(?<=[A-Za-z])[013457]{1,2}(?=[A-Za-z])")
_NO_LEET = re.compile(r"[2689]|\d{3}|^mp[34]s$", re.IGNORECASE)

_HIDDEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_SPACE = frozenset("\t\n\v\f\r\x85\u2028\u2029")
_MAX_EXPANSION = 6  # two Arabic ligatures expand to 8 and 18 characters: not worth the flood they allow
_MAX_MARKS = 4  # canonical ordering of longer stacks takes quadratic time
_ROUNDS = 4  # one step can uncover work for another: "a@a!c"; hostile text must not keep us here


def normalise(text: str) -> Normalised:
    """The plain form of ``text``, any ``str`` (lone surrogates become U+FFFD). Never raises.

    NFKC per character; hidden, control and stacked-mark characters dropped; look-alikes, careful
    leetspeak and letters spelled out one by one resolved inside words; runs of three or more same
    letters and of white space squeezed. Idempotent unless steps uncover each other more than four deep.
    """
    if text.isascii() and not any(work.search(text) for work in _ASCII_WORK):
        return Normalised(text, np.arange(len(text), dtype=np.int32))
    plain, offsets = _fold_ascii(text) if text.isascii() else _fold(text)
    for _ in range(_ROUNDS):
        before = plain
        plain, offsets = _without(plain, offsets, _separators(plain))
        plain, offsets = _without(plain, offsets, [(m.start() + 1, m.end()) for m in _SPACES.finditer(plain)])
        if not plain.isascii() and _MIXED.search(plain):
            plain = _WORD.sub(_one_script, plain)
        plain = _unleet(plain)
        plain, offsets = _without(plain, offsets, _repeats(plain))
        if plain == before:
            break
    return Normalised(plain, offsets)


class _Folds(dict[str, str]):
    """Character → what stands for it, filled as characters are met."""

    def __missing__(self, char: str) -> str:
        if len(self) > 50_000:  # hostile text could otherwise fill it with all of Unicode
            self.clear()
        self[char] = folded = _fold_char(char)
        return folded


def _fold_char(char: str) -> str:
    if char in _SPACE:
        return " "
    if unicodedata.category(char) == "Cs":
        return "\ufffd"
    wide = unicodedata.normalize("NFKC", char)
    # Spacing accents would become a space and a stray mark.
    if len(wide) > _MAX_EXPANSION or (len(wide) > 1 and wide[0] == " "):
        wide = char
    return "".join(" " if c.isspace() else c for c in wide if not _is_hidden(c)).translate(ALWAYS_LATIN)


def _is_hidden(char: str) -> bool:
    if char in _HIDDEN or "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":
        return True
    return char not in _SPACE and unicodedata.category(char) in ("Cc", "Cf")


_FOLDS = _Folds()
_ASCII_SPACES = {ord(char): " " for char in "\t\n\v\f\r"}


def _fold_ascii(text: str) -> tuple[str, NDArray[np.int32]]:
    offsets = np.arange(len(text), dtype=np.int32)
    plain, offsets = _without(text, offsets, [m.span() for m in _DROPPED_ASCII.finditer(text)])
    return plain.translate(_ASCII_SPACES), offsets


def _fold(text: str) -> tuple[str, NDArray[np.int32]]:
    pieces = [_FOLDS[char] for char in text]
    plain = "".join(pieces)
    lengths = np.fromiter(map(len, pieces), dtype=np.int32, count=len(pieces))
    offsets = np.repeat(np.arange(len(text), dtype=np.int32), lengths)
    dropped: list[tuple[int, int]] = []

    def compose(match: re.Match[str]) -> str:
        cluster = match.group()
        composed = unicodedata.normalize("NFC", cluster[: 1 + _MAX_MARKS])[0]
        if _is_mark(composed):  # marks with nothing to stand on
            composed = ""
        dropped.append((match.start() + len(composed), match.end()))
        return composed + cluster[len(composed) :]

    if _CLUSTER.search(plain):
        return _without(_CLUSTER.sub(compose, plain), offsets, dropped)
    return plain, offsets


def _is_mark(char: str) -> bool:
    return unicodedata.combining(char) != 0 or unicodedata.category(char) in ("Mn", "Me")


def _without(
    text: str, offsets: NDArray[np.int32], spans: list[tuple[int, int]]
) -> tuple[str, NDArray[np.int32]]:
    if not spans:
        return text, offsets
    keep = np.ones(len(text), dtype=bool)
    pieces, at = [], 0
    for start, end in spans:
        keep[start:end] = False
        pieces.append(text[at:start])
        at = end
    pieces.append(text[at:])
    return "".join(pieces), offsets[keep]


def _separators(text: str) -> list[tuple[int, int]]:
    """What stands between letters spelled out one by one; wider gaps are the spaces between words."""
    spans: list[tuple[int, int]] = []
    for match in _SPACED.finditer(text):
        gaps = [gap.span() for gap in re.finditer(" +", match.group())]
        least = min(end - start for start, end in gaps)
        spans += [(match.start() + start + (end - start > least), match.start() + end) for start, end in gaps]
    for match in _DOTTED.finditer(text):
        spans += [(at, at + 1) for at in range(match.start() + 1, match.end(), 2)]
    return sorted(spans)


def _repeats(text: str) -> list[tuple[int, int]]:
    """Letters beyond the second of a run, but words of three like ``www``, ``XXX`` and ``III`` stay."""
    return [
        (match.start() + 2, match.end())
        for match in _RUN.finditer(text)
        if match.end() - match.start() > 3
        or text[match.start() - 1 : match.start()].isalnum()
        or text[match.end() : match.end() + 1].isalnum()
    ]


def _one_script(match: re.Match[str]) -> str:
    word = match.group()
    others = _OTHER_LETTER.findall(word)
    latin = _LATIN_LETTER.findall(word) if others else []
    if not latin:
        return word
    to_latin = all(ord(char) in TO_LATIN for char in others)
    to_cyrillic = all("\u0400" <= char <= "\u052f" for char in others) and all(
        ord(char) in TO_CYRILLIC for char in latin
    )
    if to_cyrillic and (not to_latin or len(others) > len(latin)):
        return word.translate(TO_CYRILLIC)
    return word.translate(TO_LATIN) if to_latin else word


def _unleet(text: str) -> str:
    if "$" in text:
        text = _DOLLARS.sub(_letters(text), text)
    if "@" in text:
        text = _AT.sub(_letters(text), text)
    if "!" in text:
        text = _BANG.sub(_letters(text), text)
    return _DIGIT_WORD.sub(_word_without_digits, text)


def _letters(text: str) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        found = match.group()
        before = text[match.start() - 1 : match.start()] if found[0] in _LEET else found[0]
        upper = before.isupper() and not text[match.end() : match.end() + 1].islower()
        letters = "ll" if found == "11" else "".join(_LEET.get(char, char) for char in found)
        if not upper:
            return letters
        return "".join(new.upper() if old in _LEET else new for old, new in zip(found, letters, strict=True))

    return replace


def _word_without_digits(match: re.Match[str]) -> str:
    word = match.group()
    letters = sum(char.isalpha() for char in word)
    if letters < 3 or letters <= len(word) - letters or _NO_LEET.search(word):
        return word
    return _DIGITS.sub(_letters(word), word)
