"""Directories and single files: what claims to be judgeable is, what is left out is counted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from moderator.errors import SourceError
from moderator.media.decode import decode
from moderator.settings import Limits
from moderator.sources import open_sources
from moderator.types import Modality
from tests.media.files import encoded, quadrants, sound, tone


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "note.txt").write_text("hello")
    (root / "readme.md").write_text("# hello")
    (root / "plain").write_text("no suffix")
    (root / "void.txt").write_bytes(b"")
    (root / "broken.png").write_bytes(b"not a picture")
    (root / "really-sound.jpg").write_bytes(sound(tone(1)))
    (root / "sub" / "picture.bin").write_bytes(encoded(quadrants(), "PNG"))
    (root / "sub" / "deep" / "song.mp3").write_bytes(sound(tone(1), kind="MP3"))
    (root / "sub" / "table.csv").write_text("text\na\n")
    (root / "archive.zip").write_bytes(b"PK\x03\x04\x14\0\0\0\xff\xfe")
    (root / "plain-pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n")
    (root / "drawing.svg").write_text("<?xml version='1.0'?>\n<svg width='3'><path d='M0 0'/></svg>")
    (root / "letter.rtf").write_text("{\\rtf1\\ansi hello}")
    (root / "noise.bin").write_bytes(b"\x81\x82\xff" * 20)
    os.mkfifo(root / "pipe.png")
    (root / "loop").symlink_to(root)
    (root / "link.png").symlink_to(root / "broken.png")
    return root


def test_a_tree(inbox: Path) -> None:
    sources = open_sources([inbox])
    assert sources.total is None
    found = list(sources)
    assert [(record.id, record.item.parts[0].modality) for record in found if record.item] == [
        ("broken.png", Modality.IMAGE),
        ("note.txt", Modality.TEXT),
        ("plain", Modality.TEXT),
        ("readme.md", Modality.TEXT),
        ("really-sound.jpg", Modality.AUDIO),
        ("sub/deep/song.mp3", Modality.AUDIO),
        ("sub/picture.bin", Modality.IMAGE),
        ("void.txt", Modality.TEXT),
    ]
    assert [record.position for record in found] == list(range(8))
    assert dict(sources.skipped.counts) == {
        "symbolic link": 2,
        "not a regular file": 1,
        "table inside a directory; give it by name": 1,
        "ZIP (.zip)": 1,
        "PDF": 1,
        "SVG (.svg)": 1,
        "RTF (.rtf)": 1,
        "unknown type (.bin)": 1,
    }
    assert sources.skipped.samples["ZIP (.zip)"] == ["archive.zip"]
    assert sources.skipped.total == 9


def test_what_a_tree_yields_decodes_or_says_why(inbox: Path) -> None:
    problems = {
        record.id: decode(record.item, Limits()).problems for record in open_sources([inbox]) if record.item
    }
    assert {name: said for name, said in problems.items() if said} == {
        "broken.png": ("image[0]: not an image (bytes look like text)",),
        "void.txt": ("text[0]: empty: no bytes",),
    }


def test_iterating_again_counts_anew(inbox: Path) -> None:
    sources = open_sources([inbox])
    assert len(list(sources)) == len(list(sources)) == 8
    assert sources.skipped.total == 9


def test_odd_names_can_be_written_anywhere(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"new\nline.txt", "emoji 😀.txt".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_text("hello")
    found = list(open_sources([tmp_path]))
    assert len(found) == 3
    for record in found:
        assert record.id.encode("utf-8")
        assert "\n" not in record.id
        assert record.item is not None
        assert decode(record.item, Limits()).problems == ()


def test_a_folder_that_disappears_midway_is_counted(inbox: Path) -> None:
    sources = open_sources([inbox])
    records = iter(sources)
    next(records)
    shutil.rmtree(inbox / "sub")
    rest = [record.id for record in records]
    assert not any(name.startswith("sub/") for name in rest)
    assert sources.skipped.counts["folder cannot be read"] == 1


def test_single_files(inbox: Path) -> None:
    sources = open_sources([inbox / "note.txt", inbox / "sub" / "picture.bin", inbox / "link.png"])
    assert sources.total == 3
    assert [record.item.parts[0].modality for record in sources if record.item] == [
        Modality.TEXT,
        Modality.IMAGE,
        Modality.IMAGE,
    ]
    assert next(iter(sources)).id == str(inbox / "note.txt")


def test_a_link_to_a_directory_given_by_name_is_followed(inbox: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(inbox)
    assert len(list(open_sources([link]))) == 8


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "no such file"),
        ("archive.zip", r"cannot be scanned: ZIP"),
        ("noise.bin", "cannot be scanned: unknown type"),
        ("pipe.png", "neither a regular file"),
    ],
)
def test_what_cannot_be_scanned_is_refused_by_name(inbox: Path, name: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_sources([inbox / name])
