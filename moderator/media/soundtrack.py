"""The sound of a video: windows over its whole length, read forwards, gaps in time as silence."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moderator.errors import MediaError
from moderator.media.audio import Clip, SilenceError, check_sound, mono, sampled
from moderator.media.tracks import Found, Track, opened, packets_of, said
from moderator.settings import Limits

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_LEAD = 0.25  # seconds decoded and thrown away where sound is entered in its middle
_JUMP = 0.1  # seconds by which time stamps of sound may be off without meaning a gap
_BATCH = 1 << 20  # samples over all channels mixed at once


def listen(data: bytes, demuxer: str, track: Track, start: Fraction, limits: Limits) -> Found:
    with opened(data, demuxer, limits) as container:
        context: Any = container.streams[track.index].codec_context
        if context is None:
            raise MediaError("no decoder for it")
        rate = int(context.sample_rate or 0)
        total = round((track.end - track.first) * track.base * rate)
        check_sound(rate, int(context.channels or 0), total, limits)
        reader = _Reader(packets_of(container, track, limits), track, rate, total, limits)
        try:
            clips = sampled(reader.read, rate, total, limits)
        except SilenceError:  # usual in videos, and no problem
            heard = limits.audio_windows * round(limits.audio_window * rate)
            return Found(coverage=min(1.0, heard / total))
    shift = float(track.first * track.base - start)
    moved = [Clip(c.samples, c.rate, (c.span[0] + shift, c.span[1] + shift)) for c in clips.clips]
    return Found(clips=moved, coverage=clips.coverage, problems=[clips.problem] if clips.problem else [])


class _Reader:
    """Reads samples of a track from any place on, forwards only; gaps in time are silence."""

    def __init__(
        self,
        packets: Iterator[tuple[int, Packet[Any], Stream]],
        track: Track,
        rate: int,
        total: int,
        limits: Limits,
    ) -> None:
        self._packets = packets
        self._track = track
        self._rate = rate
        # time stamps that all say the same must not let hours of sound pass for a second
        self._left = 2 * total + round(limits.audio_windows * (limits.audio_window + 2) + 10) * rate
        self._waiting: list[tuple[int, NDArray[np.float32]]] = []
        self._fed = -1
        self._next: int | None = None
        self._context: Any = None

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Up to ``count`` mono samples from ``start``; fewer where the track ends."""
        mixed: list[NDArray[np.float32]] = []
        batch: list[NDArray[np.float32]] = []
        position, end = start, start + count

        def mix() -> None:
            if batch:
                mixed.append(mono(np.concatenate(batch)))
                batch.clear()

        while position < end:
            if not self._waiting and not self._fill(start):
                break
            at, block = self._waiting.pop(0)
            if at + len(block) <= position:
                continue
            if at >= end:  # a gap up to the end of the window
                self._waiting.insert(0, (at, block))
                mix()
                mixed.append(np.zeros(end - position, np.float32))
                break
            block = block[max(0, position - at) :]
            at = max(at, position)
            if at > position:
                mix()
                mixed.append(np.zeros(at - position, np.float32))
            if len(block) > end - at:
                self._waiting.insert(0, (end, block[end - at :]))
                block = block[: end - at]
            if batch and (batch[0].shape[1] != block.shape[1] or sum(each.size for each in batch) >= _BATCH):
                mix()
            batch.append(block)
            position = at + len(block)
        mix()
        return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)

    def _fill(self, start: int) -> bool:
        """Decode until there are blocks; packets that end well before ``start`` are passed over."""
        import av

        lead = start - round(_LEAD * self._rate)
        for number, packet, stream in self._packets:
            at = self._sample(self._track.times[number])
            length = round((packet.duration or 0) * self._track.base * self._rate)
            if at + length < lead:
                continue
            self._context = stream.codec_context
            entered = self._fed != number - 1
            if entered and self._fed >= 0:
                self._context.flush_buffers()
            if entered:
                self._next = None
            self._fed = number
            try:
                self._keep(self._context.decode(packet), at)
            except av.FFmpegError as error:
                if at + length < start:  # a decoder that finds its feet
                    continue
                raise MediaError(f"cannot be decoded: {said(error)}") from error
            if self._waiting:
                return True
        if self._context is not None:
            context, self._context = self._context, None
            self._keep(context.decode(None), self._next or 0)
        return bool(self._waiting)

    def _keep(self, frames: list[Any], fallback: int) -> None:
        for frame in frames:
            if frame.sample_rate != self._rate:
                raise MediaError(f"the rate changes from {self._rate} to {frame.sample_rate} Hz")
            block = _floats(frame)
            told = fallback if frame.pts is None else self._sample(frame.pts, frame.time_base)
            at = told if self._next is None else self._next
            if abs(told - at) > _JUMP * self._rate:
                if told < at:
                    raise MediaError(f"time runs backwards at {at / self._rate:.2f} s")
                at = told
            self._next = at + len(block)
            self._left -= len(block)
            if self._left < 0:
                raise MediaError("more sound than its time stamps tell of")
            self._waiting.append((at, block))

    def _sample(self, time: int, base: Fraction | None = None) -> int:
        return round((time * (base or self._track.base) - self._track.first * self._track.base) * self._rate)


def _floats(frame: Any) -> NDArray[np.float32]:
    """A frame of sound of any format as float32 ``(samples, channels)``."""
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
    if np.issubdtype(samples.dtype, np.integer):
        info = np.iinfo(samples.dtype)
        middle = 0.0 if info.min < 0 else (info.max + 1) / 2
        samples = (samples.astype(np.float64) - middle) / (float(info.max) + 1 - middle)
    return np.asarray(samples, dtype=np.float32)
