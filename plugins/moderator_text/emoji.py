"""Emoji by their names, so that an encoder that lacks them gets something to read: "🐷" → "pig face".

MiniLM's vocabulary turns every emoji into the same unknown piece. The names are Unicode's, which never
change; only characters of Unicode 14 are named, so that every Python gives the same.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from moderator_text.rewritten import Rewritten, Writer

VERSION = 1
"""Part of an encoder's fingerprint: one that reads emoji otherwise is another."""

_EMOJI = re.compile(
    "[\u2600-\u27bf\U0001f300-\U0001f6d7\U0001f6dd-\U0001f6ec\U0001f6f0-\U0001f6fc\U0001f7e0-\U0001f7eb"
    "\U0001f900-\U0001f9ff\U0001fa70-\U0001fa74\U0001fa78-\U0001fa7c\U0001fa80-\U0001fa86\U0001fa90-\U0001faac"
    "\U0001fab0-\U0001faba\U0001fac0-\U0001fac5\U0001fad0-\U0001fad9\U0001fae0-\U0001fae7\U0001faf0-\U0001faf6]"
)
_JOINERS = "\ufe0f\u200d"
"""Between emoji, without a meaning of their own."""
# how a glyph is drawn says nothing of what it means, and "black" and "white" mean something else in a post
_DRAWN = frozenset({"black", "white", "heavy", "symbol", "sign", "emoji"})


def named(text: str) -> Rewritten | None:
    """``text`` with names in place of emoji, one name for a run of the same; None where there are none."""
    if text.isascii() or not _EMOJI.search(text):
        return None
    writer = Writer()
    at = 0
    before = ""
    for match in _EMOJI.finditer(text):
        begin, end = match.span()
        between = text[at:begin].strip(_JOINERS)
        if between:
            before = ""
            writer.copy(text, at, begin)
        if match[0] != before:
            writer.put(_name(match[0]), begin, end)
        before = match[0]
        at = end
    writer.copy(text, at, len(text))
    return writer.done()


@cache
def _name(emoji: str) -> str:
    """Between spaces; only a space for skin tones and the like."""
    name = unicodedata.name(emoji, "").lower()
    if "fitzpatrick" in name:
        return " "
    words = [word for word in name.replace("-", " ").split() if word not in _DRAWN]
    return f" {' '.join(words)} " if words else " "
