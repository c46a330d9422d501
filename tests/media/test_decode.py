"""A whole item: contents and digests where it can be judged, a named problem wherever it cannot."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderator.media.decode import DecodedItem, decode
from moderator.settings import Limits
from moderator.types import Item, Modality
from tests.media.files import animation, encoded, lying_wav, png_bomb, quadrants, sound, tone, wav

LIMITS = Limits()
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 100


def judge(limits: Limits = LIMITS, **parts: Any) -> DecodedItem:
    return decode(Item.of(id="x", **parts), limits)


def test_a_post_of_everything(tmp_path: Path) -> None:
    picture = tmp_path / "picture.dat"
    picture.write_bytes(encoded(quadrants(), "PNG"))
    voice = sound(tone(1))
    done = judge(text=["one", "twо"], image=picture, audio=voice)
    assert done.problems == ()
    assert done.coverage == {}
    assert [(content.modality, content.part) for content in done.contents] == [
        (Modality.TEXT, 0),
        (Modality.TEXT, 1),
        (Modality.IMAGE, 2),
        (Modality.AUDIO, 3),
    ]
    second = done.contents[1]
    assert (second.data, second.normalised, second.span) == ("twо", "two", (0.0, 3.0))
    assert second.offsets is not None
    assert second.offsets.tolist() == [0, 1, 2]
    assert done.contents[3].rate == 8000
    assert done.digests == (
        hashlib.sha256(b"one").hexdigest(),
        hashlib.sha256("twо".encode()).hexdigest(),
        hashlib.sha256(picture.read_bytes()).hexdigest(),
        hashlib.sha256(voice).hexdigest(),
    )


def test_long_text_comes_in_windows_of_the_original() -> None:
    text = "".join(f"sentence {number}. " for number in range(400))
    done = judge(text=text)
    assert len(done.contents) > 3
    for content in done.contents:
        start, end = (int(value) for value in content.span)
        assert content.data == text[start:end]
    assert done.coverage == {}


def test_sampling_is_recorded_as_coverage_not_as_a_problem() -> None:
    limits = Limits(text_windows=2, audio_window=1.0, audio_windows=2, frames=2)
    done = judge(
        limits,
        text=["short", "long " * 2000],
        image=animation("GIF", 10),
        audio=sound(tone(10)),
    )
    assert done.problems == ()
    assert done.coverage == pytest.approx({"text[1]": 0.16, "image[0]": 0.2, "audio[0]": 0.2}, abs=0.01)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({}, "no parts"),
        ({"text": ""}, "text[0]: empty"),
        ({"text": " \n\u200b\u2060\ufeff"}, "text[0]: empty"),
        ({"text": b""}, "text[0]: empty"),
        ({"text": ["fine", "\x00\x00"]}, "text[1]: empty"),
        ({"text": b"\xff\xfeh\0i\0"}, "text[0]: not UTF-8 text (byte 0; bytes look like UTF-16)"),
        ({"text": b"caf\xe9"}, "text[0]: not UTF-8 text (byte 3"),
        ({"text": b"PK\x03\x04\x00\x00"}, "text[0]: not text (bytes look like ZIP)"),
        ({"text": 5}, "text[0]: cannot read a int as text"),
        ({"image": b""}, "image[0]: empty"),
        ({"image": b"%PDF-1.4 \xff"}, "image[0]: not an image (bytes look like PDF)"),
        ({"image": b"just words"}, "image[0]: not an image (bytes look like text)"),
        ({"image": sound(tone(1))}, "image[0]: not an image (bytes look like WAV)"),
        ({"image": png_bomb(60_000, 60_000)}, "image[0]: "),
        ({"image": encoded(quadrants(), "PNG")[:60]}, "image[0]: "),
        ({"image": object()}, "image[0]: cannot read a object as image"),
        ({"audio": encoded(quadrants(), "PNG")}, "audio[0]: not audio (bytes look like PNG)"),
        ({"audio": sound(np.zeros(0, np.float32))}, "audio[0]: empty"),
        ({"audio": (np.full(10, np.nan), 8000)}, "audio[0]: "),
        ({"audio": (tone(1), 0)}, "audio[0]: 0 Hz"),
        ({"video": MP4}, "video[0]: cannot be decoded: InvalidDataError"),
        ({"video": encoded(quadrants(), "GIF")}, "video[0]: not a video (bytes look like GIF)"),
    ],
)
def test_what_cannot_be_judged_is_named(parts: dict[str, Any], problem: str) -> None:
    done = judge(**parts)
    assert len(done.problems) == 1
    assert done.problems[0].startswith(problem)
    assert len(done.digests) == len(Item.of(**parts).parts)


def test_a_problem_leaves_the_other_parts_alone() -> None:
    done = judge(text="fine", image=[b"broken", encoded(quadrants(), "PNG")])
    assert [content.part for content in done.contents] == [0, 2]
    assert len(done.problems) == 1
    assert done.problems[0].startswith("image[0]")


def test_half_a_sound_is_judged_and_said_to_be_half() -> None:
    data = wav((tone(1) * 32767).astype(np.int16))
    done = judge(audio=lying_wav(data, 5 * len(data)))
    assert len(done.contents) == 1
    assert "missing" in done.problems[0]


def test_text_in_bytes_and_files(tmp_path: Path) -> None:
    path = tmp_path / "post.txt"
    path.write_bytes(b"\xef\xbb\xbfhello")
    for value in (b"\xef\xbb\xbfhello", path):
        done = judge(text=value)
        assert done.contents[0].data == "hello"
        assert done.digests == (hashlib.sha256(b"\xef\xbb\xbfhello").hexdigest(),)


def test_lone_surrogates_are_judged_and_digested() -> None:
    done = judge(text="a\ud800b")
    assert done.problems == ()
    assert done.contents[0].normalised == "a\ufffdb"
    assert done.digests == (hashlib.sha256("a\ud800b".encode("utf-8", "surrogatepass")).hexdigest(),)


def test_byte_limits_hold_for_every_part(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(encoded(quadrants(), "PNG"))
    limits = Limits(max_bytes=50)
    done = judge(limits, text="x" * 51, image=[path, path.read_bytes()], audio=sound(tone(1)))
    assert len(done.problems) == 4
    assert all("max_bytes" in problem for problem in done.problems)
    assert done.contents == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    paths = [tmp_path / "missing.png", tmp_path, pipe, loop, Path("/dev/zero"), Path("a\0b"), Path("\ud800")]
    done = judge(image=paths)
    assert len(done.problems) == len(paths)
    assert done.digests == ("",) * len(paths)
    for problem, words in zip(
        done.problems[:3], ("no such file", "not a regular", "not a regular"), strict=True
    ):
        assert words in problem
    for problem in done.problems:
        problem.encode("utf-8")


def test_pillow_images_and_arrays() -> None:
    image = quadrants()
    done = judge(image=image, audio=(tone(1), 8000))
    assert done.problems == ()
    assert isinstance(done.contents[0].data, np.ndarray)
    assert done.contents[0].data.shape == (48, 64, 3)
    assert all(len(digest) == 64 for digest in done.digests)
    assert done.digests == judge(image=image.copy(), audio=(tone(1), 8000)).digests
    assert done.digests[0] != judge(image=image.rotate(90)).digests[0]


def test_a_closed_pillow_image_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quadrants(), "PNG"))
    with Image.open(path) as image:
        pass
    assert judge(image=image).problems


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF1234WAVE", b"fLaC", b"OggS", b"II*\0"]),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_can_raise(body: bytes, head: bytes) -> None:
    data = head + body
    for parts in ({"text": data}, {"image": data}, {"audio": data}, {"video": data}):
        done = decode(Item.of(**parts), LIMITS)  # type: ignore[arg-type]
        assert done.contents or done.problems


def test_a_corrupt_picture_has_a_reason_without_an_address() -> None:
    assert judge(image=b"\x89PNG\r\n\x1a\n\0\0\0\0JUNK").problems == ("image[0]: not a readable PNG",)


def test_objects_in_reasons_have_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes, limits: Limits) -> Any:
        raise OSError(f"cannot seek in {io.BytesIO(data)!r}")

    monkeypatch.setattr("moderator.media.image.decode_image", fail)
    assert judge(image=encoded(quadrants(), "PNG")).problems == (
        "image[0]: cannot be decoded: OSError: cannot seek in <_io.BytesIO object>",
    )


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"%PDF-1.4\n1 0 obj", "PDF"), (b"{\\rtf1 hello}", "RTF"), (b"<svg width='3'>", "SVG")],
)
def test_documents_are_not_text(tmp_path: Path, data: bytes, kind: str) -> None:
    file = tmp_path / "document.txt"
    file.write_bytes(data)
    for given_as in (data, data.decode(), file):
        done = judge(text=given_as)
        assert done.contents == ()
        assert done.problems == (f"text[0]: not text (bytes look like {kind})",)
        assert done.digests == (hashlib.sha256(data).hexdigest(),)
    assert judge(image=data).problems == (f"image[0]: not an image (bytes look like {kind})",)


@pytest.mark.parametrize(
    "given_as", ["https://example.org/a.png", "s3://bucket/a.png", "data:image/png;base64," + "A" * 9000]
)
def test_a_url_is_no_file_and_the_reason_says_so(tmp_path: Path, given_as: str) -> None:
    for path in (Path(given_as), tmp_path / given_as):
        (problem,) = judge(image=path).problems
        assert problem.endswith("; parts are files, not URLs: download it, and give the path of the file")


@pytest.mark.parametrize("name", ["gone.png", "http/gone.png", "a:b/gone.png", "12:30.png"])
def test_a_missing_file_is_not_called_a_url(tmp_path: Path, name: str) -> None:
    assert judge(image=tmp_path / name).problems == (f"image[0]: {tmp_path / name}: no such file",)


def test_a_joined_emoji_in_a_name_is_shown_as_it_is(tmp_path: Path) -> None:
    for name, shown in (("👩\u200d🚀.png", "👩\u200d🚀.png"), ("a\u200db\u202e.png", "a\\u200db\\u202e.png")):
        assert judge(image=tmp_path / name).problems == (f"image[0]: {tmp_path}/{shown}: no such file",)
