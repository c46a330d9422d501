"""Chinese is known by its characters."""

from __future__ import annotations

import pytest

from moderator.media.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", ""),
        ("plain English", ""),
        ("naïve café", ""),
        ("你好", "zh"),
        ("滾出去", "zh"),
        ("今天用 Python 写了 code，很好玩", "zh"),
        ("He said 你好 to everybody in the whole office", ""),
        ("これは日本語の文です", ""),
        ("한국어 문장", ""),
        ("12:00 👍🏽", ""),
        ("加v 88123456 领红包", "zh"),
    ],
)
def test_language_of(text: str, language: str) -> None:
    assert language_of(text) == language
