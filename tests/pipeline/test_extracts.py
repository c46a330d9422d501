"""What is read out of pictures is judged like text; what could not be read is never allowed."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from moderator.hookspecs import hookimpl
from moderator.host import PluginHost
from moderator.pipeline.extracts import joined, prepared
from moderator.pipeline.moderator import Moderator
from moderator.plugin import Detector, Extractor
from moderator.policy.load import load_policy
from moderator.settings import Limits, Settings
from moderator.taxonomy import DEFAULT
from moderator.testing import FakeDetector, fake_embedder, make_image, make_text
from moderator.types import Action, Content, Modality, Source
from tests.pipeline.parts import DIM, POLICY, WITH_SIGNAL, checkpoint, spec


class Captions(Extractor):
    """Reads a picture by its width: "badword" from those 64 pixels wide, nothing from others."""

    name, modality, fingerprint = "captions", Modality.IMAGE, "1"

    def load(self, device: str) -> None: ...

    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        return [self._read(np.asarray(each.data)) for each in contents]

    def _read(self, pixels: Any) -> list[Content]:
        if pixels.shape[1] == 13:
            raise RuntimeError("jammed")
        if pixels.shape[1] == 77:
            return [make_text("not said where from")]
        return [Content(Modality.TEXT, "a badword", source=Source.OCR)] if pixels.shape[1] == 64 else []

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [make_image(64, 8), make_image(20, 20)]


class Looks(FakeDetector):
    """Looks at pictures, finds nothing, and may clear them."""

    name, modality, clears = "looks", Modality.IMAGE, True

    @property
    def signals(self) -> Any:
        return ()

    def detect_batch(self, contents: Sequence[Content]) -> list[Any]:
        return [[] for _ in contents]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [make_image()]


def moderator(*, clears: bool = False, policy: str = WITH_SIGNAL) -> Moderator:
    """Texts are told by ``words``, pictures by ``pixels``, which may not clear them alone."""
    kinds = [
        fake_embedder(torch.from_numpy, name="words", modality=Modality.TEXT, dim=DIM),
        fake_embedder(torch.from_numpy, name="pixels", modality=Modality.IMAGE, dim=DIM),
    ]
    detectors: list[type[Detector]] = [FakeDetector, Looks] if clears else [FakeDetector]
    plugin = types.SimpleNamespace(
        register_embedders=hookimpl(lambda: kinds),
        register_detectors=hookimpl(lambda: detectors),
        register_extractors=hookimpl(lambda: [Captions]),
    )
    host = PluginHost({"test": plugin})
    assert not host.failures, host.failures
    signals = [each for detector in host.detectors.values() for each in detector.signals]
    rules = load_policy(policy.encode(), DEFAULT.names, signals, "test.yaml")
    model = checkpoint([spec("words"), spec("pixels", Modality.IMAGE, alone=False)])
    return Moderator(host, model, rules, Settings())


def image(width: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, 20), "white")


def test_detectors_see_the_text_in_a_picture() -> None:
    verdict = moderator().check(image=image(64))
    assert verdict.action is Action.BLOCK
    assert [match.rule for match in verdict.matches] == ["signal-block"]
    (place,) = {each for each in verdict.evidence if each.source == "fake-detector"}
    assert place.part == 0  # the picture


def test_a_picture_with_text_that_was_read_is_judged() -> None:
    """The text embedder has looked at it, which may clear it; a picture without text stays incomplete."""
    judge = moderator(policy=POLICY)
    assert judge.check(image=image(64)).degraded == ()
    (reason,) = judge.check(image=image(20)).degraded
    assert reason == "pixels: trained on too little to clear an item alone"


def test_a_detector_may_clear_a_picture() -> None:
    verdict = moderator(clears=True).check(image=image(20))
    assert (verdict.action, verdict.degraded) == (Action.ALLOW, ())


def test_a_caption_and_the_text_in_its_picture_are_also_judged_together() -> None:
    """The score is the highest of the caption, the text read, and both as one text."""
    judge = moderator(policy=POLICY)
    both = judge.check(text="hello", image=image(64))
    picture = judge.check(image=image(64))
    together = judge.check(text="hello\na badword", image=image(20))
    alone = judge.check(text="hello", image=image(20))
    for label in DEFAULT.names:
        expected = max(alone.scores[label], picture.scores[label], together.scores[label])
        assert both.scores[label] == pytest.approx(expected, abs=0.02)  # the pictures differ in width


def test_detectors_see_what_was_read_once() -> None:
    verdict = moderator().check(text="hello", image=image(64))
    assert len([each for each in verdict.evidence if each.source == "fake-detector"]) == 1


@pytest.mark.parametrize(("width", "reason"), [(13, "RuntimeError: jammed"), (77, "source is native")])
def test_a_picture_that_could_not_be_read_is_never_allowed(width: int, reason: str) -> None:
    judge = moderator(clears=True)
    broken, whole = judge.judge(
        [moderator_item(width), moderator_item(20)],
    )
    assert broken.action is Action.REVIEW
    assert any(said.startswith("image[0]: captions") and reason in said for said in broken.degraded)
    assert whole.action is Action.ALLOW


def moderator_item(width: int) -> Any:
    from moderator.types import Item

    return Item.of(id=str(width), image=image(width))


def test_long_extracts_are_cut_to_windows() -> None:
    limits = Limits(text_window=100, text_overlap=20)
    origin = Content(Modality.IMAGE, np.zeros((4, 4, 3), np.uint8), part=3, span=(1.0, 2.0))
    made = list(prepared(Content(Modality.TEXT, "word " * 100, source=Source.OCR), origin, limits))
    assert len(made) > 4 and all(len(each.data) <= 100 for each in made)
    assert {(each.part, each.span, each.source) for each in made} == {(3, (1.0, 2.0), Source.OCR)}
    assert all(each.normalised and each.offsets is not None for each in made)
    assert list(prepared(Content(Modality.TEXT, " \u200b", source=Source.OCR), origin, limits)) == []


def test_what_does_not_fit_into_a_window_is_not_joined() -> None:
    own = make_text("x" * 60)
    read = Content(Modality.TEXT, "y" * 60, "y" * 60, source=Source.OCR, part=1)
    assert joined([own, read], Limits(text_window=100)) is None
    made = joined([own, read, read], Limits())
    assert made is not None and made.data == "x" * 60 + "\n" + "y" * 60
    assert joined([own], Limits()) is None
    assert joined([read], Limits()) is None
