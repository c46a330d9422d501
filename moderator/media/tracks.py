"""The tracks of an encoded video: what a walk over its packets finds, and that walk once more for one track.

The walk decodes nothing. It finds how many frames there really are, when each is shown and where decoding can
begin, and needs no index in the file, which may be missing or lie.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

from moderator.errors import MediaError
from moderator.media.audio import Clip
from moderator.media.containers import ogg_tracks, transport_tracks
from moderator.media.files import told
from moderator.media.image import Frame
from moderator.settings import Limits

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

_EXACT = frozenset(("mov", "avi"))
"""Those that know the length of each track; others are given the length of the whole."""

_MAX_TRACKS = 8
_MAX_PACKETS = 2_000_000
_SLACK, _SLACK_SHARE = 1.0, 0.05  # seconds and share of a length that headers may be wrong by


@dataclass(slots=True)
class Track:
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
class Survey:
    tracks: tuple[Track, ...]
    start: Fraction
    """The second at which the earliest track begins."""
    seconds: float
    problems: tuple[str, ...]


@dataclass(slots=True)
class Found:
    frames: list[Frame] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    coverage: float = 1.0
    problems: list[str] = field(default_factory=list)


def _refuse(*_args: object) -> NoReturn:
    raise MediaError("refers to other files, which are never opened")


def opened(data: bytes, demuxer: str, limits: Limits) -> InputContainer:
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


def surveyed(data: bytes, demuxer: str, limits: Limits) -> Survey:
    """Walk over all packets of all tracks, decoding none."""
    problems: list[str] = []
    tracks: dict[int, Track] = {}
    others: dict[int, float] = {}
    damaged: dict[str, int] = {}
    with opened(data, demuxer, limits) as container:
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
                tracks[stream.index] = Track(stream.index, stream.type, name, base, length, timed)
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
            problems.append(f"cannot be read to its end: {said(error)}")
        told = (container.duration or 0) / 1e6 if demuxer != "mpegts" else 0.0
    problems += [f"{name}: packet {number} is damaged" for name, number in damaged.items()]
    used = [track for track in tracks.values() if track.times]
    problems += [f"{track.name} is empty" for track in tracks.values() if not track.times]
    start = min((track.first * track.base for track in used), default=Fraction(0))
    end = max((track.end * track.base for track in used), default=Fraction(0))
    seconds = float(end - start)
    if used:
        problems += _lies(used, max(told - max(0.0, float(start)), 0.0), max(seconds, *others.values(), 0.0))
    return Survey(tuple(used), start, seconds, tuple(problems))


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


def _lies(tracks: list[Track], told: float, seconds: float) -> list[str]:
    """What headers tell of but the packets do not hold."""
    lengths = [
        (f"{track.name}: ", track.told, float((track.end - track.first) * track.base)) for track in tracks
    ]
    return [
        f"{name}the header tells of {length:.2f} s but only {held:.2f} s could be read"
        for name, length, held in (*lengths, ("", told, seconds))
        if length > held + max(_SLACK, _SLACK_SHARE * length)
    ][:1]


def packets_of(
    container: InputContainer, track: Track, limits: Limits
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


def said(error: Exception) -> str:
    reason = getattr(error, "strerror", None)  # FFmpeg's own words, without the names PyAV adds
    return f"{type(error).__name__}: {reason}" if reason else " ".join(told(error).split())
