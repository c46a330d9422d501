from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from moderator.errors import TrainingError
from moderator.train import speech
from moderator.train.examples import Example
from moderator.train.speech import Speech, mix, speakable, synthesise
from moderator.types import Item

CONFIG = Speech(processes=1)


def text(words: str, lang: str = "en", split: str = "train") -> Example:
    return Example(Item.of(text=words), {"toxicity": 1.0}, "made", lang, split, 1, "", "CC0-1.0")


def backgrounds(folder: Path, splits: Sequence[str] = ("train", "valid")) -> list[Example]:
    examples = []
    for split in splits:
        noise = np.random.default_rng(len(split)).normal(0, 0.1, 22_050).astype(np.float32)
        soundfile.write(folder / f"{split}.wav", noise, 22_050)
        item = Item.of(audio=folder / f"{split}.wav")
        examples.append(Example(item, {}, "noise", "", split, 0, split, "CC-BY-3.0"))
    return examples


@pytest.mark.usefixtures("espeak")
def test_speaks_english_and_chinese_over_backgrounds(tmp_path: Path) -> None:
    texts = [
        text("you are a fool"),
        text("你好，世界", "zh", "valid"),
        text("bonjour", "fr"),
        text("@user http://a.b"),
    ]
    told: list[tuple[int, int]] = []
    made = synthesise(texts, backgrounds(tmp_path), tmp_path / "out", CONFIG, lambda *done: told.append(done))
    assert [(one.lang, one.split) for one in made] == [("en", "train"), ("zh", "valid")]
    assert told == [(1, 2), (2, 2)]
    for one in made:
        samples, rate = soundfile.read(one.item.parts[0].value, dtype="float32")
        assert rate == 16_000
        assert 0.3 < len(samples) / rate < 3
        assert 0.1 < np.abs(samples).max() <= 1
        assert (one.dataset, dict(one.labels), one.weak, one.licence) == (
            "synthetic_speech",
            {"toxicity": 1.0},
            1,
            "CC0-1.0",
        )
    row = json.loads((tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (row["text"], row["source"]) == ("you are a fool", "made")


@pytest.mark.usefixtures("espeak")
def test_goes_on_where_it_stopped_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text(f"number {index} is nice") for index in range(3)]
    behind = backgrounds(tmp_path)
    made = synthesise(texts, behind, tmp_path / "one", CONFIG)
    again = synthesise(texts, behind, tmp_path / "two", CONFIG)
    first = [one.item.parts[0].value.read_bytes() for one in made]
    assert first == [one.item.parts[0].value.read_bytes() for one in again]
    assert len(set(first)) == 3

    spoken: list[str] = []
    make = speech._make

    def listed(job: speech._Job) -> None:
        spoken.append(job.text)
        make(job)

    monkeypatch.setattr(speech, "_make", listed)
    made[1].item.parts[0].value.unlink()
    assert len(synthesise(texts, behind, tmp_path / "one", CONFIG)) == 3
    assert spoken == ["number 1 is nice"]
    other = synthesise(texts, behind, tmp_path / "one", replace(CONFIG, seed=1))
    assert {one.item.id for one in other}.isdisjoint(one.item.id for one in made)


@pytest.mark.usefixtures("espeak")
def test_two_processes_make_the_same(tmp_path: Path) -> None:
    texts = [text("one two three"), text("four five six")]
    alone = synthesise(texts, [], tmp_path / "one", CONFIG)
    pair = synthesise(texts, [], tmp_path / "two", replace(CONFIG, processes=2))
    for one, two in zip(alone, pair, strict=True):
        assert one.item.parts[0].value.read_bytes() == two.item.parts[0].value.read_bytes()


@pytest.mark.usefixtures("espeak")
def test_too_long_is_left_out_not_cut(tmp_path: Path) -> None:
    texts = [text("word " * 25), text("a sentence that takes two seconds to say or more"), text("hi there")]
    made = synthesise(texts, [], tmp_path, replace(CONFIG, seconds=1.5))
    assert len(made) == 1
    with pytest.raises(TrainingError, match=r"none of 1 texts can be spoken within 1\.5 s"):
        synthesise(texts[1:2], [], tmp_path, replace(CONFIG, seconds=1.5))


def test_without_espeak_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="apt-get install espeak-ng"):
        synthesise([text("hello")], [], tmp_path, CONFIG)


def test_what_a_voice_would_spell_is_not_said() -> None:
    assert speakable("@user LOOK!! https://a.b/c #tag &amp; <b>you're</b> 😀 fine") == "LOOK!! you're fine"
    assert speakable("你好😀，世界") == "你好 ，世界"


def test_the_background_is_as_loud_as_asked() -> None:
    rng = np.random.default_rng(0)
    voice = rng.normal(0, 0.2, 16_000).astype(np.float32)
    noise = rng.normal(0, 0.01, 5_000).astype(np.float32)
    behind = mix(voice, noise, 10.0, rng) - voice
    ratio = 10 * np.log10(np.mean(voice**2) / np.mean(behind**2))
    assert ratio == pytest.approx(10.0, abs=0.1)
    assert np.array_equal(mix(voice, np.zeros(10, dtype=np.float32), 10.0, rng), voice)
