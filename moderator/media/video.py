"""Encoded video → frames and windows of sound over the whole length, decoded one at a time.

A first walk over the packets decodes nothing: it finds how many frames there really are, when each is shown
and where decoding can begin. Each track is then walked once more, and only what leads to the chosen frames
and windows is decoded. Walks need no index in the file, which may be missing or lie.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from moderator.errors import MediaError
from moderator.media.audio import Clip, SilenceError, check_sound, mono, sampled
from moderator.media.containers import check_index, missing_bytes, ogg_tracks, transport_tracks
from moderator.media.files import told
from moderator.media.image import Frame
from moderator.media.pixels import views
from moderator.media.sampling import spread
from moderator.settings import Limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

_DEMUXERS = {
    "MP4": "mov",
    "QuickTime": "mov",
    "WebM": "matroska",
    "Matroska": "matroska",
    "AVI": "avi",
    "MPEG-TS": "mpegts",
    "OGG video": "ogg",
}
"""What ``sniff`` calls a format → the only part of FFmpeg that is tried on it."""
_EXACT = frozenset(("mov", "avi"))
"""Those that know the length of each track; others are given the length of the whole."""

_MAX_TRACKS = 8
_MAX_PACKETS = 2_000_000
_WORK = 130  # frames of ``max_pixels`` decoded on the way to the chosen ones: 4,000 of 1920 x 1080
_MAX_SQUEEZE = 8  # pixels wider or higher than this are taken as square
_SLACK, _SLACK_SHARE = 1.0, 0.05  # seconds and share of a length that headers may be wrong by
_LEAD = 0.25  # seconds decoded and thrown away where sound is entered in its middle
_JUMP = 0.1  # seconds by which time stamps of sound may be off without meaning a gap
_BATCH = 1 << 20  # samples over all channels mixed at once


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Frames and windows of sound, each in order of time within its track; spans are seconds from the start.

    ``coverage``: the smallest share of any track's frames or length that was looked at. ``problems``: what
    could not be looked at, if anything.
    """

    frames: tuple[Frame, ...]
    clips: tuple[Clip, ...]
    coverage: float
    problems: tuple[str, ...]


def decode_video(data: bytes, form: str, limits: Limits) -> Video:
    """Decode ``data``, which ``sniff`` called ``form``. Raises ``MediaError`` if nothing can be looked at, or
    whatever FFmpeg meets in bad data."""
    demuxer = _DEMUXERS[form]
    if demuxer == "mov":
        check_index(data)
    survey = _survey(data, demuxer, limits)
    seconds = survey.seconds
    if seconds > limits.max_seconds:
        raise MediaError(f"{seconds:,.0f} seconds, the limit is {limits.max_seconds:,.0f} (max_seconds)")
    frames: list[Frame] = []
    clips: list[Clip] = []
    coverage = 1.0
    problems = list(survey.problems)
    for track in survey.tracks:
        look = _look if track.kind == "video" else _listen
        try:
            found = look(data, demuxer, track, survey.start, limits)
        except Exception as error:  # noqa: BLE001 - decoders raise anything; the other tracks still count
            coverage = 0.0
            problems.append(f"{track.name}: {_said(error)}")
            continue
        frames += found.frames
        clips += found.clips
        coverage = min(coverage, found.coverage)
        problems += [f"{track.name}: {problem}" for problem in found.problems]
    missing = missing_bytes(data)
    if missing:
        problems.append(f"truncated: {missing:,} bytes are missing")
    if not survey.tracks and not problems:
        raise MediaError("empty: no pictures and no sound")
    return Video(tuple(frames), tuple(clips), coverage, tuple(problems))


@dataclass(slots=True)
class _Track:
    """One track as the walk over its packets found it. Times are ticks of ``base`` seconds."""

    index: int
    kind: str
    name: str
    base: Fraction
    told: float = 0.0
    """Seconds the header tells of, if it does."""
    timed: bool = True
    """Whether packets say when they are shown; else frames are counted as they come out."""
    times: array[int] = field(default_factory=lambda: array("q"))
    """When each packet's frame is shown, in the order of the packets."""
    keys: array[int] = field(default_factory=lambda: array("q"))
    """Packets at which decoding can begin."""
    hidden: set[int] = field(default_factory=set)
    """Packets only decoded for the sake of others: an edit list cuts them off."""
    end: int = 0

    @property
    def first(self) -> int:
        return min(self.times)

    def add(self, packet: Packet[Any]) -> None:
        number = len(self.times)
        at = packet.pts
        if at is None:
            self.timed = False
            at = packet.dts
        if at is None:
            at = self.end if number else 0
        if packet.is_keyframe or not number:
            self.keys.append(number)
        if packet.is_discard:
            self.hidden.add(number)
        self.times.append(at)
        self.end = max(self.end, at + max(packet.duration or 0, 0)) if number else at + (packet.duration or 0)


@dataclass(frozen=True, slots=True)
class _Survey:
    tracks: tuple[_Track, ...]
    start: Fraction
    """The second at which the earliest track begins."""
    seconds: float
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    frames: list[Frame] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    coverage: float = 1.0
    problems: list[str] = field(default_factory=list)


def _refuse(*_args: object) -> NoReturn:
    raise MediaError("refers to other files, which are never opened")


def _open(data: bytes, demuxer: str, limits: Limits) -> InputContainer:
    import av  # takes a while, and most posts have no video

    return av.open(
        io.BytesIO(data),
        "r",
        format=demuxer,
        options=_codec_options(limits),
        metadata_errors="replace",
        io_open=_refuse,
    )


def _codec_options(limits: Limits) -> dict[str, str]:
    # damage is an error: what one decoder hides with grey, another may show
    return {"max_pixels": str(limits.max_pixels), "err_detect": "explode", "threads": "1"}


def _survey(data: bytes, demuxer: str, limits: Limits) -> _Survey:
    """Walk over all packets of all tracks, decoding none."""
    problems: list[str] = []
    tracks: dict[int, _Track] = {}
    others: dict[int, float] = {}
    damaged: dict[str, int] = {}
    with _open(data, demuxer, limits) as container:
        streams = list(container.streams)
        if len(streams) > _MAX_TRACKS * 4:
            raise MediaError(f"{len(streams):,} tracks are too many")
        ranks = {"video": 0, "audio": 0}
        for stream in streams:
            if stream.type in ranks:
                name = f"{'picture' if stream.type == 'video' else 'sound'} track {ranks[stream.type]}"
                ranks[stream.type] += 1
                base = stream.time_base or Fraction(1, 1000)
                length = float((stream.duration or 0) * base) if demuxer in _EXACT else 0.0
                timed = demuxer != "avi"  # knows the order of decoding alone
                tracks[stream.index] = _Track(stream.index, stream.type, name, base, length, timed)
            elif stream.type == "subtitle":
                problems.append("has subtitles, which are not read")
        if len(tracks) > _MAX_TRACKS:
            raise MediaError(f"{len(tracks)} tracks, the limit is {_MAX_TRACKS}")
        problems += _late(data, demuxer, streams)
        count = 0
        try:
            for packet in container.demux():
                if not packet.size:
                    continue
                count += 1
                if count > _MAX_PACKETS:
                    raise MediaError(f"more than {_MAX_PACKETS:,} frames")
                track = tracks.get(packet.stream_index)
                if track is not None:
                    if packet.is_corrupt:
                        damaged.setdefault(track.name, len(track.times))
                    track.add(packet)
                elif packet.pts is not None and packet.time_base:
                    stop = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    others[packet.stream_index] = max(stop, others.get(packet.stream_index, 0.0))
        except MediaError:
            raise
        except Exception as error:  # noqa: BLE001 - demuxers raise anything; what came before it still counts
            problems.append(f"cannot be read to its end: {_said(error)}")
        told = (container.duration or 0) / 1e6 if demuxer != "mpegts" else 0.0
    problems += [f"{name}: packet {number} is damaged" for name, number in damaged.items()]
    used = [track for track in tracks.values() if track.times]
    problems += [f"{track.name} is empty" for track in tracks.values() if not track.times]
    start = min((track.first * track.base for track in used), default=Fraction(0))
    end = max((track.end * track.base for track in used), default=Fraction(0))
    seconds = float(end - start)
    if used:
        problems += _lies(used, max(told - max(0.0, float(start)), 0.0), max(seconds, *others.values(), 0.0))
    return _Survey(tuple(used), start, seconds, tuple(problems))


def _late(data: bytes, demuxer: str, streams: list[Any]) -> list[str]:
    """Tracks that begin after the start of the file, which FFmpeg finds too late to hand them out."""
    try:
        if demuxer == "mpegts" and transport_tracks(data) - {stream.id for stream in streams}:
            return ["has a track that begins late, which is not looked at"]
    except MediaError as error:
        return [str(error)]
    if demuxer == "ogg" and ogg_tracks(data) > len(streams):
        return ["has a track that begins late, which is not looked at"]
    return []


def _lies(tracks: list[_Track], told: float, seconds: float) -> list[str]:
    """What headers tell of but the packets do not hold."""
    lengths = [
        (f"{track.name}: ", track.told, float((track.end - track.first) * track.base)) for track in tracks
    ]
    return [
        f"{name}the header tells of {length:.2f} s but only {held:.2f} s could be read"
        for name, length, held in (*lengths, ("", told, seconds))
        if length > held + max(_SLACK, _SLACK_SHARE * length)
    ][:1]


def _packets(
    container: InputContainer, track: _Track, limits: Limits
) -> Iterator[tuple[int, Packet[Any], Stream]]:
    """The packets of one track, numbered as the survey did; decoding set up."""
    import av.stream

    for stream in container.streams:
        if stream.index != track.index:
            stream.discard = av.stream.Discard.all
    stream = container.streams[track.index]
    if stream.codec_context is None:
        raise MediaError("no decoder for it")
    stream.codec_context.options = _codec_options(limits)
    number = 0
    for packet in container.demux(stream):
        if packet.size and packet.stream_index == track.index:
            if number >= len(track.times):
                break
            yield number, packet, stream
            number += 1


# Pictures


def _targets(track: _Track, wanted: int) -> list[tuple[int, int]]:
    """For each frame to look at, the packet decoding begins at and the time it is shown.

    They are an even choice, first and last included. A chosen frame gives way to the key frame before it
    unless that has been taken already, so that little of a long video has to be decoded.
    """
    open_to_view = [number for number in range(len(track.times)) if number not in track.hidden]
    order = sorted(open_to_view, key=track.times.__getitem__)
    ranks = spread(len(order), wanted)
    targets: list[tuple[int, int]] = []
    for rank in ranks:
        number = order[rank]
        key = track.keys[bisect_right(track.keys, number) - 1]
        taken = bool(targets) and targets[-1][0] >= key
        exact = taken or rank == ranks[-1] or key in track.hidden
        targets.append((max(key, targets[-1][0]) if targets else key, track.times[number if exact else key]))
    return targets


def _look(data: bytes, demuxer: str, track: _Track, start: Fraction, limits: Limits) -> _Found:
    import av

    found = _Found()
    targets = _targets(track, limits.video_frames)
    times = sorted(time for number, time in enumerate(track.times) if number not in track.hidden)
    work, seen, fed, shown = _WORK * limits.max_pixels, 0, -1, 0

    def note(problem: str) -> None:
        if not found.problems:
            found.problems.append(problem)

    def take(frames: list[Any], stream: Any) -> None:
        nonlocal seen, shown
        for frame in frames:
            at = frame.pts if track.timed and frame.pts is not None else times[min(shown, len(times) - 1)]
            shown += 1
            while seen + 1 < len(targets) and at >= targets[seen + 1][1]:
                note(f"the frame at {second(targets[seen][1]):.2f} s is missing")
                seen += 1
            if seen == len(targets) or at < targets[seen][1]:
                continue
            after = bisect_right(times, at)
            end = times[after] if after < len(times) else track.end
            span = (second(at), max(second(end), second(at) + 1e-3))
            if frame.is_corrupt:
                note(f"the frame at {span[0]:.2f} s is damaged")
            found.frames += [Frame(pixels, span) for pixels in _pixels(frame, stream, limits)]
            seen += 1

    def second(time: int) -> float:
        return max(0.0, float(time * track.base - start))

    with _open(data, demuxer, limits) as container:
        last: Any = None
        for number, packet, stream in _packets(container, track, limits):
            if seen == len(targets):
                break
            if number < targets[seen][0]:
                continue
            context: Any = stream.codec_context
            if fed < 0:
                _check_pixels(context.width, context.height, limits)
            elif fed != number - 1:
                context.flush_buffers()
            if fed != number - 1:
                shown = number
            last, fed = stream, number
            work -= max(context.width * context.height, 1)
            if work < 0:
                note(f"too much to decode: looked at up to {second(track.times[number]):.2f} s")
                break
            try:
                take(context.decode(packet), stream)
            except av.FFmpegError as error:  # the next key frame may be fine
                note(f"at {second(track.times[number]):.2f} s: cannot be decoded: {_said(error)}")
        if last is not None and seen < len(targets) and work >= 0:
            try:
                take(last.codec_context.decode(None), last)
            except av.FFmpegError as error:
                note(f"the end cannot be decoded: {_said(error)}")
    if seen < len(targets):
        note(f"the frame at {second(targets[seen][1]):.2f} s could not be decoded")
    found.coverage = min(1.0, len({frame.span for frame in found.frames}) / max(1, len(times)))
    return found


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height == 0:  # FFmpeg forgets sizes it was told to refuse
        raise MediaError(
            f"its frames cannot be decoded, or are of more than {limits.max_pixels:,} pixels (max_pixels)"
        )
    if width * height > limits.max_pixels:
        raise MediaError(f"{width} x {height} pixels, the limit is {limits.max_pixels:,} (max_pixels)")


def _pixels(frame: Any, stream: Any, limits: Limits) -> list[NDArray[np.uint8]]:
    """A frame as it is shown: scaled while it is converted, its pixels square, upright."""
    _check_pixels(frame.width, frame.height, limits)
    ratio = float(stream.sample_aspect_ratio or 1)
    if not 1 / _MAX_SQUEEZE <= ratio <= _MAX_SQUEEZE:
        ratio = 1.0
    width, height = frame.width * max(ratio, 1.0), frame.height / min(ratio, 1.0)
    scale = min(1.0, limits.image_side / max(width, height))
    transparent = any(part.is_alpha for part in frame.format.components)
    small = frame.reformat(
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        format="rgba" if transparent else "rgb24",
        interpolation="BICUBIC",
        threads=1,
    )
    turned = np.rot90(small.to_ndarray(), round(frame.rotation / 90) % 4)
    return views(PIL.Image.fromarray(np.ascontiguousarray(turned)), limits.image_side)


# Sound


def _listen(data: bytes, demuxer: str, track: _Track, start: Fraction, limits: Limits) -> _Found:
    with _open(data, demuxer, limits) as container:
        context: Any = container.streams[track.index].codec_context
        if context is None:
            raise MediaError("no decoder for it")
        rate = int(context.sample_rate or 0)
        total = round((track.end - track.first) * track.base * rate)
        check_sound(rate, int(context.channels or 0), total, limits)
        reader = _Reader(_packets(container, track, limits), track, rate, total, limits)
        try:
            clips = sampled(reader.read, rate, total, limits)
        except SilenceError:  # usual in videos, and no problem
            heard = limits.audio_windows * round(limits.audio_window * rate)
            return _Found(coverage=min(1.0, heard / total))
    shift = float(track.first * track.base - start)
    moved = [Clip(c.samples, c.rate, (c.span[0] + shift, c.span[1] + shift)) for c in clips.clips]
    return _Found(clips=moved, coverage=clips.coverage, problems=[clips.problem] if clips.problem else [])


class _Reader:
    """Reads samples of a track from any place on, forwards only; gaps in time are silence."""

    def __init__(
        self,
        packets: Iterator[tuple[int, Packet[Any], Stream]],
        track: _Track,
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
                raise MediaError(f"cannot be decoded: {_said(error)}") from error
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


def _said(error: Exception) -> str:
    reason = getattr(error, "strerror", None)  # FFmpeg's own words, without the names PyAV adds
    return f"{type(error).__name__}: {reason}" if reason else " ".join(told(error).split())
