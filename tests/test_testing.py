"""The contract suite: it passes what keeps the contract and names the clause that is broken."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from moderator.plugin import Detector, Embedder, Plugin
from moderator.testing import (
    FakeDetector,
    check_plugin,
    fake_embedder,
    make_audio,
    make_image,
    make_item,
    make_text,
)
from moderator.types import Content, Embedding, Evidence, Modality, Signal, SignalSpec

Fake = fake_embedder(torch.from_numpy)
_serial = itertools.count()


def broken(plugin: Plugin) -> dict[str, str]:
    return {result.check: result.detail for result in check_plugin(plugin) if not result.ok}


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE, Modality.AUDIO])
def test_a_fake_embedder_of_each_modality_keeps_the_contract(modality: Modality) -> None:
    assert broken(fake_embedder(torch.from_numpy, modality=modality, dim=4)()) == {}


def test_the_fake_detector_keeps_the_contract() -> None:
    results = check_plugin(FakeDetector({"words": ["badword", "here"]}))
    assert [result.detail for result in results if not result.ok] == []
    assert len(results) == 12


def test_makers_give_what_the_pipeline_gives() -> None:
    text = make_text("ＡＢ c")
    assert text.offsets is not None
    assert len(text.offsets) == len(text.normalised)
    assert text.span == (0.0, 4.0)
    image = make_image(20, 10)
    assert np.shape(image.data) == (10, 20, 3)
    assert not np.array_equal(image.data, make_image(20, 10, seed=1).data)
    audio = make_audio(0.25)
    assert len(audio.data) == 4000
    assert audio.span == (0.0, 0.25)
    assert np.abs(np.asarray(audio.data)).max() <= 0.5
    item = make_item(text=None, image="a.png", context={"surface": "kids"})
    assert [part.modality for part in item.parts] == [Modality.IMAGE]
    assert item.context["surface"] == "kids"


class BatchDependent(Fake):  # type: ignore[valid-type,misc]
    """Normalises over the batch, the mistake the clause is there for."""

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        made: list[Embedding] = super().embed_batch(contents)
        return [replace(each, tokens=each.tokens + len(contents)) for each in made]


class Unseeded(Fake):  # type: ignore[valid-type,misc]
    def load(self, device: str) -> None:
        self.shift = next(_serial)

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        made: list[Embedding] = super().embed_batch(contents)
        return [replace(each, tokens=each.tokens + self.shift) for each in made]


class Restless(Fake):  # type: ignore[valid-type,misc]
    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        made: list[Embedding] = super().embed_batch(contents)
        return [replace(each, tokens=each.tokens + next(_serial)) for each in made]


class Writes(fake_embedder(torch.from_numpy, modality=Modality.AUDIO)):  # type: ignore[misc]
    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        made: list[Embedding] = super().embed_batch(contents)
        for content in contents:
            content.data[:] *= 0.5  # type: ignore[index,operator]
        return made


class Changing(Fake):  # type: ignore[valid-type,misc]
    @property
    def fingerprint(self) -> str:
        return f"1:{next(_serial)}"


class Anonymous(Fake):  # type: ignore[valid-type,misc]
    @property
    def fingerprint(self) -> str:
        return " "


def embedder_giving(**changes: Any) -> Embedder:
    class Giving(Fake):  # type: ignore[valid-type,misc]
        def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
            made: list[Embedding] = super().embed_batch(contents)
            return [
                replace(each, **{name: change(getattr(each, name)) for name, change in changes.items()})
                for each in made
            ]

    plugin: Embedder = Giving()
    return plugin


def detector_giving(*signals: Any) -> Detector:
    class Giving(FakeDetector):
        def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
            return [list(signals) for _ in contents]

    return Giving()


@pytest.mark.parametrize(
    ("plugin", "check", "said"),
    [
        (BatchDependent(), "does not depend on the batch", "tokens differ by up to 1"),
        (Restless(), "gives the same result twice", "tokens differ by up to 2"),
        (Unseeded(), "a second instance agrees", "tokens differ by up to"),
        (Changing(), "has a fingerprint", "fingerprint changed from"),
        (Anonymous(), "has a fingerprint", "fingerprint is ' '"),
        (embedder_giving(tokens=lambda t: t[:0]), "gives one valid result per example", "shape (0, 8)"),
        (embedder_giving(tokens=lambda t: t[0]), "gives one valid result per example", "shape (8,)"),
        (embedder_giving(tokens=lambda t: t.int()), "gives one valid result per example", "expected a float"),
        (embedder_giving(tokens=lambda t: t / 0), "gives one valid result per example", "are not finite"),
        (
            embedder_giving(tokens=lambda t: t.requires_grad_()),
            "gives one valid result per example",
            "require gradients",
        ),
        (
            embedder_giving(spans=lambda s: s[:1]),
            "gives one valid result per example",
            "spans must be a float32",
        ),
        (
            embedder_giving(spans=lambda s: s + 1),
            "gives one valid result per example",
            "not within the content",
        ),
        (
            embedder_giving(spans=lambda s: s - 1),
            "gives one valid result per example",
            "not within the content",
        ),
        (
            embedder_giving(spans=lambda s: s[:, ::-1].copy()),
            "gives one valid result per example",
            "not within the content",
        ),
        (
            embedder_giving(spans=lambda s: s * np.float32("nan")),
            "gives one valid result per example",
            "not within the content",
        ),
        (detector_giving("badword"), "gives one valid result per example", "expected a Signal"),
        (
            detector_giving(Signal("other", 1.0)),
            "gives one valid result per example",
            "declared are fake_signal",
        ),
        (
            detector_giving(Signal("fake_signal", 1.5)),
            "gives one valid result per example",
            "outside [0.0, 1.0]",
        ),
        (
            detector_giving(Signal("fake_signal", float("nan"))),
            "gives one valid result per example",
            "outside [0.0, 1.0]",
        ),
        (
            detector_giving(Signal("fake_signal", 1.0, (Evidence("x", 0, (0.0, 900.0)),))),
            "gives one valid result per example",
            "not within the content",
        ),
        (
            detector_giving(Signal("fake_signal", 1.0, (Evidence("x", 0, (0.0, 1.0, 1.0)),))),
            "gives one valid result per example",
            "has 3 numbers, expected 2",
        ),
    ],
)
def test_broken_clause_is_named(plugin: Plugin, check: str, said: str) -> None:
    assert said in broken(plugin)[check]


def test_writing_to_the_input_is_noticed() -> None:
    assert broken(Writes())["does not change its input"] == "content 0 was written to"


class Short(FakeDetector):
    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        return super().detect_batch(contents)[:1]


def test_number_of_results_is_checked() -> None:
    assert broken(Short())["gives one valid result per example"] == "2 contents gave 1 results"


class ChokesOnTiny(FakeDetector):
    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        if any(not content.normalised for content in contents):
            raise ValueError("empty sequence")
        return super().detect_batch(contents)


def test_tiny_content_is_tried() -> None:
    assert broken(ChokesOnTiny()) == {"copes with tiny content": "ValueError: empty sequence"}


class ChokesOnNothing(FakeDetector):
    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        return [super().detect_batch(contents)[0], *super().detect_batch(contents[1:])]


def test_empty_batch_is_tried() -> None:
    assert broken(ChokesOnNothing()) == {
        "gives an empty list for an empty batch": "IndexError: list index out of range"
    }


class NoExamples(FakeDetector):
    @classmethod
    def examples(cls) -> Sequence[Content]:
        return []


class WrongExamples(FakeDetector):
    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [make_audio()]


class Unloadable(FakeDetector):
    def load(self, device: str) -> None:
        raise SystemExit(f"no {device} here")


class BadSignals(FakeDetector):
    @property
    def signals(self) -> Sequence[SignalSpec]:
        return [SignalSpec("Fake Signal")]


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (NoExamples(), {"has examples": "examples() is empty"}),
        (WrongExamples(), {"has examples": "example 0 is audio, not text"}),
        (Unloadable(), {"loads": "SystemExit: no cpu here"}),
    ],
)
def test_without_examples_or_weights_the_rest_is_not_run(plugin: Plugin, expected: dict[str, str]) -> None:
    assert broken(plugin) == expected
    assert check_plugin(plugin)[-1].check == next(iter(expected))


def test_unusable_signals_are_named() -> None:
    assert "'Fake Signal' must be lower-case" in broken(BadSignals())["declares usable signals"]
