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
from tests.pipeline.small_model import AGREE


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
    """Looks at pictures, finds nothing, and may clear them; fails on those 30 pixels wide."""

    name, modality, clears = "looks", Modality.IMAGE, True

    @property
    def signals(self) -> Any:
        return ()

    def detect_batch(self, contents: Sequence[Content]) -> list[Any]:
        if any(np.shape(each.data)[1] == 30 for each in contents):
            raise RuntimeError("blinded")
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
    verdict = moderator().check(text="plain words", image=image(64))
    assert verdict.action is Action.BLOCK
    assert [match.rule for match in verdict.matches] == ["signal-block"]
    (place,) = {each for each in verdict.evidence if each.source == "fake-detector"}
    # the picture as a whole: characters of what was read are not a place in it
    assert (place.part, place.span) == (1, (0.0, 0.0))
    assert verdict.embedders["captions"] == "1"


def test_texts_alone_do_not_name_an_extractor() -> None:
    assert "captions" not in moderator().check(text="plain words").embedders


@pytest.mark.parametrize("width", [20, 64])
def test_reading_a_picture_does_not_clear_it(width: int) -> None:
    """The text embedder has looked at the words, and nobody at the rest of the picture."""
    (reason,) = moderator(policy=POLICY).check(image=image(width)).degraded
    assert reason == "pixels: trained on too little to clear an item alone"


def test_a_detector_may_clear_a_picture() -> None:
    verdict = moderator(clears=True).check(image=image(20))
    assert (verdict.action, verdict.degraded) == (Action.ALLOW, ())


def test_a_picture_the_detector_failed_on_is_not_cleared_by_another() -> None:
    verdict = moderator(clears=True).check(image=[image(20), image(30)])
    assert verdict.degraded == ("pixels: trained on too little to clear an item alone",)


def test_words_do_not_change_what_is_seen_in_their_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caption with picture, words read, caption and words as one text: the highest score counts."""
    judge = moderator(policy=POLICY)
    views: list[Any] = []
    rows: list[Any] = []

    def recorded(given: Any, half: Any) -> Any:
        views.append([" + ".join(sorted(view.tokens)) for view in given])
        rows.append(honest(given, half))
        return rows[-1]

    scorer = judge._judge.scorer
    honest = scorer.probabilities
    monkeypatch.setattr(scorer, "probabilities", recorded)
    both = judge.check(text="hello", image=image(64))
    read = judge.check(text="a badword")
    together = judge.check(text="hello\na badword")
    assert views[0] == ["pixels + words", "words", "words"]
    for column, label in enumerate(DEFAULT.names):
        _, as_read, as_one = rows[0][:, column].tolist()
        assert as_read == pytest.approx(read.scores[label], abs=AGREE)
        assert as_one == pytest.approx(together.scores[label], abs=AGREE)
        assert both.scores[label] == max(rows[0][:, column].tolist())


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
