"""Pixels as the network takes them: one size for every image, changed at random when training."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_FILTERS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def resized(image: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    """``(H, W, 3)`` to ``(h, w, 3)``, antialiased. The sides are squeezed, not cropped: harm may be
    anywhere in a picture, so all of it is looked at."""
    height, width = size
    if image.shape[:2] == size:
        return image
    picture = PIL.Image.fromarray(image).resize((width, height), _filter(interpolation), reducing_gap=3.0)
    return np.asarray(picture)


def augmented(image: Pixels, size: tuple[int, int], interpolation: str, rng: np.random.Generator) -> Pixels:
    """At random: crop (to 35 % of the area), flip, light, contrast, colour cast, grey, noise, a hole."""
    height, width = image.shape[:2]
    area = rng.uniform(0.35, 1.0)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    crop_w = min(width, max(1.0, width * np.sqrt(area * ratio)))
    crop_h = min(height, max(1.0, height * np.sqrt(area / ratio)))
    left, top = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    picture = PIL.Image.fromarray(image).resize(
        (size[1], size[0]),
        _filter(interpolation),
        box=(left, top, left + crop_w, top + crop_h),
        reducing_gap=3.0,
    )
    values = np.asarray(picture, dtype=np.float32)  # (h, w, 3)
    if rng.random() < 0.5:
        values = values[:, ::-1]
    if rng.random() < 0.25:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    cast = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    mean = values.mean()
    values = (values - mean) * np.float32(rng.uniform(0.6, 1.4)) + mean * np.float32(rng.uniform(0.6, 1.4))
    values = values * cast
    if rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(2, 12), values.shape).astype(np.float32)
    if rng.random() < 0.3:
        values = _with_hole(values, rng)
    return np.clip(values, 0, 255).astype(np.uint8)


def _with_hole(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random erasing (Zhong et al. 2020): no single detail decides."""
    height, width = values.shape[:2]
    h, w = int(height * rng.uniform(0.1, 0.4)), int(width * rng.uniform(0.1, 0.4))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    holed = values.copy()
    holed[top : top + h, left : left + w] = rng.uniform(0, 255, 3)
    return holed


def _filter(interpolation: str) -> PIL.Image.Resampling:
    return _FILTERS.get(interpolation, PIL.Image.Resampling.BICUBIC)
