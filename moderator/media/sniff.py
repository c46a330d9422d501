"""What bytes are, from the bytes alone; and, apart from that, what a file's name claims it is."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import PurePath

from moderator.types import Modality

HEAD = 64 * 1024
"""How many leading bytes ``sniff`` looks at."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """``modality``: what it can be judged as, ``None`` if not supported. ``format``: its name, for people
    (``PNG``, ``PDF``…; ``nothing known`` if unrecognised)."""

    modality: Modality | None
    format: str


UNKNOWN = Sniffed(None, "nothing known")

_IMAGE, _AUDIO, _VIDEO, _TEXT = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT

_MAGIC: tuple[tuple[bytes, Modality | None, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", _IMAGE, "PNG"),
    (b"\xff\xd8\xff", _IMAGE, "JPEG"),
    (b"GIF87a", _IMAGE, "GIF"),
    (b"GIF89a", _IMAGE, "GIF"),
    (b"II*\x00", _IMAGE, "TIFF"),
    (b"MM\x00*", _IMAGE, "TIFF"),
    (b"II+\x00", _IMAGE, "TIFF"),
    (b"MM\x00+", _IMAGE, "TIFF"),
    (b"fLaC", _AUDIO, "FLAC"),
    (b"%PDF-", None, "PDF"),
    (b"PK\x03\x04", None, "ZIP"),
    (b"PK\x05\x06", None, "ZIP"),
    (b"\x1f\x8b", None, "GZIP"),
    (b"BZh", None, "BZIP2"),
    (b"\xfd7zXZ\x00", None, "XZ"),
    (b"7z\xbc\xaf\x27\x1c", None, "7-Zip"),
    (b"Rar!\x1a\x07", None, "RAR"),
    (b"\x28\xb5\x2f\xfd", None, "Zstandard"),
    (b"\x7fELF", None, "ELF"),
    (b"PAR1", None, "Parquet"),
    (b"SQLite format 3\x00", None, "SQLite"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, "an old Office document"),
    (b"\x00\x00\x01\x00", None, "ICO"),
    (b"8BPS", None, "Photoshop"),
    (b"\x00\x00\x00\x0cjP  ", None, "JPEG 2000"),
    (b"\xff\x0a", None, "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", None, "JPEG XL"),
    (b"FORM", None, "AIFF"),
    (b".snd", None, "AU"),
    (b"#!AMR", None, "AMR"),
)

# Documents that read as text and are none: how their text looks is in fonts, codes and paths. Where they
# begin is strict, since a sentence may begin with "%PDF-" or speak of "<svg>".
_DOCUMENTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"%PDF-[12]\.\d[ \t]*(?:[\r\n]|\Z)"), "PDF"),
    (re.compile(rb"\{\\rtf1"), "RTF"),
    (
        re.compile(
            rb"(?:\xef\xbb\xbf)?"
            rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)*+"
            rb"<(?:[\w.-]+:)?svg(?:\s+[\w:.-]+\s*=|\s*/>|\s*>\s*<)",
            re.DOTALL,
        ),
        "SVG",
    ),
)

_UTF16 = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AUDIO_BRANDS = frozenset((b"M4A ", b"M4B ", b"M4P "))
_BOXES = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
_MAX_CONTROLS = 0.1  # share of control characters above which UTF-8 is binary that happens to decode


def sniff(data: bytes) -> Sniffed:
    """The media type of ``data`` from its first ``HEAD`` bytes. Text is what decodes as UTF-8."""
    head = data[:HEAD]
    found = _binary(head)
    # "GIF89a was a format" is text too: only what does not read as text is taken by its first letters.
    if (found is None or b"\x00" not in head) and is_text(head, whole=len(data) <= HEAD):
        kind = document(head)
        return Sniffed(None, kind) if kind else Sniffed(_TEXT, "text")
    if found is not None:
        return found
    return next((Sniffed(None, name) for mark, name in _UTF16 if head.startswith(mark)), UNKNOWN)


def document(data: bytes) -> str:
    """``PDF``, ``RTF`` or ``SVG`` if that is what text turns out to be, else nothing."""
    head = data[:HEAD]
    return next((name for pattern, name in _DOCUMENTS if pattern.match(head)), "")


def is_text(head: bytes, *, whole: bool) -> bool:
    """Whether ``head`` is UTF-8 (a byte order mark is fine) with few control characters; not if empty.

    ``whole``: nothing follows, so a character cut off at the end is an error.
    """
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
    except UnicodeDecodeError:
        return False
    controls = sum(text.count(chr(code)) for code in (*range(9), *range(14, 32), 127))
    return bool(text) and controls <= len(text) * _MAX_CONTROLS


def _binary(head: bytes) -> Sniffed | None:
    for mark, modality, name in _MAGIC:
        if head.startswith(mark):
            return Sniffed(modality, name)
    for look in (_riff, _base_media, _ogg, _matroska, _bmp, _mpeg_audio, _transport):
        found = look(head)
        if found is not None:
            return found
    return None


def _riff(head: bytes) -> Sniffed | None:
    if head[:4] in (b"RIFF", b"RF64"):
        kinds = {b"WAVE": (_AUDIO, "WAV"), b"WEBP": (_IMAGE, "WEBP"), b"AVI ": (_VIDEO, "AVI")}
        if head[8:12] in kinds:
            return Sniffed(*kinds[head[8:12]])
    return None


def _base_media(head: bytes) -> Sniffed | None:
    """ISO base media files: their brands say whether they are pictures, sound or video."""
    if head[4:8] in _BOXES:
        return Sniffed(_VIDEO, "QuickTime")
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), 512)
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return Sniffed(_IMAGE, "AVIF")
    if head[8:12] in _HEIF_BRANDS:
        return Sniffed(None, "HEIC")
    if head[8:12] in _AUDIO_BRANDS:
        return Sniffed(None, "M4A")
    return Sniffed(_VIDEO, "MP4")


def _ogg(head: bytes) -> Sniffed | None:
    if not head.startswith(b"OggS"):
        return None
    if b"\x80theora" in head[:4096]:
        return Sniffed(_VIDEO, "OGG video")
    return Sniffed(_AUDIO, "OGG")


def _matroska(head: bytes) -> Sniffed | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return Sniffed(_VIDEO, "WebM" if b"webm" in head[:256] else "Matroska")


def _bmp(head: bytes) -> Sniffed | None:
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return Sniffed(_IMAGE, "BMP")
    return None


def _mpeg_audio(head: bytes) -> Sniffed | None:
    if head.startswith(b"ID3") and len(head) >= 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return Sniffed(_AUDIO, "FLAC" if head[10 + size :].startswith(b"fLaC") else "MP3")
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if layer == 1 and version != 1 and bitrate not in (0, 15) and rate != 3:
        return Sniffed(_AUDIO, "MP3")
    return None


def _transport(head: bytes) -> Sniffed | None:
    """MPEG-TS: a sync byte every 188 bytes, or every 192 where a time stamp precedes each packet."""
    for first, step in ((0, 188), (4, 192)):
        places = range(first, min(len(head), first + 8 * step), step)
        if len(places) >= 3 and all(head[at] == 0x47 for at in places):
            return Sniffed(_VIDEO, "MPEG-TS")
    return None


_SUFFIXES = {
    _TEXT: ".txt .text .md",
    _IMAGE: ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .bmp .tif .tiff .avif",
    _AUDIO: ".wav .wave .mp3 .flac .ogg .oga .opus",
    _VIDEO: ".mp4 .m4v .mov .webm .mkv .avi .m2ts .ogv",
}
_CLAIMS = {suffix: modality for modality, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def claimed(name: str | PurePath) -> Modality | None:
    """What a file's name says it holds, by its suffix; ``None`` if it claims nothing supported."""
    return _CLAIMS.get(PurePath(name).suffix.lower())
