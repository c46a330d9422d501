"""Spellings that people use to get past filters, made from plain text: for training and for measuring.

What normalisation undoes for certain (zero-width characters, most look-alikes) is here as well, so that both
together can be measured. Every function takes the text and a generator, and changes about half of the words,
since which of them a filter would look for is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from moderator.errors import TrainingError

Evasion = Callable[[str, np.random.Generator], str]

_WORD = re.compile(r"[A-Za-z]{3,}")
_HAN = re.compile("[\u4e00-\u9fff]")
_HAN_PAIR = re.compile("(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])")
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_LOOKALIKE = str.maketrans("aceopxyiACEOPXTHKM", "асеорхуіАСЕОРХТНКМ")
_EMOJI = ("🔥", "💀", "😂", "✨", "🙃", "❤️", "👀", "🤡")
_SHARE = 0.5


def _words(text: str, rng: np.random.Generator, change: Callable[[str], str]) -> str:
    return _WORD.sub(lambda m: change(m.group()) if rng.random() < _SHARE else m.group(), text)


def leetspeak(text: str, rng: np.random.Generator) -> str:
    """``idiot`` → ``1d10t``."""
    return _words(text, rng, lambda word: word.translate(_LEET))


def spacing(text: str, rng: np.random.Generator) -> str:
    """``idiot`` → ``i d i o t``, ``i.d.i.o.t`` or ``id iot``; signs between Chinese characters."""
    mark = " ._-*"[rng.integers(5)]
    if _HAN.search(text):
        return _HAN_PAIR.sub(lambda _: mark if rng.random() < _SHARE else "", text)

    def spaced(word: str) -> str:
        if rng.random() < 0.5:
            return mark.join(word)
        cut = int(rng.integers(1, len(word)))
        return f"{word[:cut]} {word[cut:]}"

    return _words(text, rng, spaced)


def lookalikes(text: str, rng: np.random.Generator) -> str:
    """Latin letters → Cyrillic ones of the same shape."""
    return _words(text, rng, lambda word: word.translate(_LOOKALIKE))


def zero_width(text: str, rng: np.random.Generator) -> str:
    """Invisible characters inside words."""
    if _HAN.search(text):
        return _HAN_PAIR.sub(lambda _: "\u200b" if rng.random() < _SHARE else "", text)
    return _words(text, rng, lambda word: "\u200b".join(word))


def repeats(text: str, rng: np.random.Generator) -> str:
    """``idiot`` → ``idiooooot``."""

    def stretched(word: str) -> str:
        at = int(rng.integers(1, len(word)))
        return word[:at] + word[at] * int(rng.integers(2, 6)) + word[at:]

    return _words(text, rng, stretched)


def typos(text: str, rng: np.random.Generator) -> str:
    """``idiot`` → ``idoit``, ``idot`` or ``id*ot``."""

    def mistaken(word: str) -> str:
        at = int(rng.integers(1, len(word) - 1))
        kind = rng.integers(3)
        if kind == 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return word[:at] + ("*" if kind == 1 else "") + word[at + 1 :]

    return _words(text, rng, mistaken)


def emoji(text: str, rng: np.random.Generator) -> str:
    """Emoji inside words and between them; between characters in Chinese."""

    def one() -> str:
        return _EMOJI[rng.integers(len(_EMOJI))]

    if _HAN.search(text):
        return _HAN_PAIR.sub(lambda _: one() if rng.random() < 0.15 else "", text)
    broken = _WORD.sub(
        lambda m: m.group()[:2] + one() + m.group()[2:] if rng.random() < 0.15 else m.group(), text
    )
    return re.sub(" ", lambda _: f" {one()} " if rng.random() < 0.1 else " ", broken)


def homophones(text: str, rng: np.random.Generator) -> str:
    """A third of the Chinese characters → others of the same sound, or their pinyin."""

    def replaced(match: re.Match[str]) -> str:
        char = match.group()
        if rng.random() >= 1 / 3:
            return char
        sound, alike = _sounding_like(char)
        if not sound or rng.random() < 0.15:
            return sound or char
        return alike[rng.integers(len(alike))] if alike else char

    return _HAN.sub(replaced, text)


EVASIONS: Mapping[str, Evasion] = {
    made.__name__: made
    for made in (leetspeak, spacing, lookalikes, zero_width, repeats, typos, emoji, homophones)
}
_FOR_CHINESE = ("spacing", "zero_width", "emoji", "homophones", "homophones", "homophones")
_FOR_OTHERS = ("leetspeak", "spacing", "lookalikes", "repeats", "typos", "typos", "emoji")


def evaded(text: str, rng: np.random.Generator) -> str:
    """``text`` under one evasion that fits its script, drawn by ``rng``."""
    names = _FOR_CHINESE if _HAN.search(text) else _FOR_OTHERS
    return EVASIONS[names[rng.integers(len(names))]](text, rng)


@lru_cache(maxsize=1)
def _by_sound() -> dict[str, list[str]]:
    """Sound without tone → the common characters (level 1 of GB 2312)."""
    sounds: dict[str, list[str]] = {}
    for row in range(0xB0, 0xD8):
        for cell in range(0xA1, 0xFF):
            char = bytes((row, cell)).decode("gb2312", "ignore")
            if char:
                sounds.setdefault(_sound(char), []).append(char)
    return sounds


def _sounding_like(char: str) -> tuple[str, list[str]]:
    sound = _sound(char)
    return sound, [other for other in _by_sound().get(sound, ()) if other != char]


@lru_cache(maxsize=8192)
def _sound(char: str) -> str:
    try:
        from pypinyin import lazy_pinyin
    except ImportError:
        raise TrainingError(
            "homophones of Chinese characters need pypinyin; pip install 'moderator[train]', or set "
            "text.evasion = 0"
        ) from None
    return "".join(lazy_pinyin(char, errors="ignore"))
