"""Texts drawn into pictures as people post them: memes, screenshots, signs.

Fonts, sizes, colours, noise and compression vary, and the words are on plain or
shaded ground or a photograph. The same text and seed give the same picture.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moderator.errors import TrainingError

_MARGIN = 24
"""Pixels around the words."""
_SIZES = (22, 46)
"""Pixels of a line's height, from and to."""
_WIDTHS = (480, 960)
_NOISE = 14.0
"""Standard deviation of the strongest noise, of 255."""
_QUALITY = (40, 95)
"""Of JPEG, from and to."""
_APART = 110.0
"""How much lighter or darker, of 255, words are than what is behind them."""


def fonts_of(names: Mapping[str, Sequence[str]]) -> dict[str, list[Path]]:
    """Language → font files. Raises ``TrainingError`` for those that are not there."""
    found = {lang: [Path(name) for name in files] for lang, files in names.items()}
    if absent := [str(path) for paths in found.values() for path in paths if not path.is_file()]:
        raise TrainingError(
            f"fonts are missing: {', '.join(absent)}; apt-get install fonts-dejavu-core "
            "fonts-wqy-microhei (Debian, Ubuntu)"
        )
    return found


def draw(
    text: str, fonts: Sequence[Path], photographs: Sequence[Path] = (), seed: int = 0
) -> NDArray[np.uint8]:
    """``text`` in one of ``fonts``, on one of ``photographs`` now and then: uint8 ``(H, W, 3)``."""
    digest = hashlib.sha256(f"{seed}:{text}".encode("utf-8", "backslashreplace")).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    font = ImageFont.truetype(str(fonts[int(rng.integers(len(fonts)))]), int(rng.integers(*_SIZES)))
    width = int(rng.integers(*_WIDTHS))
    lines = "\n".join(_wrapped(text, font, width - 2 * _MARGIN))
    space = font.size * float(rng.uniform(0.2, 0.5))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    box = measure.multiline_textbbox((0, 0), lines, font=font, spacing=space, stroke_width=2)
    height = int(box[3]) + 2 * _MARGIN + int(rng.integers(0, 120))
    picture = _behind((width, height), photographs, rng)
    light = float(np.asarray(picture.convert("L"), dtype=np.float32).mean())
    dark = light > 127
    colour = tuple(int(each) for each in _ink(light, rng))
    align = ("left", "center")[rng.integers(2)]
    ImageDraw.Draw(picture).multiline_text(
        (_MARGIN, _MARGIN),
        lines,
        fill=colour,
        font=font,
        spacing=space,
        align=align,
        stroke_width=2 if photographs else int(rng.integers(2)),
        stroke_fill="white" if dark else "black",
    )
    return _worn(picture, rng)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """Lines of at most ``width`` pixels; Chinese may break between any two characters."""
    for paragraph in text.splitlines():
        line = ""
        for piece in _pieces(paragraph):
            if line and font.getlength(line + piece.rstrip()) > width:
                yield line.rstrip()
                line = ""
            line += piece
        if line.strip():
            yield line.rstrip()


def _pieces(paragraph: str) -> Iterator[str]:
    word = ""
    for sign in paragraph:
        if sign >= "\u2e80":
            if word:
                yield word
            word = ""
            yield sign
        else:
            word += sign
            if sign == " ":
                yield word
                word = ""
    if word:
        yield word


def _behind(size: tuple[int, int], photographs: Sequence[Path], rng: np.random.Generator) -> Image.Image:
    kind = rng.integers(3)
    if kind == 0 and photographs:
        with Image.open(photographs[int(rng.integers(len(photographs)))]) as photograph:
            # shown through a veil, as where words are meant to be read
            shown = photograph.convert("RGB").resize(size)
        veil = Image.new("RGB", size, ("black", "white")[rng.integers(2)])
        return Image.blend(shown, veil, float(rng.uniform(0.35, 0.7)))
    light = rng.choice([rng.uniform(190, 256), rng.uniform(0, 70)])
    first = np.clip(light + rng.normal(0, 20, 3), 0, 255)
    if kind == 1:
        second = np.clip(first + rng.normal(0, 30, 3), 0, 255)
        down = np.linspace(0, 1, size[1])[:, None, None]  # (H, 1, 1)
        shaded = np.broadcast_to(first * (1 - down) + second * down, (size[1], size[0], 3))
        return Image.fromarray(shaded.astype(np.uint8))
    return Image.new("RGB", size, tuple(int(each) for each in first))


def _ink(behind: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour far enough from the lightness of what is behind."""
    for _ in range(20):
        colour = rng.uniform(0, 255, 3)
        if abs(float(colour @ (0.299, 0.587, 0.114)) - behind) >= _APART:
            return colour
    return np.full(3, 0.0 if behind > 127 else 255.0)


def _worn(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise, then what JPEG leaves."""
    clean = np.asarray(picture)  # (H, W, 3)
    pixels = clean + rng.normal(0, rng.uniform(0, _NOISE), clean.shape)
    stored = io.BytesIO()
    noisy = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    noisy.save(stored, "JPEG", quality=int(rng.integers(*_QUALITY)))
    with Image.open(stored) as opened:
        return np.array(opened.convert("RGB"))
