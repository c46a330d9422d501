"""Encoded pictures and animations → bounded uint8 frames, nothing trusted that the header says."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from moderator.errors import MediaError
from moderator.media.files import told
from moderator.media.pixels import views
from moderator.media.quiet import quiet
from moderator.media.sampling import spread
from moderator.media.sniff import sniff
from moderator.settings import Limits
from moderator.types import Modality

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""The only Pillow decoders ever tried on foreign bytes."""

# To show a late frame these must decode all before it, so their number times their size is bounded too:
# this many frames of ``max_pixels``.
_SEQUENTIAL = frozenset(("GIF", "PNG", "WEBP"))
_WORK = 50


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """``pixels``: uint8 ``(H, W, 3)`` RGB. ``span``: seconds of the animation, ``(0, 0)`` for a still."""

    pixels: NDArray[np.uint8]
    span: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What could be decoded, the share of the animation it samples, and the problem that ended it, if any.

    Transparent pictures may give several frames of one span (see ``pixels.views``).
    """

    frames: tuple[Frame, ...]
    coverage: float
    problem: str = ""


def decode_image(data: bytes, limits: Limits) -> Frames:
    """Decode ``data`` (one of ``FORMATS``). Raises ``MediaError``, or whatever Pillow meets in bad data."""
    with _bounded(limits), _opened(data) as image:
        _check_size(image, limits)
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (limits.image_side, limits.image_side))
            # The further pictures of an MPO are previews and depth maps that no viewer shows.
            return _still(image, limits)
        return _decode(image, _count(image, data, limits.max_frames), limits)


def from_pillow(image: PIL.Image.Image, limits: Limits) -> Frames:
    """Frames of an image the caller opened; its position in an animation is left where it was."""
    with _bounded(limits):
        _check_size(image, limits)
        total = int(getattr(image, "n_frames", 1))
        if total == 1 or image.format == "MPO":
            return _still(image, limits)
        at = image.tell()
        try:
            return _decode(image, total, limits)
        finally:
            image.seek(at)


def pillow_digest(image: PIL.Image.Image, limits: Limits) -> str:
    """SHA-256 of mode, size, palette and raw pixels of the frames that are looked at."""
    digest = hashlib.sha256()
    with _bounded(limits):
        total = int(getattr(image, "n_frames", 1))
        at = image.tell()
        for index in spread(total, limits.frames) if total > 1 else [at]:
            if index != image.tell():
                image.seek(index)
            _check_size(image, limits)
            palette = image.getpalette() if image.mode in ("P", "PA") else None
            header = (image.mode, image.size, palette, image.info.get("transparency"), total)
            digest.update(repr(header).encode())
            digest.update(image.tobytes())
        if image.tell() != at:
            image.seek(at)
    return digest.hexdigest()


def _opened(data: bytes) -> PIL.Image.Image:
    try:
        return PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError as error:
        seen = sniff(data)
        name = seen.format if seen.modality is Modality.IMAGE else "picture"
        raise MediaError(f"not a readable {name}") from error


@contextmanager
def _bounded(limits: Limits) -> Iterator[None]:
    """Quiet, and ``max_pixels`` is the limit that counts: Pillow looks at its own first.

    Pillow's is process-wide and larger by default; it is only ever raised, where ``max_pixels`` asks for it.
    """
    needed = (limits.max_pixels + 1) // 2  # Pillow refuses what has more than twice its limit
    if PIL.Image.MAX_IMAGE_PIXELS is not None and needed > PIL.Image.MAX_IMAGE_PIXELS:
        PIL.Image.MAX_IMAGE_PIXELS = needed
    with quiet():
        try:
            yield
        except PIL.Image.DecompressionBombError as error:
            raise _too_large(error, limits) from error


def _too_large(error: PIL.Image.DecompressionBombError, limits: Limits) -> MediaError:
    found = re.search(r"\d+", str(error))
    pixels = f"{int(found.group()):,} pixels" if found else "too many pixels"
    return MediaError(f"{pixels}, the limit is {limits.max_pixels:,} (max_pixels)")


def _check_size(image: PIL.Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise MediaError(f"{width} x {height} pixels, the limit is {limits.max_pixels:,} (max_pixels)")
    if width * height == 0:
        raise MediaError("empty: no pixels")


def _still(image: PIL.Image.Image, limits: Limits) -> Frames:
    return Frames(tuple(Frame(pixels) for pixels in views(image, limits.image_side)), 1.0)


def _decode(image: PIL.Image.Image, total: int, limits: Limits) -> Frames:
    if total > limits.max_frames:
        raise MediaError(f"more than {limits.max_frames:,} frames (max_frames)")
    if total == 1:
        return _still(image, limits)
    pixels = image.width * image.height * total
    if image.format in _SEQUENTIAL and pixels > _WORK * limits.max_pixels:
        raise MediaError(f"{total:,} frames of {image.width} x {image.height} pixels are too much to decode")
    wanted = spread(total, limits.frames)
    frames: list[Frame] = []
    seen = 0
    try:
        for span in _visit(image, wanted, limits):
            frames += [Frame(pixels, span) for pixels in views(image, limits.image_side)]
            seen += 1
    except Exception as error:  # decoders raise anything; frames before it still count
        if not frames:
            raise
        if isinstance(error, PIL.Image.DecompressionBombError):
            error = _too_large(error, limits)
        problem = f"frame {image.tell()} of {total} cannot be decoded: {told(error)}"
        return Frames(tuple(frames), seen / total, problem)
    return Frames(tuple(frames), len(wanted) / total)


def _visit(image: PIL.Image.Image, wanted: list[int], limits: Limits) -> Iterator[tuple[float, float]]:
    """Go to each wanted frame, yielding its span in seconds; durations on the way are added up."""
    clock = 0.0
    in_turn = image.format in ("GIF", "PNG")
    for index in range(wanted[-1] + 1) if in_turn else wanted:
        image.seek(index)
        _check_size(image, limits)
        if index in wanted:
            image.load()  # some formats know a frame's time only then
        start = _seconds(image.info.get("timestamp")) if "timestamp" in image.info else clock
        clock = start + _seconds(image.info.get("duration"))
        if index in wanted:
            yield (start, clock)


def _seconds(milliseconds: Any) -> float:
    try:
        value = float(milliseconds) / 1000.0
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if 0.0 <= value < 1e9 else 0.0


def _count(image: PIL.Image.Image, data: bytes, limit: int) -> int:
    """Number of frames, never counting far beyond ``limit``: formats without a count in their header
    would otherwise be walked to the end."""
    if image.format == "GIF":
        return _count_gif(data, limit)
    if image.format == "TIFF":
        return _count_pages(image, limit)
    return int(getattr(image, "n_frames", 1))


def _count_pages(image: PIL.Image.Image, limit: int) -> int:
    count = 1
    try:
        while count <= limit:
            image.seek(count)
            count += 1
    except EOFError:
        pass
    image.seek(0)
    return count


def _count_gif(data: bytes, limit: int) -> int:
    """Image blocks of a GIF; blocks cut off at the end count, so that decoding meets the damage."""
    at = 13 + _table(data, 10)
    count = 0
    while at < len(data) and count <= limit:
        mark = data[at]
        if mark == 0x2C:  # image: position, size, flags, palette, code size, data
            count += 1
            at = _skip_blocks(data, at + 11 + _table(data, at + 9))
        elif mark == 0x21:  # extension
            at = _skip_blocks(data, at + 2)
        elif mark == 0x3B:  # trailer
            break
        else:
            at += 1
    return max(1, count)


def _table(data: bytes, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1
