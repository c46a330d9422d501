"""What users wrote, made safe to print: nothing in it may steer the terminal or hide from the reader."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import click

from moderator.media.files import joins_emoji

# controls, formatting such as bidi overrides and zero-width characters, surrogates, line separators
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, limit: int | None = None) -> str:
    """``text`` with unsafe characters as escapes, cut after ``limit`` characters of the original."""
    shown = text if limit is None or len(text) <= limit else text[:limit]
    safe = shown if shown.isascii() and shown.isprintable() else "".join(_escaped(shown))
    return safe if len(shown) == len(text) else f"{safe}… ({len(text):,} characters)"


def echo_json(value: Any) -> None:
    """Print ``value`` as JSON in ASCII, which carries every character and steers no terminal."""
    click.echo(json.dumps(value, ensure_ascii=True, indent=2))


def _escaped(text: str) -> Iterator[str]:
    for at, character in enumerate(text):
        if unicodedata.category(character) not in _UNSAFE or joins_emoji(text, at):
            yield character
        else:
            yield character.encode("unicode_escape").decode("ascii")
