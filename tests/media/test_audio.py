"""Sound of every format is read in windows; headers are not believed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from moderator.errors import MediaError
from moderator.media.audio import decode_audio, from_samples, samples_digest
from moderator.settings import Limits
from tests.media.files import lying_wav, sound, tone, wav

LIMITS = Limits()
SHORT = Limits(audio_window=1.0, audio_windows=4)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "PCM_U8"),
        ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
    ],
)  # fmt: skip
def test_every_format(kind: str, subtype: str) -> None:
    done = decode_audio(sound(tone(2.5), kind=kind, subtype=subtype), SHORT)
    assert done.problem == ""
    assert done.coverage == 1.0
    assert all(clip.samples.dtype == np.float32 and clip.samples.ndim == 1 for clip in done.clips)
    assert [round(clip.span[0], 3) for clip in done.clips[:3]] == [0.0, 1.0, 2.0]
    assert done.clips[-1].span[1] == pytest.approx(2.5, abs=0.15)
    assert all(clip.rate == 8000 for clip in done.clips)
    assert np.abs(done.clips[1].samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_long_sound_is_sampled_over_its_whole_length(kind: str) -> None:
    loudness = np.repeat(np.linspace(0.1, 0.9, 20), 8000).astype(np.float32)
    done = decode_audio(sound(tone(20) * 2 * loudness, kind=kind), SHORT)
    assert done.problem == ""
    assert len(done.clips) == 4
    assert done.coverage == pytest.approx(0.2, abs=0.01)
    assert done.clips[0].span[0] == 0.0
    assert done.clips[-1].span[1] == pytest.approx(20.0, abs=0.15)
    peaks = [float(np.abs(clip.samples).max()) for clip in done.clips]
    assert peaks == sorted(peaks)
    assert peaks[-1] == pytest.approx(0.9, abs=0.15)


def test_channels_are_mixed() -> None:
    left, right = tone(1), tone(1, hertz=1000)
    done = decode_audio(sound(np.stack([left, right], axis=1), subtype="FLOAT"), LIMITS)
    assert np.allclose(done.clips[0].samples, (left + right) / 2, atol=1e-6)


def test_opposite_channels_do_not_silence_each_other() -> None:
    done = decode_audio(sound(np.stack([tone(1), -tone(1)], axis=1), subtype="FLOAT"), LIMITS)
    assert np.abs(done.clips[0].samples).max() > 0.4


def test_samples_beyond_full_scale_are_scaled_not_clipped() -> None:
    done = decode_audio(sound(tone(1) * 60_000, subtype="FLOAT"), LIMITS)
    assert np.abs(done.clips[0].samples).max() == pytest.approx(1.0)
    assert np.corrcoef(done.clips[0].samples, tone(1))[0, 1] > 0.999


def test_wav_header_that_promises_too_much() -> None:
    data = wav((tone(1) * 32767).astype(np.int16))
    done = decode_audio(lying_wav(data, 10 * len(data)), LIMITS)
    assert len(done.clips) == 1
    assert "missing" in done.problem


def test_wav_of_unknown_length_is_fine() -> None:
    data = wav((tone(1) * 32767).astype(np.int16))
    done = decode_audio(lying_wav(data, 0xFFFFFFFF), LIMITS)
    assert done.problem == ""
    assert done.clips[0].span == pytest.approx((0.0, 1.0), abs=0.01)


def test_wav_header_that_admits_nothing_is_empty() -> None:
    with pytest.raises(MediaError, match="empty"):
        decode_audio(lying_wav(wav((tone(1) * 32767).astype(np.int16)), 0), LIMITS)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_truncated_sound_keeps_what_was_there(kind: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)
    data = sound(noise, kind=kind)
    done = decode_audio(data[: len(data) // 2], SHORT)
    assert done.clips
    assert done.problem


def test_flac_header_that_promises_hours() -> None:
    data = bytearray(sound(tone(1), kind="FLAC"))
    at = 4 + 4 + 10  # rate, channels, bits and the number of samples share eight bytes
    packed = struct.unpack(">Q", data[at : at + 8])[0]
    data[at : at + 8] = struct.pack(">Q", (packed & ~(2**36 - 1)) | 8000 * 3600)
    done = decode_audio(bytes(data), SHORT)
    assert "the header tells of" in done.problem or done.problem.startswith("from ")
    assert sum(len(clip.samples) for clip in done.clips) <= 8000
    with pytest.raises(MediaError, match="max_seconds"):
        decode_audio(bytes(data), Limits(max_seconds=3599.0))


def test_too_long_is_refused_from_the_header() -> None:
    with pytest.raises(MediaError, match="max_seconds"):
        decode_audio(sound(tone(3)), Limits(max_seconds=2.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_must_be_finite(bad: float) -> None:
    samples = tone(1)
    samples[100] = bad
    with pytest.raises(MediaError, match="NaN"):
        decode_audio(sound(samples, subtype="FLOAT"), LIMITS)
    with pytest.raises(MediaError, match="NaN"):
        from_samples((samples, 8000), LIMITS)


def test_mp3_windows_are_the_whole_cut_up(capfd: pytest.CaptureFixture[str]) -> None:
    """An MP3 decoder that has to seek starts with noise, and libmpg123 says so on stderr."""
    data = sound(tone(7, rate=44_100), 44_100, kind="MP3")
    whole = decode_audio(data, Limits()).clips[0].samples
    limits = Limits(audio_window=2.0, audio_windows=3)
    for done in (decode_audio(data, Limits(audio_window=2.0)), decode_audio(data, limits)):
        for clip in done.clips:
            start = round(clip.span[0] * 44_100)
            assert np.abs(clip.samples - whole[start : start + len(clip.samples)]).max() < 1e-5
    assert capfd.readouterr().err == ""


def test_silence_is_empty() -> None:
    with pytest.raises(MediaError, match="silence"):
        decode_audio(sound(np.zeros(8000, np.float32)), LIMITS)


@pytest.mark.parametrize("data", [b"RIFF\x04\0\0\0WAVE", b"fLaC", b"OggS" + b"\0" * 50, b"ID3" + b"\0" * 30])
def test_headers_without_sound(data: bytes) -> None:
    with pytest.raises(Exception):  # noqa: B017 - libsndfile's own errors, named by the caller
        decode_audio(data, LIMITS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.int32, np.uint8])
def test_arrays_of_any_number_type(dtype: type) -> None:
    wave = tone(1)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        middle = 0 if info.min < 0 else 128
        given: Any = (wave * (info.max - middle) + middle).astype(dtype)
    else:
        given = wave.astype(dtype)
    done = from_samples((given, 8000), LIMITS)
    assert np.allclose(done.clips[0].samples, wave, atol=0.02)
    stereo = from_samples((np.stack([given, given], axis=1), np.int64(8000)), LIMITS)
    assert np.allclose(stereo.clips[0].samples, wave, atol=0.02)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((tone(1), 0), "Hz"),
        ((tone(1), -1), "Hz"),
        ((tone(1), "8000"), "rate"),
        ((tone(1), 8000.5), "whole"),
        ((tone(1), True), "rate"),
        ((tone(1), 10**9), "Hz"),
        ((np.zeros(0, np.float32), 8000), "empty"),
        ((np.zeros((8000, 0), np.float32), 8000), "empty"),
        ((np.zeros((2, 8000), np.float32), 8000), "channels"),
        ((np.zeros((2, 2, 2), np.float32), 8000), "shape"),
        ((np.array(["a"]), 8000), "float or integer"),
        ((np.ones(10, complex), 8000), "float or integer"),
        ((np.ones(10, bool), 8000), "float or integer"),
        ((tone(1),), "samples, rate"),
        ("sound", "samples, rate"),
        ((np.zeros(8000, np.int16), 8000), "silence"),
    ],
)
def test_arrays_that_are_no_sound(value: Any, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        from_samples(value, LIMITS)


def test_arrays_are_windowed_and_limited() -> None:
    done = from_samples((tone(20), 8000), SHORT)
    assert len(done.clips) == 4
    assert done.coverage == pytest.approx(0.2)
    with pytest.raises(MediaError, match="max_bytes"):
        from_samples((tone(20), 8000), Limits(max_bytes=1000))


def test_digests_tell_arrays_apart() -> None:
    one = samples_digest((tone(1), 8000), LIMITS)
    assert one == samples_digest((tone(1).copy(), 8000), LIMITS)
    assert one != samples_digest((tone(1), 16000), LIMITS)
    assert one != samples_digest((tone(1).astype(np.float64), 8000), LIMITS)
