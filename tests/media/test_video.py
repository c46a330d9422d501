"""Videos: what is sampled, when it is shown, and what cannot be looked at, whatever the bytes."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from moderator.media import frames as media_frames
from moderator.media.decode import DecodedItem, decode
from moderator.media.sniff import sniff
from moderator.settings import Limits
from moderator.types import Content, Item, Modality, Source
from tests.media.clips import KINDS, clip, grey, patched, turned
from tests.media.files import quadrants

LIMITS = Limits()


def judge(data: bytes, limits: Limits = LIMITS) -> DecodedItem:
    return decode(Item.of(video=data), limits)


def pictures(done: DecodedItem) -> list[Content]:
    return [content for content in done.contents if content.modality is Modality.IMAGE]


def sounds(done: DecodedItem) -> list[Content]:
    return [content for content in done.contents if content.modality is Modality.AUDIO]


def pixels(content: Content) -> NDArray[Any]:
    assert isinstance(content.data, np.ndarray)
    return content.data


def levels(done: DecodedItem) -> list[float]:
    return [float(pixels(each).mean()) for each in pictures(done)]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_sound_of_every_kind(kind: str) -> None:
    data = clip(kind)
    assert sniff(data).modality is Modality.VIDEO
    done = judge(data)
    assert done.problems == ()
    assert done.coverage == {"video[0]": 0.8}
    assert {content.part for content in done.contents} == {0}
    wanted = [grey(index * 19 // 15, 20) for index in range(16)]
    assert levels(done) == pytest.approx(wanted, abs=5)
    assert all(content.source is Source.FRAME for content in pictures(done))
    starts = [content.span[0] for content in pictures(done)]
    assert starts == sorted(set(starts))
    assert starts[-1] == pytest.approx(1.9, abs=0.2)
    assert all(end == pytest.approx(start + 0.1, abs=0.11) for start, end in (c.span for c in pictures(done)))
    (sound,) = sounds(done)
    assert sound.rate == 48000
    assert sound.span == pytest.approx((0.0, 2.0), abs=0.15)
    heard = pixels(sound)
    spectrum = np.abs(np.fft.rfft(heard[12000:60000]))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(heard[12000:60000] ** 2)) == pytest.approx(0.5 / 2**0.5, abs=0.05)


def test_pictures_or_sound_alone() -> None:
    silent = judge(clip(seconds=0))
    assert (len(pictures(silent)), len(sounds(silent)), silent.problems) == (16, 0, ())
    blind = judge(clip(frames=0))
    assert (len(pictures(blind)), len(sounds(blind)), blind.problems) == (0, 1, ())
    muted = judge(clip(loudness=0.0))
    assert (len(pictures(muted)), len(sounds(muted)), muted.problems) == (16, 0, ())


def test_few_frames_are_all_looked_at() -> None:
    done = judge(clip(frames=3, seconds=0))
    assert (len(done.contents), done.coverage, done.problems) == (3, {}, ())


@pytest.mark.parametrize("kind", ["MP4", "WebM", "Matroska", "AVI", "MPEG-TS"])
def test_long_ones_are_sampled_by_their_key_frames(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip(kind, frames=600, seconds=0, gop=10)
    # with work for 160 of 600 frames only, key frames must have been gone to
    monkeypatch.setattr(media_frames, "_WORK", 160 * 64 * 48 / LIMITS.max_pixels)
    done = judge(data)
    assert done.problems == ()
    assert len(done.contents) == 16
    wanted = [grey(index * 599 // 15 // 10 * 10, 600) for index in range(15)] + [grey(599, 600)]
    assert levels(done) == pytest.approx(wanted, abs=5)
    assert done.contents[-1].span[0] == pytest.approx(59.9, abs=0.2)


def test_too_much_to_decode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_frames, "_WORK", 60 * 64 * 48 / LIMITS.max_pixels)
    done = judge(clip(frames=100, seconds=0, gop=1000))
    assert 0 < len(done.contents) < 16
    assert done.problems == ("video[0]: picture track 0: too much to decode: looked at up to 6.00 s",)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_stand_upright(degrees: int) -> None:
    flat = np.asarray(quadrants())
    data = turned(clip(frames=2, seconds=0, picture=flat), degrees)
    seen = pixels(judge(data).contents[0]).astype(int)
    expected = np.rot90(flat, -degrees // 90).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 12


def test_large_ones_are_scaled_down() -> None:
    done = judge(clip(frames=2, seconds=0, size=(640, 320)), Limits(image_side=100))
    assert pixels(done.contents[0]).shape == (50, 100, 3)


def test_long_sound_is_sampled_over_its_whole_length() -> None:
    limits = Limits(audio_window=1.0, audio_windows=3)
    for kind in ("MP4", "WebM", "AVI", "MPEG-TS"):
        done = judge(clip(kind, frames=200, seconds=20.0), limits)
        assert done.problems == ()
        assert [content.span[0] for content in sounds(done)] == pytest.approx([0, 9.5, 19], abs=0.15)
        for content in sounds(done):
            assert len(pixels(content)) == pytest.approx(48000, abs=50)
            assert np.sqrt(np.mean(pixels(content)[4800:-4800] ** 2)) == pytest.approx(0.5 / 2**0.5, abs=0.05)
        assert done.coverage["video[0]"] == pytest.approx(0.08)  # 16 of 200 frames is less than 3 of 20 s


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(max_bytes=1000), "max_bytes"),
        (Limits(max_seconds=1.0), "2 seconds, the limit is 1 (max_seconds)"),
        (Limits(max_pixels=1000), "(max_pixels)"),
    ],
)
def test_limits(limits: Limits, problem: str) -> None:
    done = judge(clip(), limits)
    assert any(problem in each for each in done.problems)
    assert pictures(done) == []


def test_sound_is_judged_where_pictures_are_not_and_the_other_way_round() -> None:
    data = clip()
    no_sound = judge(data.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    assert len(pictures(no_sound)) == 16
    assert no_sound.problems == ("video[0]: sound track 0: no decoder for it",)
    no_pictures = judge(data.replace(b"avc1", b"zzzz"))
    assert (len(pictures(no_pictures)), len(sounds(no_pictures))) == (0, 1)
    assert no_pictures.problems == ("video[0]: picture track 0: no decoder for it",)
    assert no_pictures.coverage == {"video[0]": 0.0}


def test_every_track_is_looked_at_up_to_a_limit() -> None:
    done = judge(clip(extra_sounds=2))
    assert (len(pictures(done)), len(sounds(done)), done.problems) == (16, 3, ())
    done = judge(clip(extra_sounds=20))
    assert (done.contents, done.problems) == ((), ("video[0]: 22 tracks, the limit is 8",))
    done = judge(clip(extra_sounds=60))
    assert (done.contents, done.problems) == ((), ("video[0]: 62 tracks are too many",))


@pytest.mark.parametrize("kind", ["MP4", "WebM", "Matroska", "AVI", "MPEG-TS"])
def test_a_missing_end_is_a_problem_and_what_came_before_it_is_judged(kind: str) -> None:
    data = clip(kind, options={"movflags": "faststart"} if kind == "MP4" else None)
    done = judge(data[: len(data) * 2 // 3 + 1])
    assert pictures(done)
    assert any("truncated" in problem for problem in done.problems)


def test_an_index_behind_a_missing_end_is_a_problem() -> None:
    done = judge(clip()[:-500])
    assert done.contents == ()
    assert done.problems


def test_a_header_that_tells_of_more() -> None:
    data = clip("Matroska", seconds=0)
    at = data.index(b"\x44\x89\x88") + 3  # duration, in milliseconds
    done = judge(data[:at] + struct.pack(">d", 100_000.0) + data[at + 8 :])
    assert len(pictures(done)) == 16
    assert done.problems == ("video[0]: the header tells of 100.00 s but only 2.00 s could be read",)


def test_a_header_that_tells_of_less_hides_nothing() -> None:
    for box in (b"mvhd", b"mdhd"):
        done = judge(patched(clip(seconds=0), box, 16, 1))
        assert levels(done)[-1] == pytest.approx(grey(19, 20), abs=5)


@pytest.mark.parametrize("count", [3_000_000, 80_000_000, 0xFFFFFFFF])
def test_an_index_that_would_fill_the_memory_is_not_believed(count: int) -> None:
    data = patched(clip(seconds=0), b"stsz", 4, 1, count)
    assert judge(data).problems == (f"video[0]: its index tells of {count:,} frames, the limit is 2,000,000",)


def test_many_edits_and_compressed_indexes_are_not_followed() -> None:
    data = patched(clip(seconds=0), b"elst", 4, 5000)
    assert judge(data).problems == ("video[0]: more than 100 edits",)
    assert judge(data.replace(b"udta", b"cmov")).problems == (
        "video[0]: its index is compressed, which is not read",
    )


def test_huge_dimensions_are_refused_before_they_are_decoded() -> None:
    done = judge(clip(frames=2, seconds=0, size=(1920, 1080)), Limits(max_pixels=1920 * 1079))
    assert done.contents == ()
    assert "max_pixels" in done.problems[0]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 100,
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm" + b"\0" * 64,
        b"RIFF\x10\0\0\0AVI LIST" + b"\0" * 64,
        (b"\x47" + b"\xff" * 187) * 8,
        b"OggS" + b"\0" * 24 + b"\x80theora" + b"\0" * 64,
    ],
)
def test_nothing_inside(data: bytes) -> None:
    assert sniff(data).modality is Modality.VIDEO
    done = judge(data)
    assert done.contents == ()
    assert done.problems


def test_frames_that_fail_to_decode_are_named_by_their_second() -> None:
    data = bytearray(clip("MP4 of old", frames=20, seconds=0, size=(320, 240), picture=_noise()))
    at = data.index(b"mdat") + 4
    middle = at + (len(data) - at) // 2
    data[middle : middle + 4000] = bytes(4000)
    done = judge(bytes(data))
    assert pictures(done)
    assert done.problems
    assert all(problem.startswith("video[0]: picture track 0: ") for problem in done.problems)
    assert any(" s" in problem for problem in done.problems)


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def mutated(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30))):
        at, how = rng.randrange(len(broken)), rng.randrange(5)
        if how == 0:
            broken[at] = rng.randrange(256)
        elif how == 1:  # in a header
            near = rng.randrange(min(1500, len(broken)))
            broken[near if rng.random() < 0.5 else len(broken) - 1 - near] = rng.choice((0, 127, 255))
        elif how == 2:
            length = min(rng.randrange(1, 2000), len(broken) - at)
            broken[at : at + length] = bytes(length)
        elif how == 3:
            broken[at:at] = broken[max(0, at - 500) : at]
        elif len(broken) > 200:
            del broken[max(100, at) :]
    return bytes(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bytes_can_raise_or_vanish(kind: str) -> None:
    rng = random.Random(kind)
    whole = clip(kind, options={"movflags": "faststart"} if kind == "MP4" else None)
    for _ in range(60):
        done = judge(mutated(whole, rng))
        assert done.contents or done.problems
        for content in done.contents:
            assert np.isfinite(pixels(content)).all()
            assert 0 <= content.span[0] < content.span[1]


def test_references_to_other_files_are_not_followed() -> None:
    data = clip(seconds=0)
    at = data.index(b"url ")
    linked = data[: at + 4] + struct.pack(">I", 0) + data[at + 8 :]  # no longer "in this file"
    done = judge(linked)
    assert done.contents or done.problems


def test_tracks_that_begin_late_are_not_overlooked() -> None:
    first, second = clip("MPEG-TS", frames=100, seconds=10.0), bytearray(clip("MPEG-TS", seconds=0))
    assert judge(first + clip("MPEG-TS")).contents
    for at in range(0, len(second), 188):  # pictures in a track of another number
        if second[at + 1] & 0x1F == 1 and second[at + 2] == 0:
            second[at + 2] = 0x77
    done = judge(first * 4 + bytes(second))
    assert "video[0]: has a track that begins late, which is not looked at" in done.problems
    broken = judge(first[: 188 * 20 + 7] + first[188 * 20 :])
    assert "video[0]: its packets are out of step" in broken.problems


def test_ffmpeg_says_nothing_on_stderr() -> None:
    script = (
        "import random\n"
        "from tests.media.clips import clip\n"
        "from tests.media.test_video import judge, mutated\n"
        "rng, data = random.Random(1), clip(gop=5)\n"
        "before = clip('AVI')\n"
        "print('made', flush=True)\n"
        "import os; os.dup2(1, 2)\n"
        "for _ in range(20): judge(mutated(data, rng)); judge(mutated(before, rng))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "made\n"


def test_subtitles_are_said_not_to_be_read() -> None:
    data = clip("Matroska").replace(b"\x83\x81\x02", b"\x83\x81\x11")  # the type of a track
    done = judge(data.replace(b"A_FLAC", b"S_TEXT"))
    assert len(pictures(done)) == 16
    assert "video[0]: has subtitles, which are not read" in done.problems
