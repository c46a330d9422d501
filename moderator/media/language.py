"""Which of the languages the model was made for a text is in, by its characters."""

from __future__ import annotations

import re

CHINESE = "zh"

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3041-\u30ff]")
_LETTER = re.compile(r"[^\W\d_]")
_SHARE = 0.3
"""Of the letters that must be Chinese: a Chinese sentence may hold foreign names and links."""


def language_of(text: str) -> str:
    """``zh`` for Chinese, else ``""``."""
    if text.isascii():
        return ""
    han = len(_HAN.findall(text))
    chinese = han > 0 and han >= _SHARE * len(_LETTER.findall(text)) and not _KANA.search(text)
    return CHINESE if chinese else ""
