"""Encoded video → frames and windows of sound over the whole length, decoded one at a time."""

from __future__ import annotations

from dataclasses import dataclass

from moderator.errors import MediaError
from moderator.media.audio import Clip
from moderator.media.containers import check_index, missing_bytes
from moderator.media.frames import look
from moderator.media.image import Frame
from moderator.media.soundtrack import listen
from moderator.media.tracks import said, surveyed
from moderator.settings import Limits

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
    survey = surveyed(data, demuxer, limits)
    seconds = survey.seconds
    if seconds > limits.max_seconds:
        raise MediaError(f"{seconds:,.0f} seconds, the limit is {limits.max_seconds:,.0f} (max_seconds)")
    frames: list[Frame] = []
    clips: list[Clip] = []
    coverage = 1.0
    problems = list(survey.problems)
    for track in survey.tracks:
        decode = look if track.kind == "video" else listen
        try:
            found = decode(data, demuxer, track, survey.start, limits)
        except Exception as error:  # noqa: BLE001 - decoders raise anything; the other tracks still count
            coverage = 0.0
            problems.append(f"{track.name}: {said(error)}")
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
