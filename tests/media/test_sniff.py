"""Types come from bytes, whatever the name says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.media.sniff import claimed, sniff
from moderator.types import Modality
from tests.media.files import encoded, quadrants, sound, tone


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_pictures(kind: str) -> None:
    found = sniff(encoded(quadrants(), kind))
    assert (found.modality, found.format) == (Modality.IMAGE, kind)


@pytest.mark.parametrize("kind", ["WAV", "MP3", "FLAC", "OGG"])
def test_sound(kind: str) -> None:
    found = sniff(sound(tone(0.5), kind=kind))
    assert (found.modality, found.format) == (Modality.AUDIO, kind)


def test_sound_behind_an_id3_tag() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + b"\0" * 10
    assert sniff(tag + sound(tone(0.5), kind="MP3")).format == "MP3"
    assert sniff(tag + sound(tone(0.5), kind="FLAC")).format == "FLAC"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "MP4"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "WebM"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x88matroska", "Matroska"),
        (b"RIFF\x10\0\0\0AVI LIST", "AVI"),
        ((b"\x47" + b"\xff" * 187) * 8, "MPEG-TS"),
        ((b"\0\0\0\1\x47" + b"\xff" * 187) * 8, "MPEG-TS"),
    ],
)
def test_video_containers(head: bytes, name: str) -> None:
    found = sniff(head + b"\0" * 64)
    assert (found.modality, found.format) == (Modality.VIDEO, name)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n", "PDF"),
        (b"%PDF-1.4\r1 0 obj\r<< /Type /Catalog >>\rendobj", "PDF"),
        (b"%PDF-2.0 \n1 0 obj", "PDF"),
        (b"{\\rtf1\\ansi {\\b hello}}", "RTF"),
        (b"<svg/>", "SVG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><text>hello</text></svg>', "SVG"),
        (
            b'\xef\xbb\xbf\n<?xml version="1.0"?>\n<!-- a > b -->'
            b'<!DOCTYPE svg [<!ENTITY a "b">]>\n<svg\n>\n<g/>',
            "SVG",
        ),
        (b'<!-- one --> <!-- two -->\n<svg:svg xmlns:svg = "http://www.w3.org/2000/svg">', "SVG"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "M4A"),
        ("hello".encode("utf-16"), "UTF-16"),
        (b"", "nothing known"),
        (b"\0" * 500, "nothing known"),
        (b"\xff" * 500, "nothing known"),
        (np.random.default_rng(0).bytes(500), "nothing known"),
    ],
)
def test_everything_else_is_not_supported(data: bytes, name: str) -> None:
    assert sniff(data).modality is None
    assert sniff(data).format == name


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        "привет".encode(),
        b"\xef\xbb\xbfwith a mark",
        b"nul \x00 inside a longer text",
        b"GIF89a was a picture format",
        b"BM is short for something",
        b"%PDF- is how a PDF begins",
        b"%PDF-1.4 is the version I mean",
        b"%PDF-1.4x",
        b"{\\rtf is how RTF begins",
        b"the <svg> element, as in <svg width='3'>",
        b"<svg is a tag that I like",
        b"<svg> is a tag that I like",
        b"<svgs id='1'>",
        b"<!-- <svg id='1'> --> is commented out",
        b"<html><body><svg id='1'></svg></body></html>",
        b"<!-- " * 10_000,
        b"<!---->" * 9_000 + b"<p>",
        "é".encode() * 100_000,  # a character may straddle the end of the head
    ],
)
def test_text_is_what_decodes(data: bytes) -> None:
    assert sniff(data).modality is Modality.TEXT


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert sniff(data).format


def test_names_claim_by_suffix() -> None:
    assert claimed("a.JPG") is Modality.IMAGE
    assert claimed("a.tar.md") is Modality.TEXT
    assert claimed("a.flac") is Modality.AUDIO
    assert claimed("a.webm") is Modality.VIDEO
    assert claimed("a.exe") is None
    assert claimed("png") is None
