"""Samples as recognisers want them: at one rate, in windows that end in a pause, equally loud."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

WINDOW: Final = 30.0
"""Seconds a recogniser is given at most: what Whisper was made for."""
_SEARCHED: Final = 5.0
"""Seconds at the end of a window in which the pause is looked for where it is cut."""
_PAUSE: Final = 0.05
_SHORTEST: Final = 0.1
"""Seconds a window must have: nothing can be said in less."""
_SILENCE: Final = 1e-5
"""Peak up to which a window is silent, as when sounds are decoded."""
_PEAK: Final = 0.9


def at_rate(samples: Samples, rate: int, wanted: int) -> Samples:
    """``(S,)`` at ``rate`` Hz to ``wanted`` Hz."""
    if rate == wanted or not len(samples):
        return samples
    import torch
    from torchaudio.functional import resample

    # The kernel grows with the terms of the ratio: 44,101 Hz would take gigabytes. Within 1 in 10⁶ will do.
    ratio = Fraction(rate, wanted).limit_denominator(500)
    given = torch.from_numpy(np.array(samples))  # a copy: what is given may be read-only
    made: Samples = resample(given, max(1, ratio.numerator), max(1, ratio.denominator)).numpy()
    return made


def windows(samples: Samples, rate: int) -> Iterator[Samples]:
    """All of ``samples``, cut where it is quietest so that no word is cut in two."""
    size, searched, pause = (round(seconds * rate) for seconds in (WINDOW, _SEARCHED, _PAUSE))
    start = 0
    while len(samples) - start > size:
        tail = samples[start + size - searched : start + size]
        frames = tail[: len(tail) // pause * pause].reshape(-1, pause)
        quietest = int(np.square(frames, dtype=np.float64).sum(axis=1).argmin())
        end = start + size - searched + quietest * pause + pause // 2
        yield samples[start:end]
        start = end
    yield samples[start:]


def levelled(window: Samples, rate: int) -> Samples | None:
    """The window at one loudness, so that nothing is missed for being quiet; None if there can be no word."""
    peak = float(np.abs(window).max(initial=0.0))
    if peak <= _SILENCE or len(window) < _SHORTEST * rate:
        return None
    return window * np.float32(_PEAK / peak)
