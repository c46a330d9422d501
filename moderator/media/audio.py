"""Encoded audio or raw samples → mono float32 windows over the whole length, read in bounded blocks."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.errors import MediaError
from moderator.media.containers import missing_bytes
from moderator.media.files import told
from moderator.settings import Limits

_RATES = (1_000, 384_000)
_MAX_CHANNELS = 64
_BLOCK = 1 << 20  # samples over all channels read at once
_SILENCE = 1e-5  # peak, -100 dB
_CANCELLED = 0.25  # a mix this much quieter than its loudest channel has cancelled itself out
_LEAD = 8 * 1152  # frames: eight of MP3's
_SLACK = 0.1  # seconds a header may be wrong by: encoders pad


class SilenceError(MediaError):
    """There is sound by its length, but nothing is heard in any of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """``samples``: float32 ``(n,)`` mono in [-1, 1]. ``rate``: Hz. ``span``: seconds of the whole."""

    samples: NDArray[np.float32]
    rate: int
    span: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """The windows read, the share of the length they cover, and what was wrong on the way, if anything."""

    clips: tuple[Clip, ...]
    coverage: float
    problem: str = ""


def decode_audio(data: bytes, limits: Limits) -> Clips:
    """Decode WAV, MP3, FLAC or OGG. Raises ``MediaError``, or what libsndfile meets in bad data."""
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """Read on without a seek after every block, which costs MP3 its bit reservoir: 29 ms of noise."""

        def seekable(self) -> bool:
            return False

    with Forward(io.BytesIO(data)) as file:
        rate, channels, frames = int(file.samplerate), int(file.channels), int(file.frames)
        check_sound(rate, channels, frames, limits)

        def read(start: int, count: int) -> NDArray[np.float32]:
            if file.tell() != start:
                # the frames an MP3 decoder needs to find its feet again are read and thrown away
                lead = min(start, _LEAD)
                file.seek(start - lead)
                file.read(lead, dtype="float32")
            blocks, left = [], count
            while left > 0:
                block = file.read(min(left, _BLOCK // channels), dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(mono(block))
                left -= len(block)
            return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

        clips = sampled(read, rate, frames, limits)
    missing = missing_bytes(data)
    if missing and not clips.problem:
        return Clips(clips.clips, clips.coverage, f"truncated: {missing:,} bytes of audio are missing")
    return clips


def from_samples(value: Any, limits: Limits) -> Clips:
    """Windows of ``(samples, rate)``: float or integer ``(n,)`` or ``(n, channels)``, rate in Hz."""
    samples, rate = _checked_samples(value, limits)

    def read(start: int, count: int) -> NDArray[np.float32]:
        block = samples[start : start + count]
        if np.issubdtype(block.dtype, np.integer):
            info = np.iinfo(block.dtype)
            middle = 0.0 if info.min < 0 else (info.max + 1) / 2
            block = (block.astype(np.float64) - middle) / (float(info.max) + 1 - middle)
        return mono(block.astype(np.float32).reshape(len(block), -1))

    return sampled(read, rate, len(samples), limits)


def samples_digest(value: Any, limits: Limits) -> str:
    """SHA-256 of type, shape, rate and the raw samples."""
    samples, rate = _checked_samples(value, limits)
    digest = hashlib.sha256(repr((samples.dtype.str, samples.shape, rate)).encode())
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


def _checked_samples(value: Any, limits: Limits) -> tuple[NDArray[Any], int]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise MediaError(f"must be a path, bytes or (samples, rate), got {type(value).__name__}")
    samples, rate = np.asarray(value[0]), value[1]
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise MediaError(f"the rate must be a number of Hz, got {rate!r}")
    if int(rate) != rate:  # also raises for NaN and infinity
        raise MediaError(f"the rate must be a whole number of Hz, got {rate!r}")
    if samples.dtype.kind not in "fiu":
        raise MediaError(f"samples must be float or integer, got {samples.dtype}")
    if samples.ndim not in (1, 2):
        raise MediaError(f"samples must be (n,) or (n, channels), got shape {samples.shape}")
    if samples.nbytes > limits.max_bytes:
        raise MediaError(f"{samples.nbytes:,} bytes, the limit is {limits.max_bytes:,} (max_bytes)")
    channels = samples.shape[1] if samples.ndim == 2 else 1
    check_sound(int(rate), channels, len(samples), limits)
    return samples, int(rate)


def check_sound(rate: int, channels: int, frames: int, limits: Limits) -> None:
    """``MediaError`` if sound of this kind is empty, absurd or beyond the limits."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MediaError(f"{rate} Hz, must be between {_RATES[0]:,} and {_RATES[1]:,}")
    if frames <= 0 or channels == 0:
        raise MediaError("empty: no samples")
    if channels > _MAX_CHANNELS:
        raise MediaError(f"{channels} channels, the limit is {_MAX_CHANNELS}; samples are (n, channels)")
    if frames > limits.max_seconds * rate:
        raise MediaError(
            f"{frames / rate:,.0f} seconds, the limit is {limits.max_seconds:,.0f} (max_seconds)"
        )


def mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, channels)`` → ``(n,)``, mixed. Raises ``MediaError`` for samples that are not finite."""
    if not np.isfinite(block).all():
        raise MediaError("holds NaN or infinite samples")
    if block.shape[1] == 1:
        return block[:, 0]
    mixed: NDArray[np.float32] = block.mean(axis=1, dtype=np.float64).astype(np.float32)
    power = np.square(block, dtype=np.float64).mean(axis=0)
    # Channels in opposite phase silence each other in a mix while both are heard from speakers.
    if np.square(mixed, dtype=np.float64).mean() < _CANCELLED**2 * power.max():
        return np.ascontiguousarray(block[:, int(power.argmax())])
    return mixed


def sampled(read: Callable[[int, int], NDArray[np.float32]], rate: int, frames: int, limits: Limits) -> Clips:
    """Read windows over the whole length with ``read(start, count)``, which gives mono samples.

    A source that ends early or fails gives what came before it and a problem."""
    size = max(1, round(limits.audio_window * rate))
    clips: list[Clip] = []
    covered, problem, loud = 0, "", False
    for start in _starts(frames, size, limits.audio_windows):
        count = min(size, frames - start)
        try:
            samples = read(start, count)
        except Exception as error:  # noqa: BLE001 - decoders raise anything; windows before it still count
            problem = f"from {start / rate:.1f} s: {told(error)}"
            break
        if len(samples):
            peak = float(np.abs(samples).max())
            loud = loud or peak > _SILENCE
            if peak > 1.0:  # float files may hold integers' range; clipping would make them noise
                samples = samples / np.float32(peak)
            clips.append(Clip(samples, rate, (start / rate, (start + len(samples)) / rate)))
            covered += len(samples)
        if len(samples) + _SLACK * rate < count:
            named, found = frames / rate, (start + len(samples)) / rate
            problem = f"the header tells of {named:.2f} s but only {found:.2f} s could be read"
            break
    if clips and not loud and not problem:
        raise SilenceError("empty: silence")
    if not clips:
        raise MediaError(problem or "empty: no samples")
    return Clips(tuple(clips), min(1.0, covered / frames), problem)


def _starts(frames: int, size: int, wanted: int) -> list[int]:
    if frames <= size * wanted:
        return list(range(0, frames, size))
    last = frames - size
    return [index * last // (wanted - 1) for index in range(wanted)] if wanted > 1 else [0]
