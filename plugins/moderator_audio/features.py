"""From samples at any rate to a normalised log-mel spectrogram at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram, Resample

RATE = 16_000
BINS = 64
FRAME = 0.01
"""Seconds from one frame to the next; each looks at 25 ms."""

_HOP = int(RATE * FRAME)
_WINDOW = int(RATE * 0.025)
_FLOOR = 1e-6
_LOUDNESS = 0.1
_SILENCE = 1e-4
"""Root mean square below which a clip is not made any louder: amplified noise is no speech."""


def resampled(samples: torch.Tensor, rate: int) -> torch.Tensor:
    """``(samples,)`` at ``rate`` Hz to 16 kHz, at least one sample long."""
    if samples.numel() == 0:
        samples = samples.new_zeros(1)
    if rate == RATE:
        return samples
    made: torch.Tensor = _resampler(rate)(samples)  # (S',)
    return made


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """16 kHz ``(S,)`` to ``(F, 64)``: one frame each 10 ms, F = 1 + S // 160; zeros for silence.

    Each clip is brought to one loudness, then to mean 0 and a deviation of at most 1 over the clip.
    """
    loudness = samples.square().mean().sqrt().clamp(min=_SILENCE)
    mel: torch.Tensor = _mel()(samples * (_LOUDNESS / loudness))  # (64, F)
    logs = (mel + _FLOOR).log().T  # (F, 64)
    logs = logs - logs.mean()
    return (logs / logs.square().mean().sqrt().clamp(min=1.0)).contiguous()


def augmented(mel: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``(F, 64)`` at random faster or slower, with a longer or shorter vocal tract, noisy, with holes.

    Vocal tract length perturbation (Jaitly & Hinton 2013), SpecAugment (Park et al. 2019).
    """
    frames = mel.shape[0]
    size = (max(1, round(frames * rng.uniform(0.85, 1.18))), round(BINS * rng.uniform(0.88, 1.12)))
    warped = functional.interpolate(mel[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    bins = warped.shape[1]
    warped = (
        warped[:, :BINS] if bins >= BINS else functional.pad(warped, (0, BINS - bins), value=float(mel.min()))
    )
    noise = torch.from_numpy(rng.standard_normal(warped.shape, dtype=np.float32))  # (F', 64)
    warped = warped + noise * float(rng.uniform(0.0, 0.25)) + float(rng.normal(0.0, 0.1))
    for _ in range(2):
        width, start = int(rng.integers(0, 9)), int(rng.integers(0, BINS - 9))
        warped[:, start : start + width] = 0.0
        width, start = int(rng.integers(0, 13)), int(rng.integers(0, max(1, warped.shape[0] - 13)))
        warped[start : start + width] = 0.0
    return warped


@lru_cache(maxsize=16)
def _resampler(rate: int) -> Callable[[torch.Tensor], torch.Tensor]:
    # The kernel grows with the terms of the ratio: 44,101 Hz would take gigabytes. Within 1 in 10⁶ will do.
    ratio = Fraction(rate, RATE).limit_denominator(500)
    resample: Callable[[torch.Tensor], torch.Tensor] = Resample(
        max(1, ratio.numerator), max(1, ratio.denominator)
    )
    return resample


@lru_cache(maxsize=1)
def _mel() -> Callable[[torch.Tensor], torch.Tensor]:
    mel: Callable[[torch.Tensor], torch.Tensor] = MelSpectrogram(
        RATE, n_fft=512, win_length=_WINDOW, hop_length=_HOP, n_mels=BINS, f_min=40.0, pad_mode="constant"
    )
    return mel
