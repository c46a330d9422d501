"""A post's video is judged by what looks at pictures and by what listens; reasons name it and its seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from moderator.plugin import Detector, Embedder
from moderator.testing import FakeDetector
from moderator.types import Action, Content, Evidence, Modality, Signal
from tests.media.clips import clip, grey
from tests.pipeline.parts import WITH_SIGNAL, checkpoint, embedder_class, moderator, spec


class Bright(FakeDetector):
    """Finds pictures brighter than 180, in a box, and may clear the others."""

    name: ClassVar[str] = "bright"
    modality: ClassVar[Modality] = Modality.IMAGE
    clears: ClassVar[bool] = True

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        place = Evidence("bright", 0, (1.0, 2.0, 3.0, 4.0), "LIGHT")
        return [
            [Signal("fake_signal", 1.0, (place,))] if np.mean(each.data) > 180 else []  # type: ignore[arg-type]
            for each in contents
        ]


def broken_embed(_self: Embedder, _contents: Sequence[Content]) -> Any:
    raise RuntimeError("no")


def judges(
    sound: dict[str, Any] | None = None, detectors: Sequence[type[Detector]] = (), **given: Any
) -> Any:
    classes = [
        embedder_class(),
        embedder_class("pixels", Modality.IMAGE),
        embedder_class("waves", Modality.AUDIO, **(sound or {})),
    ]
    return moderator(classes, detectors, **given)


def test_both_halves_of_a_video_are_judged() -> None:
    with judges() as made:
        verdict = made.check(video=clip())
    assert verdict.degraded == ()
    assert verdict.action is Action.ALLOW
    assert set(verdict.scores)
    assert verdict.coverage == {"video[0]": 0.8}


def test_half_a_video_is_not_allowed() -> None:
    data = clip()
    with judges() as made:
        deaf = made.check(text="fine", video=[data, data.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz")])
    assert deaf.degraded == ("video[1]: sound track 0: no decoder for it",)
    assert deaf.action is Action.REVIEW
    with judges({"embed": broken_embed}) as made:
        broken = made.check(video=data)
    assert broken.degraded == ("video[0]: waves: failed: RuntimeError: no",)
    assert broken.action is Action.REVIEW


def test_sound_that_may_not_be_cleared_holds_a_video_back() -> None:
    specs = [
        spec(),
        spec("pixels", Modality.IMAGE, alone=False),
        spec("waves", Modality.AUDIO, alone=False),
    ]
    with judges(detectors=[Bright], specs=specs) as made:
        heard = made.check(video=clip())
        silent = made.check(video=clip(seconds=0))
    assert heard.degraded == ("waves: trained on too little to clear an item alone",)
    assert heard.action is Action.REVIEW
    assert silent.degraded == ()
    assert silent.action is Action.ALLOW


def test_evidence_names_seconds() -> None:
    with judges(detectors=[Bright], policy=WITH_SIGNAL) as made:
        verdict = made.check(text="fine", video=clip(seconds=0))
    assert verdict.action is Action.BLOCK
    found = [each for each in verdict.evidence if each.source == "bright"]
    bright = [index for index in range(16) if grey(index * 19 // 15, 20) > 180]
    assert [each.span for each in found] == [
        pytest.approx((index * 19 // 15 / 10, index * 19 // 15 / 10 + 0.1)) for index in bright
    ]
    assert {(each.part, each.detail) for each in found} == {(1, "LIGHT at pixels 1, 2, 3, 4")}


def test_high_scores_are_located_in_seconds() -> None:
    classes = [embedder_class("pixels", Modality.IMAGE)]
    model = checkpoint([spec("pixels", Modality.IMAGE)], bias=5.0)
    with moderator(classes, model=replace(model)) as made:
        verdict = made.check(video=clip(seconds=0))
    located = [each for each in verdict.evidence if each.source.startswith("model:")]
    assert located
    assert all(0 <= each.span[0] < each.span[1] <= 2.01 for each in located)
