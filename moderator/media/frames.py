"""Frames of a video over its whole length: only what leads to the chosen ones is decoded."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from moderator.errors import MediaError
from moderator.media.image import Frame
from moderator.media.pixels import views
from moderator.media.sampling import spread
from moderator.media.tracks import Found, Track, opened, packets_of, said
from moderator.settings import Limits

_WORK = 130  # frames of ``max_pixels`` decoded on the way to the chosen ones: 4,000 of 1920 x 1080
_MAX_SQUEEZE = 8  # pixels wider or higher than this are taken as square


def _targets(track: Track, wanted: int) -> list[tuple[int, int]]:
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


def look(data: bytes, demuxer: str, track: Track, start: Fraction, limits: Limits) -> Found:
    import av

    found = Found()
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

    with opened(data, demuxer, limits) as container:
        last: Any = None
        for number, packet, stream in packets_of(container, track, limits):
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
                note(f"at {second(track.times[number]):.2f} s: cannot be decoded: {said(error)}")
        if last is not None and seen < len(targets) and work >= 0:
            try:
                take(last.codec_context.decode(None), last)
            except av.FFmpegError as error:
                note(f"the end cannot be decoded: {said(error)}")
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
