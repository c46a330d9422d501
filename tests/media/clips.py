"""Real clips for tests, encoded with FFmpeg. Frames are of rising grey: the level tells which one it was."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.media.files import tone

RATE = 10
KINDS = {
    "MP4": ("mp4", "libx264", "aac"),
    "MP4 of old": ("mp4", "mpeg4", "mp3"),
    "WebM": ("webm", "libvpx-vp9", "libopus"),
    "Matroska": ("matroska", "libx264", "flac"),
    "AVI": ("avi", "mpeg4", "mp3"),
    "AVI with frames out of order": ("avi", "libx264", "pcm_s16le"),
    "MPEG-TS": ("mpegts", "libx264", "aac"),
    "MPEG-2": ("mpegts", "mpeg2video", "mp2"),
}
"""What people make → container, codec of the pictures, codec of the sound."""


def grey(index: int, count: int) -> int:
    return 20 + 200 * index // count


def clip(
    kind: str = "MP4",
    *,
    frames: int = 20,
    seconds: float = 2.0,
    size: tuple[int, int] = (64, 48),
    gop: int = 10,
    loudness: float = 1.0,
    picture: NDArray[np.uint8] | None = None,
    options: Mapping[str, str] | None = None,
    extra_sounds: int = 0,
) -> bytes:
    """``frames`` pictures, ten a second (``picture`` instead of grey), and ``seconds`` of a tone."""
    container, pictures, sounds = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with av.open(str(path), "w", format=container, options=dict(options or {})) as out:
            film: Any = out.add_stream(pictures, rate=RATE) if frames else None
            voices: list[Any] = [out.add_stream(sounds, rate=48000) for _ in range(extra_sounds)]
            if seconds:
                voices.append(out.add_stream(sounds, rate=48000))
            for voice in voices:
                voice.layout = "mono"
            if film is not None:
                film.width, film.height = size
                film.pix_fmt = "yuv420p"
                film.codec_context.gop_size = gop
            samples = tone(seconds, 48000) * np.float32(loudness)
            sung = 0
            for index in range(max(frames, round(seconds * RATE))):
                if index < frames:
                    level = np.full((size[1], size[0], 3), grey(index, frames), np.uint8)
                    frame = av.VideoFrame.from_ndarray(level if picture is None else picture, format="rgb24")
                    frame.pts = index
                    out.mux(film.encode(frame))
                while sung < min(len(samples), (index + 1) * 48000 // RATE):
                    for voice in voices:
                        out.mux(voice.encode(_sound(samples, sung)))
                    sung += 1024
            for track in [*([film] if film is not None else []), *voices]:
                out.mux(track.encode(None))
        return path.read_bytes()


def _sound(samples: NDArray[np.float32], start: int) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
    made.sample_rate, made.pts = 48000, start
    return made


def turned(data: bytes, degrees: int) -> bytes:
    """An MP4 with a display matrix that turns its pictures clockwise."""
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (each * 65536 for each in matrix)
    at = data.index(b"tkhd") + 4 + 40
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


def patched(data: bytes, box: bytes, offset: int, *values: int) -> bytes:
    """``values`` of 4 bytes written ``offset`` bytes behind the type of the first ``box``."""
    at = data.index(box) + 4 + offset
    made = struct.pack(f">{len(values)}I", *values)
    return data[:at] + made + data[at + len(made) :]
