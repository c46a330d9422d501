"""From characters of the normalised text back to characters of the original."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moderator.types import Content


def to_original(spans: NDArray[np.float32], content: Content) -> NDArray[np.float32]:
    """Move spans ``(T, 2)`` over ``content.normalised`` to spans over ``content.data``."""
    offsets = content.offsets
    if offsets is None or len(offsets) == 0:
        return spans
    starts = spans[:, 0].astype(np.int64)
    ends = spans[:, 1].astype(np.int64)
    # one past the end: the end of the last character is the start of the next one, or of the text
    edges = np.append(offsets, len(content.data))
    return np.stack([edges.take(starts, mode="clip"), edges.take(ends, mode="clip")], axis=1).astype(
        np.float32
    )
