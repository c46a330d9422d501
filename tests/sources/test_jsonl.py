"""Every line of a JSON Lines file gives one record, in order, good or bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.settings import Limits
from moderator.sources import Record, open_sources
from moderator.types import Modality


def records(tmp_path: Path, data: bytes, limits: Limits | None = None) -> list[Record]:
    path = tmp_path / "items.jsonl"
    path.write_bytes(data)
    return list(open_sources([path], limits))


def test_all_keys(tmp_path: Path) -> None:
    (record,) = records(
        tmp_path,
        b'{"id": "a", "text": ["one", "two"], "image": "i/p.png", "audio": ["s.wav"], "video": "/v.mp4",'
        b' "context": {"surface": "kids"}, "other": 1}\n',
    )
    assert (record.position, record.id, record.problem) == (0, "a", "")
    assert record.locator == f"{tmp_path}/items.jsonl:1"
    assert record.item is not None
    assert record.item.id == "a"
    assert dict(record.item.context) == {"surface": "kids"}
    assert [(part.modality, part.value) for part in record.item.parts] == [
        (Modality.TEXT, "one"),
        (Modality.TEXT, "two"),
        (Modality.IMAGE, tmp_path / "i/p.png"),
        (Modality.AUDIO, tmp_path / "s.wav"),
        (Modality.VIDEO, Path("/v.mp4")),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "a"', "broken JSON"),
        (b"[1, 2]", "not a JSON object but list"),
        (b"null", "not a JSON object"),
        (b'{"text": 5}', "text: must be a string"),
        (b'{"text": ["a", null]}', "text: must be a string"),
        (b'{"image": 3}', "image: must be a path"),
        (b'{"image": ""}', "image: the path is empty"),
        (b'{"text": "a", "context": []}', "context: must be an object"),
        (b'{"text": "a", "id": 1.5}', "id: must be"),
        (b'{"text": "a", "id": true}', "id: must be"),
        (b'{"text": "a", "text": "b"}', "'text' occurs twice"),
        (b'{"text": "a", "context": {"x": NaN}}', "NaN"),
        (b'{"txet": "a"}', "unknown keys 'txet' (did you mean 'text'?)"),
        (b'{"tekst": "a"}', "unknown keys 'tekst'; parts are"),
        (b'{"text": "a", "images": "i.png"}', "unknown key 'images'; did you mean 'image'?"),
        (b'{"text": "a", "IMAGE ": "i.png"}', "unknown key 'IMAGE '; did you mean 'image'?"),
        (b'{"text": "a", "imgae": "i.png"}', "unknown key 'imgae'; did you mean 'image'?"),
        (b'{"image": "i.png", "Text": "a"}', "unknown key 'Text'; did you mean 'text'?"),
        (b'{"image": "i.png", "tex": "a"}', "unknown key 'tex'; did you mean 'text'?"),
        (b'{"image": "i.png", "text2": "a"}', "unknown key 'text2'; did you mean 'text'?"),
        (b'{"text": "a", "videos": []}', "unknown key 'videos'; did you mean 'video'?"),
        (b'{"text": "a", "aud1o": "s.wav"}', "unknown key 'aud1o'; did you mean 'audio'?"),
        (b'{"text": "a", "contexts": {}}', "unknown key 'contexts'; did you mean 'context'?"),
        (b'{"text": "a", "Context": {}}', "unknown key 'Context'; did you mean 'context'?"),
        (b'{"text": "caf\xe9"}', "not UTF-8"),
        (b"[" * 100_000, "broken JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "broken JSON"),
        (b"\x00", "broken JSON"),
    ],
)
def test_what_cannot_be_read_is_a_record_with_the_reason(tmp_path: Path, line: bytes, words: str) -> None:
    first, bad, last = records(tmp_path, b'{"text": "x"}\n' + line + b'\n{"text": "y"}\n')
    assert words in bad.problem
    assert bad.item is None
    assert bad.id == bad.locator == f"{tmp_path}/items.jsonl:2"
    assert first.item is not None
    assert last.item is not None
    assert [first.position, bad.position, last.position] == [0, 1, 2]


@pytest.mark.parametrize(
    "key",
    [
        "label", "labels", "title", "texture", "text_id", "image_id", "test", "next", "content", "ext",
        "audit", "media", "", "ID", "video_url", "subtext",
    ],
)  # fmt: skip
def test_other_keys_are_ignored(tmp_path: Path, key: str) -> None:
    (record,) = records(tmp_path, json.dumps({"text": "a", key: "b"}).encode())
    assert record.problem == ""


def test_a_misspelt_key_without_a_value_hides_nothing(tmp_path: Path) -> None:
    (record,) = records(tmp_path, b'{"text": "a", "images": null}')
    assert record.problem == ""


def test_odd_but_readable_lines(tmp_path: Path) -> None:
    data = (
        b'\xef\xbb\xbf{"text": "mark"}\r\n'
        b"\n   \r\n"
        b'{"text": "\\ud800", "id": "\\ud800\\u0000\\u200d"}\r\n'
        b'{"id": 7}\n'
        b'{"id": "", "text": null}\n'
        b"{}\n"
        b'{"text": ""}'
    )
    found = records(tmp_path, data)
    assert [record.locator.rsplit(":", 1)[1] for record in found] == ["1", "4", "5", "6", "7", "8"]
    assert [record.problem for record in found] == [""] * 6
    assert [record.id for record in found][:3] == [
        found[0].locator,
        "\\ud800\\x00\u200d",
        "7",
    ]
    assert found[3].id == found[3].locator
    assert [len(record.item.parts) for record in found if record.item] == [1, 1, 0, 0, 0, 1]


def test_an_overlong_line_is_bounded_and_its_neighbours_read(tmp_path: Path) -> None:
    long = b'{"text": "' + b"x" * 5_000_000 + b'"}'
    found = records(tmp_path, b'{"text": "a"}\n' + long + b'\n{"text": "b"}\n' + long, Limits(max_bytes=1000))
    assert [bool(record.problem) for record in found] == [False, True, False, True]
    assert "max_bytes" in found[1].problem


def test_positions_run_through_several_files_and_lines_are_counted(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.JSONL"]
    paths[0].write_text('{"text": "1"}\n{"text": "2"}\n')
    paths[1].write_text('{"text": "3"}\n\n{"text": "4"}')
    sources = open_sources(paths)
    assert [record.position for record in sources] == [0, 1, 2, 3]
    assert [record.position for record in sources] == [0, 1, 2, 3]
    assert sources.total == 5  # a blank line is only known when read


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_give_a_record_per_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    lines = [line.replace(b"\n", b" ") for line in lines]
    path = tmp_path_factory.mktemp("any") / "items.jsonl"
    path.write_bytes(b"\n".join(lines))
    expected = [number for number, line in enumerate(lines, 1) if line.removeprefix(b"\xef\xbb\xbf").strip()]
    found = list(open_sources([path]))
    assert len(found) == len(expected)
    assert all((record.item is None) == bool(record.problem) for record in found)
