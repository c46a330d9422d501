"""What a container's boxes promise, before a decoder believes them: bytes that are not there, which decoders
quietly accept, and indexes of a few bytes that would fill the memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from moderator.errors import MediaError

_MAX_SAMPLES = 2_000_000
_MAX_EDITS = 100  # each may have all samples looked through


def missing_bytes(data: bytes) -> int:
    """Bytes that a WAV, AVI, MP4, QuickTime, Matroska or MPEG-TS file promises beyond the end of the data."""
    if data[:4] == b"RIFF":
        return _missing_sound(data) if data[8:12] == b"WAVE" else _missing_riff(data)
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return _missing_matroska(data)
    if data[4:8] in _BOXES:
        return _missing_boxes(data)
    step = _transport_step(data)
    return -len(data) % step if step else 0


_BEGINNINGS = frozenset((b"\2", b"\3", b"\6", b"\7"))
_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))


def _missing_sound(data: bytes) -> int:
    """libsndfile quietly believes the file's size instead of the header's. A size of all ones means a live
    recording whose length was not known, which is no lie."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return 0 if size >= 0xFFFFFF00 else max(0, at + 8 + size - len(data))
        at += 8 + size + (size & 1)
    return 0


def _missing_riff(data: bytes) -> int:
    """Large AVI files are several lists of this kind, one behind the other."""
    at = 0
    while at + 8 <= len(data) and data[at : at + 4] == b"RIFF":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size in (0, 0xFFFFFFFF):  # never filled in
            return 0
        at += 8 + size
        if at > len(data):
            return at - len(data)
        at += size & 1
    return 0


def _missing_boxes(data: bytes) -> int:
    end = 0
    for _, start, size in _boxes(data):
        end = start + size
    return max(0, end - len(data))


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of an MP4 or QuickTime file: type, place, size."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end
            size = len(data) - at
        if size < 8:
            return
        yield data[at + 4 : at + 8], at, size
        at += size


def check_index(data: bytes) -> None:
    """``MediaError`` if the index of an MP4 or QuickTime file tells of more than can be.

    FFmpeg writes each sample's place into memory, and one number of four bytes tells how many there are.
    """
    samples = 0
    for kind, at, size in _boxes(data):
        if kind == b"mdat":
            continue
        box = data[at : at + size]
        if b"cmov" in box:
            raise MediaError("its index is compressed, which is not read")
        if any(_number(box, place + 8) > _MAX_EDITS for place in _places(box, b"elst")):
            raise MediaError(f"more than {_MAX_EDITS} edits")
        samples += sum(_number(box, place + 8) for place in _places(box, b"trun"))
        samples += sum(_samples(track, len(data)) for track in box.split(b"trak"))
    if samples > _MAX_SAMPLES:
        raise MediaError(f"its index tells of {samples:,} frames, the limit is {_MAX_SAMPLES:,}")


def _samples(track: bytes, most: int) -> int:
    """How many samples one track tells of; 0 for plain PCM, whose samples are not listed one by one."""
    count = sum(_number(track, place + 12) for kind in (b"stsz", b"stz2") for place in _places(track, kind))
    times = [(_number(track, at + 8), _number(track, at + 16)) for at in _places(track, b"stts")]
    plain = b"soun" in track and b"vide" not in track and times == [(1, 1)]
    return 0 if plain and count <= most else count


def _places(box: bytes, kind: bytes) -> Iterator[int]:
    at = box.find(kind)
    while at >= 0:
        yield at
        at = box.find(kind, at + 1)


def _number(box: bytes, at: int) -> int:
    return int.from_bytes(box[at : at + 4], "big")


def _missing_matroska(data: bytes) -> int:
    at = 0
    while at < len(data):
        marked = _variable(data, at)
        sized = _variable(data, at + marked[1]) if marked else None
        if marked is None or sized is None:
            return 0
        value, width = sized
        if value == (1 << 7 * width) - 1:  # not known: a live recording
            return 0
        at += marked[1] + width + value
    return at - len(data)


def _variable(data: bytes, at: int) -> tuple[int, int] | None:
    """A number of Matroska's and its width in bytes, None where there is none."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if not first or at + width > len(data):
        return None
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), width


def _transport_step(data: bytes) -> int:
    """Bytes from one packet of MPEG-TS to the next: 192 where a time stamp precedes each; 0 if it is none."""
    for first, step in ((0, 188), (4, 192)):
        if len(data) > first + 2 * step and all(data[first + n * step] == 0x47 for n in range(3)):
            return step
    return 0


def transport_tracks(data: bytes) -> set[int]:
    """The numbers of all tracks of pictures and sound in MPEG-TS, wherever they begin.

    Raises ``MediaError`` where packets do not follow each other in step.
    """
    step = _transport_step(data)
    if not step:
        raise MediaError("its packets are out of step")
    packets = np.frombuffer(data, np.uint8, len(data) // step * step).reshape(-1, step)[:, step - 188 :]
    if (packets[:, 0] != 0x47).any():
        raise MediaError("its packets are out of step")
    begins = packets[(packets[:, 1] & 0x40 > 0) & (packets[:, 3] & 0x10 > 0)]
    skipped = np.where(begins[:, 3] & 0x20 > 0, begins[:, 4].astype(np.int64) + 1, 0)
    begins, at = begins[skipped < 180], 4 + skipped[skipped < 180]
    rows = np.arange(len(begins))
    marked = (begins[rows, at] == 0) & (begins[rows, at + 1] == 0) & (begins[rows, at + 2] == 1)
    kinds = begins[rows, at + 3]
    media = marked & ((kinds >= 0xC0) & (kinds <= 0xEF) | np.isin(kinds, (0xBD, 0xFA, 0xFD)))
    numbers = (begins[media, 1].astype(np.int64) & 0x1F) << 8 | begins[media, 2]
    return set(numbers.tolist())


def ogg_tracks(data: bytes) -> int:
    """How many tracks begin in an Ogg file, wherever they do."""
    return sum(
        data[at + 4 : at + 5] == b"\0" and data[at + 5 : at + 6] in _BEGINNINGS
        for at in _places(data, b"OggS")
    )
