"""An item as it was handed in → bounded contents for plugins; whatever is wrong becomes a problem."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from moderator.errors import MediaError
from moderator.media import audio, image, video
from moderator.media.files import printable, read_file, told
from moderator.media.sniff import HEAD, UNKNOWN, document, sniff
from moderator.media.text import normalise
from moderator.media.windows import windows
from moderator.settings import Limits
from moderator.types import Content, Item, Modality, Part, Source


@dataclass(frozen=True, slots=True, eq=False)
class DecodedItem:
    """Everything about an item's parts that judging needs.

    ``contents``: in order of the parts, each naming its part. ``coverage``: ``"audio[0]"`` → share
    looked at, only where below 1. ``digests``: SHA-256 hex per part, ``""`` where it could not be
    read. ``problems``: ``"image[0]: …"``; any problem means the item is not fully judged.
    """

    contents: tuple[Content, ...]
    coverage: Mapping[str, float]
    digests: tuple[str, ...]
    problems: tuple[str, ...]


def decode(item: Item, limits: Limits) -> DecodedItem:
    """Read, check and decode every part of ``item``. Bad content never raises, it becomes a problem."""
    contents: list[Content] = []
    coverage: dict[str, float] = {}
    digests: list[str] = []
    problems: list[str] = []
    ranks: Counter[Modality] = Counter()
    if len(item.parts) > limits.max_parts:
        problems.append(f"{len(item.parts)} parts, the limit is {limits.max_parts} (max_parts)")
    for index, part in enumerate(item.parts[: limits.max_parts]):
        name = f"{part.modality.value}[{ranks[part.modality]}]"
        ranks[part.modality] += 1
        done = _Part(index, limits)
        try:
            _DECODERS[part.modality](done, part)
        except MediaError as error:
            done.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - decoders raise anything, and content must never stop a run
            done.problems.append(f"cannot be decoded: {told(error)}")
        contents += done.contents
        digests.append(done.digest)
        problems += [printable(f"{name}: {problem}") for problem in done.problems]
        if done.coverage < 1.0:
            coverage[name] = done.coverage
    if not item.parts:
        problems.append("no parts")
    digests += [""] * (len(item.parts) - len(digests))
    return DecodedItem(tuple(contents), coverage, tuple(digests), tuple(problems))


@dataclass(slots=True)
class _Part:
    """One part on its way: filled step by step, so that a failure keeps what came before it."""

    index: int
    limits: Limits
    contents: list[Content] = field(default_factory=list)
    coverage: float = 1.0
    digest: str = ""
    problems: list[str] = field(default_factory=list)

    def read(self, part: Part) -> bytes:
        """The encoded bytes of a part given as bytes or path, digested and within limits, not empty."""
        value, limit = part.value, self.limits.max_bytes
        if isinstance(value, Path):
            data = read_file(value, limit)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
        else:
            raise MediaError(f"cannot read a {type(value).__name__} as {part.modality.value}")
        self.digest = hashlib.sha256(data).hexdigest()
        if len(data) > limit:
            raise MediaError(f"{len(data):,} bytes, the limit is {limit:,} (max_bytes)")
        if not data:
            raise MediaError("empty: no bytes")
        return data

    def read_as(self, part: Part, what: str) -> bytes:
        """As ``read``; the bytes must look like the part's modality."""
        data = self.read(part)
        seen = sniff(data)
        if seen.modality is not part.modality:
            raise MediaError(f"not {what} (bytes look like {seen.format})")
        return data


def _text(done: _Part, part: Part) -> None:
    text = part.value if isinstance(part.value, str) else _utf8(done.read(part))
    if isinstance(part.value, str):
        encoded = text.encode("utf-8", "surrogatepass")
        done.digest = hashlib.sha256(encoded).hexdigest()
        if len(encoded) > done.limits.max_bytes:
            limit = done.limits.max_bytes
            raise MediaError(f"{len(encoded):,} bytes of text, the limit is {limit:,} (max_bytes)")
    if kind := document(text[:HEAD].encode("utf-8", "surrogatepass")):
        raise MediaError(f"not text (bytes look like {kind})")
    cut = windows(text, done.limits)
    for start, end in cut.spans:
        piece = text[start:end]
        plain = normalise(piece)
        if plain.text.strip():
            done.contents.append(
                Content(
                    Modality.TEXT,
                    piece,
                    normalised=plain.text,
                    offsets=plain.offsets,
                    part=done.index,
                    span=(float(start), float(end)),
                )
            )
    done.coverage = cut.coverage
    if not done.contents:
        raise MediaError("empty: no visible characters" if text else "empty")


def _utf8(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        seen = sniff(data).format
        raise MediaError(f"not UTF-8 text (byte {error.start}; bytes look like {seen})") from error
    if b"\x00" in data:
        found = sniff(data)
        if found.modality is not Modality.TEXT and found != UNKNOWN:
            raise MediaError(f"not text (bytes look like {found.format})")
    return text


def _image(done: _Part, part: Part) -> None:
    if isinstance(part.value, PIL.Image.Image):
        frames = image.from_pillow(part.value, done.limits)
        done.digest = image.pillow_digest(part.value, done.limits)
    else:
        frames = image.decode_image(done.read_as(part, "an image"), done.limits)
    done.contents = [
        Content(Modality.IMAGE, frame.pixels, part=done.index, span=frame.span) for frame in frames.frames
    ]
    done.coverage = frames.coverage
    _note(done, frames.problem)


def _audio(done: _Part, part: Part) -> None:
    value: Any = part.value
    if isinstance(value, tuple):
        done.digest = audio.samples_digest(value, done.limits)
        clips = audio.from_samples(value, done.limits)
    else:
        clips = audio.decode_audio(done.read_as(part, "audio"), done.limits)
    done.contents = _sounds(done, clips.clips)
    done.coverage = clips.coverage
    _note(done, clips.problem)


def _sounds(done: _Part, clips: Sequence[audio.Clip]) -> list[Content]:
    return [
        Content(Modality.AUDIO, clip.samples, rate=clip.rate, part=done.index, span=clip.span)
        for clip in clips
    ]


def _video(done: _Part, part: Part) -> None:
    data = done.read_as(part, "a video")
    found = video.decode_video(data, sniff(data).format, done.limits)
    done.contents = [
        Content(Modality.IMAGE, frame.pixels, source=Source.FRAME, part=done.index, span=frame.span)
        for frame in found.frames
    ]
    done.contents += _sounds(done, found.clips)
    done.coverage = found.coverage
    done.problems += found.problems


def _note(done: _Part, problem: str) -> None:
    if problem:
        done.problems.append(problem)


_DECODERS = {Modality.TEXT: _text, Modality.IMAGE: _image, Modality.AUDIO: _audio, Modality.VIDEO: _video}
