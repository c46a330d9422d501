"""One loaded Pillow frame of any mode → uint8 RGB views in which nothing stays hidden."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Transpose

from moderator.errors import MediaError

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_FAINT = 64  # alpha below which a pixel's colour hardly shows on any background
_VISIBLE = 16  # alpha from which it shows on a contrasting one
_CONTRAST = 48  # levels against white below which a pixel may be overlooked there
_HIDDEN_SHARE = 1e-4  # of the pixels


def views(frame: PIL.Image.Image, side: int) -> list[NDArray[np.uint8]]:
    """``frame`` as uint8 ``(H, W, 3)``, upright by its EXIF, longer side at most ``side`` pixels.

    Transparency is laid on white. Where light or faint content would vanish there, a second view on
    black and a third without transparency follow. Raises ``MediaError`` for non-finite pixels.
    """
    frame.load()
    turn = _TURNS.get(_orientation(frame))
    if _has_alpha(frame):
        if frame.mode == "La":  # Pillow converts it to nothing else
            frame = frame.convert("LA")
        pictures = _alpha_views(frame.convert("RGBA"), side)
    else:
        pictures = [_shrunk(_opaque(frame), side)]
    return [np.array(picture.transpose(turn) if turn is not None else picture) for picture in pictures]


def _orientation(frame: PIL.Image.Image) -> int:
    try:
        return int(frame.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - broken EXIF raises anything; the picture itself can be judged
        return 1


def _has_alpha(frame: PIL.Image.Image) -> bool:
    if frame.mode.startswith(("I", "F")):  # wide greys: one transparent level, and no way to RGBA
        return False
    return "A" in frame.getbands() or "a" in frame.getbands() or "transparency" in frame.info


def _opaque(frame: PIL.Image.Image) -> PIL.Image.Image:
    if frame.mode.startswith("I;16"):
        return PIL.Image.fromarray(_to_bytes(np.asarray(frame).astype(np.float64))).convert("RGB")
    if frame.mode in ("I", "F"):
        return PIL.Image.fromarray(_to_bytes(np.asarray(frame, dtype=np.float64))).convert("RGB")
    return frame.convert("RGB")


def _to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey values of any range as bytes: 8 and 16 bits by their full range, others stretched."""
    if not np.isfinite(values).all():
        raise MediaError("holds NaN or infinite pixel values")
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        # Values that all fit one byte would be black at 16 bits, and so hidden.
        low, high = (0.0, 255.0) if high <= 255 else (0.0, 65535.0)
        if high == 255.0 and values.max() <= 1:
            high = 1.0
    return np.rint((values - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)


def _shrunk(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)


def _alpha_views(picture: PIL.Image.Image, side: int) -> list[PIL.Image.Image]:
    # Apart from each other: Pillow would blacken the colours of transparent pixels. Twice the final
    # size keeps thin strokes while bounding the work below.
    alpha = _shrunk(picture.getchannel("A"), 2 * side)
    colours = _shrunk(picture.convert("RGB"), 2 * side)
    if alpha.getextrema()[0] == 255:
        return [_shrunk(colours, side)]
    pictures = [_shrunk(_laid_on(colours, alpha, 255), side)]
    opacity = np.asarray(alpha).astype(np.uint16)
    darkest = np.asarray(colours).min(axis=2).astype(np.uint16)
    overlooked = (opacity >= _VISIBLE) & ((255 - darkest) * opacity < _CONTRAST * 255)
    if overlooked.mean() > _HIDDEN_SHARE:
        pictures.append(_shrunk(_laid_on(colours, alpha, 0), side))
    faint = np.asarray(colours)[opacity < _FAINT]
    if len(faint) and int((faint.max(axis=0) - faint.min(axis=0)).max()) >= _CONTRAST:
        pictures.append(_shrunk(colours, side))
    return pictures


def _laid_on(colours: PIL.Image.Image, alpha: PIL.Image.Image, level: int) -> PIL.Image.Image:
    ground = PIL.Image.new("RGB", colours.size, (level, level, level))
    ground.paste(colours, mask=alpha)
    return ground
