"""What is said in a clip is judged like text; a clip whose words were read may be cleared by that."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from moderator.hookspecs import hookimpl
from moderator.host import PluginHost
from moderator.pipeline.moderator import Moderator
from moderator.plugin import Extractor
from moderator.policy.load import load_policy
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.testing import FakeDetector, fake_embedder, make_audio
from moderator.types import Action, Content, Modality, Source
from moderator_speech.extractor import SpokenWords
from tests.pipeline.parts import DIM, WITH_SIGNAL, checkpoint, spec
from tests.plugins.tiny_asr import as_wav, spoken

INSULT = "nobody likes you and your whole family is stupid"
WEAK = "sounds: trained on too little to clear an item alone"


class Listener(Extractor):
    """Hears "a badword" in clips of two seconds, nothing in others, and fails on those of three."""

    name, modality, fingerprint = "listener", Modality.AUDIO, "1"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self.clears = bool(self.options.get("clears", False))

    def load(self, device: str) -> None: ...

    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        seconds = [round(len(each.data) / each.rate) for each in contents]
        if 3 in seconds:
            raise RuntimeError("deaf")
        heard = [Content(Modality.TEXT, "a badword", source=Source.TRANSCRIPT)]
        return [heard if each == 2 else [] for each in seconds]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return [make_audio(1.0), make_audio(2.0)]


def moderator(extractor: type[Extractor], options: Mapping[str, Any] | None = None) -> Moderator:
    """Texts are told by ``words``, sounds by ``sounds``, which may not clear them alone."""
    kinds = [
        fake_embedder(torch.from_numpy, name="words", modality=Modality.TEXT, dim=DIM),
        fake_embedder(torch.from_numpy, name="sounds", modality=Modality.AUDIO, dim=DIM),
    ]
    plugin = types.SimpleNamespace(
        register_embedders=hookimpl(lambda: kinds),
        register_detectors=hookimpl(lambda: [FakeDetector]),
        register_extractors=hookimpl(lambda: [extractor]),
    )
    tables = {extractor.name: options or {}, "fake-detector": {"words": ("badword", "nobody likes you")}}
    settings = Settings(plugins=tables, plugin_timeout=600.0)  # a busy machine is no failure
    host = PluginHost({"test": plugin}, settings)
    assert not host.failures, host.failures
    signals = [each for detector in host.detectors.values() for each in detector.signals]
    rules = load_policy(WITH_SIGNAL.encode(), DEFAULT.names, signals, "test.yaml")
    model = checkpoint([spec("words"), spec("sounds", Modality.AUDIO, alone=False)])
    return Moderator(host, model, rules, settings)


def clip(seconds: float) -> tuple[Any, int]:
    made = make_audio(seconds, rate=8_000)
    return np.asarray(made.data), made.rate


def test_a_sound_is_cleared_only_where_that_was_asked_for() -> None:
    cleared = moderator(Listener, {"clears": True}).check(audio=clip(1))
    assert (cleared.action, cleared.degraded) == (Action.ALLOW, ())
    kept = moderator(Listener).check(audio=clip(1))
    assert (kept.action, kept.degraded) == (Action.REVIEW, (WEAK,))


def test_words_count_whether_or_not_they_clear() -> None:
    for clears in (True, False):
        verdict = moderator(Listener, {"clears": clears}).check(audio=clip(2))
        assert verdict.action is Action.BLOCK
        assert [match.rule for match in verdict.matches] == ["signal-block"]
        assert verdict.embedders["listener"] == "1"


def test_a_sound_the_extractor_failed_on_is_not_cleared_by_another() -> None:
    judge = moderator(Listener, {"clears": True})
    verdict = judge.check(audio=[clip(1), clip(3)])
    assert verdict.action is Action.REVIEW
    assert verdict.degraded == ("audio[1]: listener: failed: RuntimeError: deaf", WEAK)
    assert judge.check(audio=clip(1)).action is Action.ALLOW


@pytest.mark.usefixtures("espeak")
def test_a_spoken_insult_reaches_signals_and_scores() -> None:
    wav = as_wav(spoken(INSULT))
    judge = moderator(SpokenWords, {"clears": True})
    verdict = judge.check(audio=wav)
    assert verdict.action is Action.BLOCK
    assert verdict.signals["fake_signal"] > 0
    heard = judge.host.extractors["asr"]
    assert verdict.embedders["asr"] == heard.fingerprint
    ((words,),) = heard.extract_batch([spoken(INSULT)])
    as_text = judge.check(text=words.data).scores
    assert all(verdict.scores[label] >= as_text[label] - 1e-5 for label in DEFAULT.names)
    assert any(verdict.scores[label] == pytest.approx(as_text[label], abs=1e-5) for label in DEFAULT.names)


def test_a_recogniser_that_cannot_be_loaded_clears_nothing() -> None:
    verdict = moderator(SpokenWords, {"model": "/nowhere/at/all", "clears": True}).check(audio=clip(1))
    assert verdict.action is Action.REVIEW
    assert verdict.degraded[0].startswith("audio[0]: asr: cannot be loaded: asr: ")
