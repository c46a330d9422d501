"""The library as the documentation shows it: load, check, scan, filter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import moderator as package
from moderator import Action, Item, Moderator
from moderator.errors import CheckpointError, PolicyError, SettingsError
from moderator.settings import Settings
from tests.media.files import encoded, quadrants, sound, tone
from tests.pipeline.small_model import AGREE, BENIGN, HARMFUL, small_model

HARM = "i will stab you with a knife"
PNG = encoded(quadrants(), "PNG")


@pytest.fixture(scope="module")
def moderator() -> Iterator[Moderator]:
    with Moderator.load(model=str(small_model()), device="cpu", settings=Settings(batch_size=8)) as made:
        yield made


def test_public_names() -> None:
    assert set(package.__all__) == {
        *("Action", "Item", "Moderator", "Modality", "Verdict", "__version__", "hookimpl")
    }
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="module 'moderator' has no attribute 'Nothing'"):
        _ = package.Nothing


def test_check_takes_every_kind_of_text(moderator: Moderator, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text(HARM, encoding="utf-8")
    verdicts = [moderator.check(text=each) for each in (HARM, HARM.encode(), file, [HARM])]
    assert {verdict.action for verdict in verdicts} == {verdicts[0].action} != {Action.ALLOW}
    assert len({tuple(verdict.scores.items()) for verdict in verdicts}) == 1
    assert len({verdict.content_digests for verdict in verdicts}) == 1
    assert verdicts[0].reasons


def test_check_takes_every_kind_of_picture(moderator: Moderator, tmp_path: Path) -> None:
    file = tmp_path / "meme.png"
    file.write_bytes(PNG)
    given: list[Any] = [PNG, file, str(file), quadrants(), [file]]
    verdicts = [moderator.check(text=BENIGN[0], image=each) for each in given]
    assert {verdict.degraded for verdict in verdicts} == {()}
    for verdict in verdicts[1:]:
        assert verdict.scores == pytest.approx(dict(verdicts[0].scores), abs=AGREE)


def test_check_takes_every_kind_of_sound(moderator: Moderator, tmp_path: Path) -> None:
    samples, rate = tone(1.0, rate=16_000), 16_000
    file = tmp_path / "clip.flac"
    data = sound(samples, rate, "FLAC", "PCM_24")
    file.write_bytes(data)
    given: list[Any] = [(samples, rate), (samples[:, None], rate), data, file, str(file)]
    verdicts = [moderator.check(text=BENIGN[0], audio=each) for each in given]
    assert {verdict.degraded for verdict in verdicts} == {()}
    for verdict in verdicts[1:]:
        assert verdict.scores == pytest.approx(dict(verdicts[0].scores), abs=1e-3)


def test_context_reaches_the_policy(moderator: Moderator) -> None:
    text = " ".join(HARMFUL["toxicity"])
    plain = moderator.check(text="oh fuck it", context={"surface": "forum"})
    kids = moderator.check(text="oh fuck it", context={"surface": "kids"})
    assert "kids-review" not in {match.rule for match in plain.matches}
    assert "kids-review" in {match.rule for match in kids.matches}
    assert moderator.check(text=text, id="x").item_id == "x"


def test_content_never_raises(moderator: Moderator) -> None:
    odd: list[Any] = [
        None,
        3,
        object(),
        ("a", "b"),
        {"text": "x"},
        Image.new("RGB", (1, 1)),
        b"\xff",
        [[]],
        np.zeros(3),
    ]
    for each in odd:
        verdict = moderator.check(text=each)
        assert verdict.action is Action.REVIEW, each
        assert verdict.degraded
    for kind in ("image", "audio", "video"):
        for each in odd[1:]:
            if not (kind == "image" and isinstance(each, Image.Image)):
                assert moderator.check(**{kind: each}).action is Action.REVIEW, (kind, each)


def test_scan_streams(moderator: Moderator) -> None:
    """It takes no more of an endless stream than a batch, and gives items back with their verdicts."""
    taken = []

    def endless() -> Iterator[Item]:
        for number in itertools.count():
            taken.append(number)
            yield Item.of(id=str(number), text=BENIGN[number % len(BENIGN)])

    stream = moderator.scan(endless())
    assert taken == []
    first = list(itertools.islice(stream, 10))
    assert [item.id for item, _ in first] == [verdict.item_id for _, verdict in first]
    assert [item.id for item, _ in first] == [str(number) for number in range(10)]
    assert len(taken) == 16


def test_an_error_in_the_stream_is_the_callers(moderator: Moderator) -> None:
    def broken() -> Iterator[Item]:
        yield from (Item.of(text=text) for text in BENIGN[:8])
        raise OSError("line is down")

    stream = moderator.scan(broken())
    assert len(list(itertools.islice(stream, 8))) == 8
    with pytest.raises(OSError, match="line is down"):
        next(stream)


def test_filter_keeps_what_is_allowed_lazily(moderator: Moderator) -> None:
    texts = [BENIGN[0], HARM, "", BENIGN[1]]
    kept = moderator.filter(Item.of(text=text) for text in itertools.cycle(texts))
    found = [item.parts[0].value for item in itertools.islice(kept, 6)]
    assert found == [BENIGN[0], BENIGN[1]] * 3


def test_empty_batches(moderator: Moderator) -> None:
    assert moderator.judge([]) == []
    assert list(moderator.scan([])) == []


def test_settings_of_the_working_directory_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moderator.toml").write_text(
        f'model = "{small_model()}"\npolicy = "strict"\ndevice = "cpu"\n[limits]\nmax_bytes = 20\n'
    )
    with Moderator.load() as made:
        assert made.policy.name == "strict"
        assert made.device == "cpu"
        verdict = made.check(text="a text of more than twenty bytes")
        assert verdict.degraded == ("text[0]: 32 bytes of text, the limit is 20 (max_bytes)",)
    with Moderator.load(policy="default") as made:
        assert made.policy.name == "default"


def test_weights_named_in_the_settings_win_over_those_of_the_model(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes((small_model() / "image-timm.safetensors").read_bytes())
    settings = Settings(plugins={"image-timm": {"weights": str(other)}})
    with Moderator.load(model=str(small_model()), settings=settings) as made:
        (found,) = made.host.embedders["image-timm"].weights()
    assert found.path == other


def test_a_model_with_other_weights_beside_it_is_refused(tmp_path: Path) -> None:
    for file in small_model().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(small_model() / "text-lexical.safetensors")
    state["scale"] = state["scale"] * 2
    save_file(state, tmp_path / "text-lexical.safetensors")
    with Moderator.load(model=str(tmp_path)) as made, pytest.raises(CheckpointError) as refused:
        made.check(text="x")
    assert str(refused.value).startswith("the model was trained with text-lexical 1:")
    assert str(refused.value).endswith("use the same weights, or train a model")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"model": "no/such/model"}, SettingsError, "no fusion.safetensors there"),
        ({"device": "toaster"}, SettingsError, "device 'toaster': only auto, cpu and cuda are supported"),
        ({"policy": "defualt"}, PolicyError, "did you mean 'default'?"),
    ],
)
def test_what_cannot_be_loaded_is_said(arguments: dict[str, str], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as refused:
        Moderator.load(**{"model": str(small_model()), **arguments})  # type: ignore[arg-type]
    assert said in str(refused.value)
