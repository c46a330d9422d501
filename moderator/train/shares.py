"""How often each source is drawn in training.

By the square root of its size: large sources do not drown small ones, small ones are not worn out. Sources
whose labels are trusted more may be drawn more often than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray


def shares(
    sources: Sequence[str], sizes: Sequence[int], emphasis: Mapping[str, float]
) -> NDArray[np.float64]:
    """Chances ``(S,)`` of the ``sources``. ``emphasis``: name or pattern (``authored_*``) → factor; the first
    that fits counts."""
    factors = [
        next((factor for pattern, factor in emphasis.items() if fnmatchcase(source, pattern)), 1.0)
        for source in sources
    ]
    raw = np.sqrt(sizes) * np.array(factors)
    return raw / raw.sum()  # type: ignore[no-any-return]
