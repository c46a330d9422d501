"""Whether a container's outermost boxes promise more bytes than there are, which decoders quietly accept."""

from __future__ import annotations


def missing_bytes(data: bytes) -> int:
    """Bytes that a WAV, AVI, MP4, QuickTime or Matroska file promises beyond the end of the data."""
    if data[:4] == b"RIFF":
        return _missing_sound(data) if data[8:12] == b"WAVE" else _missing_riff(data)
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return _missing_matroska(data)
    if data[4:8] in _BOXES:
        return _missing_boxes(data)
    return 0


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
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end
            return 0
        at += size
    return max(0, at - len(data))


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
