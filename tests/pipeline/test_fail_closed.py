"""Whatever goes wrong is named in the verdict, harms only its own item, and is never allowed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.errors import CheckpointError, PluginError
from moderator.plugin import Detector, Embedder
from moderator.types import Action, Content, Embedding, Evidence, Item, Modality, Signal, Verdict
from tests.media.clips import clip
from tests.media.files import animation, encoded, quadrants, tone
from tests.pipeline.parts import (
    DIM,
    POLICY,
    WITH_SIGNAL,
    Detect,
    Embed,
    checkpoint,
    detector_class,
    embedder_class,
    embedding,
    honest,
    moderator,
    signal,
    spec,
)
from tests.pipeline.small_model import AGREE

BAD = "the poisoned one"
TEXTS = ["a harmless sentence", BAD, "another, somewhat longer, harmless sentence", "fine"]


def items(*texts: str) -> list[Item]:
    return [Item.of(id=str(index), text=text) for index, text in enumerate(texts)]


def on_bad(wrong: Callable[[Embedding], Any]) -> Embed:
    """Embed honestly, but make ``wrong`` of the result for the bad text."""

    def embed(self: Embedder, contents: Sequence[Content]) -> list[Any]:
        return [
            wrong(made) if content.data == BAD else made
            for content, made in zip(contents, honest(self, contents), strict=True)
        ]

    return embed


def raising(error: BaseException) -> Embed:
    def embed(self: Embedder, contents: Sequence[Content]) -> list[Any]:
        if any(content.data == BAD for content in contents):
            raise error
        return honest(self, contents)

    return embed


def assert_only_the_bad_one_suffers(verdicts: Sequence[Verdict], reason: str) -> None:
    clean = moderator().judge(items(*TEXTS))
    for text, verdict, expected in zip(TEXTS, verdicts, clean, strict=True):
        if text == BAD:
            assert verdict.action is Action.REVIEW
            assert verdict.degraded == (reason,)
            assert verdict.scores == {}
        else:
            assert verdict.action is Action.ALLOW
            assert verdict.degraded == ()
            assert verdict.scores == pytest.approx(dict(expected.scores), abs=AGREE)


@pytest.mark.parametrize(
    ("embed", "reason"),
    [
        (
            raising(RuntimeError("haunted\nline 2")),
            "failed: RuntimeError: haunted line 2",
        ),
        (raising(PluginError("too long for me")), "failed: too long for me"),
        (raising(KeyError(object())), "failed: KeyError: <object object>"),
        (raising(SystemExit(3)), "failed: SystemExit: 3"),
        (raising(MemoryError()), "failed: MemoryError"),
        (on_bad(lambda made: replace(made, tokens=made.tokens * torch.nan)), "tokens that are not finite"),
        (on_bad(lambda made: replace(made, tokens=made.tokens + torch.inf)), "tokens that are not finite"),
        (
            on_bad(lambda made: embedding(torch.zeros(3, DIM + 1))),
            f"tokens of shape (3, {DIM + 1}), expected (T, {DIM})",
        ),
        (on_bad(lambda made: embedding(torch.zeros(DIM))), f"tokens of shape ({DIM},), expected (T, {DIM})"),
        (
            on_bad(lambda made: embedding(torch.zeros(0, DIM))),
            f"tokens of shape (0, {DIM}), expected (T, 8)",
        ),
        (on_bad(lambda made: embedding(torch.zeros(3, DIM), spans=2)), "2 spans for 3 tokens"),
        (
            on_bad(lambda made: embedding(torch.zeros(3, DIM, dtype=torch.int64))),
            "tokens of type torch.int64, expected a float type",
        ),
        (on_bad(lambda made: None), "gave a NoneType, expected an Embedding"),
        (on_bad(lambda made: made.tokens), "gave a Tensor, expected an Embedding"),
        (
            on_bad(lambda made: Embedding([[0.0] * DIM], made.spans)),  # type: ignore[arg-type]
            "unusable result: AttributeError: 'list' object has no attribute 'ndim'",
        ),
    ],
)
def test_an_embedder_failing_on_one_content(embed: Embed, reason: str) -> None:
    verdicts = moderator([embedder_class(embed=embed)]).judge(items(*TEXTS))
    assert_only_the_bad_one_suffers(verdicts, f"text[0]: words: {reason}")


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_number_of_results_is_never_shifted_onto_neighbours(extra: int) -> None:
    def embed(self: Embedder, contents: Sequence[Content]) -> list[Any]:
        made = honest(self, contents)
        if not any(content.data == BAD for content in contents):
            return made
        return made[:-1] if extra < 0 else [*made, made[0]]

    verdicts = moderator([embedder_class(embed=embed)]).judge(items(*TEXTS))
    reason = f"text[0]: words: failed: ValueError: {1 + extra} results for 1 contents"
    assert_only_the_bad_one_suffers(verdicts, reason)


def test_a_result_that_is_no_list() -> None:
    made = moderator([embedder_class(embed=lambda self, contents: None)])
    verdict = made.check(text="fine")
    assert verdict.action is Action.REVIEW
    assert verdict.degraded == ("text[0]: words: failed: TypeError: object of type 'NoneType' has no len()",)


@pytest.mark.parametrize("error", [OSError("disk is gone"), SystemExit("bye")])
def test_an_embedder_that_cannot_be_loaded(error: BaseException) -> None:
    loads = []

    def load(self: Embedder, device: str) -> None:
        loads.append(device)
        raise error

    verdicts = moderator([embedder_class(load=load)]).judge(items(*TEXTS))
    said = f"text[0]: words: cannot be loaded: {type(error).__name__}: {error}"
    assert [verdict.degraded for verdict in verdicts] == [(said,)] * 4
    assert {verdict.action for verdict in verdicts} == {Action.REVIEW}
    assert loads == ["cpu"]  # not tried again for each item


def test_ctrl_c_in_a_plugin_is_not_its_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        moderator([embedder_class(embed=raising(KeyboardInterrupt()))]).judge(items(*TEXTS))


def test_one_of_two_embedders_failing_keeps_the_scores_and_degrades() -> None:
    broken = embedder_class("letters", embed=raising(RuntimeError("no")))
    made = moderator([embedder_class(), broken])
    verdict = made.check(text=BAD)
    assert set(verdict.scores)
    assert verdict.action is Action.REVIEW
    assert verdict.degraded == ("text[0]: letters: failed: RuntimeError: no",)


def test_overruns_mark_their_item_and_three_switch_the_plugin_off() -> None:
    calls = []

    def embed(self: Embedder, contents: Sequence[Content]) -> list[Any]:
        calls.append(len(contents))
        if any("slow" in str(content.data) for content in contents):
            time.sleep(0.6)
        return honest(self, contents)

    made = moderator([embedder_class(embed=embed)], settings={"plugin_timeout": 0.5})
    first = made.judge(items("fine", "slow one", "also fine"))
    assert [verdict.action for verdict in first] == [Action.ALLOW, Action.REVIEW, Action.ALLOW]
    (overrun,) = first[1].degraded
    assert re.fullmatch(r"text\[0\]: words: took 0\.\d s, allowed are 0\.5 s", overrun)
    made.judge(items("slow two"))
    made.judge(items("slow three"))
    before = len(calls)
    last = made.judge(items("fine", "x"))
    assert len(calls) == before
    off = "text[0]: words: switched off after 3 overruns of 0.5 s"
    assert [verdict.degraded for verdict in last] == [(off,), (off,)]


def test_a_slow_batch_of_fast_items_marks_none() -> None:
    def embed(self: Embedder, contents: Sequence[Content]) -> list[Any]:
        time.sleep(0.2 * len(contents))
        return honest(self, contents)

    made = moderator([embedder_class(embed=embed)], settings={"plugin_timeout": 0.6})
    assert {verdict.action for verdict in made.judge(items(*TEXTS))} == {Action.ALLOW}


def test_an_embedder_the_checkpoint_names_is_not_installed() -> None:
    made = moderator([embedder_class()], specs=[spec(), spec("gone")])
    verdict = made.check(text="fine")
    assert verdict.action is Action.REVIEW
    assert verdict.degraded == (
        "text[0]: gone: the model needs this plugin, which is not installed or not allowed",
    )
    assert verdict.embedders == {"words": "1:fake-8", "gone": "1:fake-8"}


def test_an_embedder_of_another_modality_does_not_count_as_installed() -> None:
    made = moderator([embedder_class("words", Modality.IMAGE)], specs=[spec("words", Modality.TEXT)])
    assert made.check(text="fine").action is Action.REVIEW


def test_an_embedder_the_checkpoint_does_not_name_is_unused() -> None:
    idle = embedder_class("idle", embed=raising(RuntimeError("asked although unused")))
    made = moderator([embedder_class(), idle], specs=[spec()])
    assert made.unused == ("idle",)
    assert made.check(text=BAD).degraded == ()


def test_another_fingerprint_is_refused() -> None:
    made = moderator(specs=[spec(fingerprint="1:other")])
    with pytest.raises(CheckpointError) as refused:
        made.check(text="fine")
    assert str(refused.value) == (
        "the model was trained with words 1:other (8 wide), here is 1:fake-8 (8 wide); "
        "use the same weights, or train a model"
    )
    with pytest.raises(CheckpointError):
        made.check(text="fine")  # nor the second time


def test_truncation_is_said() -> None:
    made = moderator([embedder_class(embed=on_bad(lambda each: replace(each, truncated=True)))])
    verdicts = made.judge(items(*TEXTS))
    assert verdicts[1].degraded == ("text[0]: words: could not look at all of it",)
    assert verdicts[1].action is Action.REVIEW
    assert verdicts[0].degraded == ()


def test_a_score_that_is_not_finite() -> None:
    model = checkpoint([spec()])
    with torch.no_grad():
        model.model.bias[0] = torch.nan
    verdict = moderator(model=model).check(text="fine")
    assert verdict.action is Action.REVIEW
    assert verdict.degraded == ("the model gave a score that is not finite",)
    assert verdict.scores == {}


def test_tokens_too_large_for_fp32_give_a_finite_score_or_a_reason() -> None:
    huge = on_bad(lambda each: replace(each, tokens=each.tokens.double() + 1e300))
    verdict = moderator([embedder_class(embed=huge)]).check(text=BAD)
    assert verdict.degraded or all(np.isfinite(list(verdict.scores.values())))


def media() -> list[type[Embedder]]:
    return [
        embedder_class(),
        embedder_class("pixels", Modality.IMAGE),
        embedder_class("waves", Modality.AUDIO),
    ]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "no parts"),
        ({"text": []}, "no parts"),
        ({"text": ""}, "text[0]: empty"),
        ({"text": " \u200b\n"}, "text[0]: empty: no visible characters"),
        ({"text": 7}, "text[0]: cannot read a int as text"),
        ({"image": b""}, "image[0]: empty: no bytes"),
        ({"image": b"\x89PNG\r\n\x1a\n broken"}, "image[0]: "),
        ({"image": b"plain words"}, "image[0]: not an image (bytes look like text)"),
        ({"image": Path("gone.png")}, "image[0]: gone.png: no such file"),
        ({"audio": b"RIFF\x00\x00\x00\x00WAVE"}, "audio[0]: "),
        ({"audio": (np.array([np.nan], np.float32), 8000)}, "audio[0]: "),
        ({"video": b"\x00\x00\x00\x18ftypmp42" + bytes(64)}, "video[0]: cannot be decoded: "),
        ({"text": ["fine", b"\xff\xfe"]}, "text[1]: "),
        ({"text": "fine", "image": b"junk"}, "image[0]: "),
    ],
)
def test_parts_that_cannot_be_judged(parts: Mapping[str, Any], reason: str) -> None:
    with moderator(media()) as made:
        verdict = made.check(**parts)
    assert verdict.action is Action.REVIEW
    assert any(each.startswith(reason) for each in verdict.degraded), verdict.degraded
    assert len(verdict.content_digests) == sum(
        len(each) if isinstance(each, list) else 1 for each in parts.values()
    )


def test_a_modality_the_model_is_not_trained_for() -> None:
    with moderator() as made:
        alone = made.check(image=encoded(quadrants(), "PNG"))
        beside = made.check(text="fine", image=encoded(quadrants(), "PNG"))
    assert alone.degraded == ("image[0]: the model is not trained for image",)
    assert alone.scores == {}
    assert beside.degraded == alone.degraded
    assert set(beside.scores)
    assert {alone.action, beside.action} == {Action.REVIEW}


def test_what_only_little_trained_embedders_saw_is_not_cleared() -> None:
    classes = media()
    specs = [spec(), *(spec(each.name, each.modality, alone=False) for each in classes[1:])]
    with moderator(classes, specs=specs) as made:
        both = made.check(image=encoded(quadrants(), "PNG"), audio=(tone(0.5), 8000))
        text = made.check(text="fine")
        failing = made.check(text="", image=encoded(quadrants(), "PNG"))
    assert both.action is Action.REVIEW
    assert set(both.scores)
    assert both.degraded == ("pixels and waves: trained on too little to clear an item alone",)
    assert text.action is Action.ALLOW
    assert failing.degraded == (
        "text[0]: empty",
        "pixels: trained on too little to clear an item alone",
    )


def detect(wrong: Callable[[Content], Any]) -> Detect:
    def run(self: Detector, contents: Sequence[Content]) -> list[Any]:
        return [
            wrong(content) if content.data == BAD else made
            for content, made in zip(contents, honest(self, contents), strict=True)
        ]

    return run


def explode(content: Content) -> Any:
    raise RuntimeError("lists are gone")


_BROKEN_DETECTORS = [
    (explode, "failed: RuntimeError: lists are gone"),
    (lambda content: [signal("undeclared")], "signal 'undeclared', which it does not declare"),
    (lambda content: [signal(score=1.5)], "signal fake_signal = 1.5, outside [0.0, 1.0]"),
    (lambda content: [signal(score=float("nan"))], "signal fake_signal = nan, outside [0.0, 1.0]"),
    (lambda content: None, "gave a NoneType, expected a list of signals"),
    (lambda content: iter([signal(score=0.9)]), "gave a list_iterator, expected a list of signals"),
    (lambda content: ["fake_signal"], "gave a str among the signals"),
    (
        lambda content: [Signal("fake_signal", 0.5, (Evidence("x", 0, (0.0, float("inf"))),))],
        "signal fake_signal with unusable evidence Evidence(source='x', part=0, span=(0.0, inf), detail='')",
    ),
]


@pytest.mark.parametrize(("wrong", "reason"), _BROKEN_DETECTORS)
def test_a_detector_that_the_policy_needs(wrong: Callable[[Content], Any], reason: str) -> None:
    made = moderator(detectors=[detector_class(detect(wrong))], policy=WITH_SIGNAL)
    verdicts = made.judge(items(*TEXTS, "badword"))
    assert [verdict.action.value for verdict in verdicts] == ["allow", "review", "allow", "allow", "block"]
    assert verdicts[1].degraded == (f"text[0]: fake-detector: {reason}",)
    assert set(verdicts[1].scores)
    assert verdicts[1].signals == {}


@pytest.mark.parametrize(("wrong", "reason"), _BROKEN_DETECTORS)
def test_a_detector_that_the_policy_does_not_name(wrong: Callable[[Content], Any], reason: str) -> None:
    made = moderator(detectors=[detector_class(detect(wrong))], policy=POLICY)
    verdicts = made.judge(items(*TEXTS, "badword"))
    assert {verdict.action for verdict in verdicts} == {Action.ALLOW}
    assert {verdict.degraded for verdict in verdicts} == {()}
    assert verdicts[4].signals == {"fake_signal": 1.0}


def test_a_detector_that_cannot_be_loaded_matters_if_the_policy_needs_it() -> None:
    def load(self: Detector, device: str) -> None:
        raise PluginError("the list is missing; reinstall")

    needed = moderator(detectors=[detector_class(load=load)], policy=WITH_SIGNAL).check(text="fine")
    assert needed.degraded == ("text[0]: fake-detector: cannot be loaded: the list is missing; reinstall",)
    assert needed.action is Action.REVIEW
    assert moderator(detectors=[detector_class(load=load)]).check(text="fine").action is Action.ALLOW


def test_a_part_says_each_reason_once_however_many_windows_it_has() -> None:
    made = moderator([embedder_class(embed=lambda self, contents: 1 // 0)])
    verdict = made.check(text=["many words " * 500, "fine"])
    failed = "words: failed: ZeroDivisionError: integer division or modulo by zero"
    assert verdict.degraded == (f"text[0]: {failed}", f"text[1]: {failed}")


_FAULTS: dict[str, Mapping[str, Any]] = {
    "raises": {"embed": raising(RuntimeError("no"))},
    "nan": {"embed": on_bad(lambda made: replace(made, tokens=made.tokens * torch.nan))},
    "exits": {"embed": raising(SystemExit(1))},
    "truncated": {"embed": on_bad(lambda made: replace(made, truncated=True))},
    "nothing": {"embed": on_bad(lambda made: None)},
    "honest": {},
}
_PARTS: dict[str, Any] = {
    "text": ["fine", BAD, "", "two words", 3],
    "image": [b"", b"junk", encoded(quadrants(), "PNG"), animation("GIF", 3)],
    "audio": [(tone(0.2), 8000), b"RIFF", (np.zeros(0, np.float32), 8000)],
    "video": [b"\x00\x00\x00\x18ftypmp42" + bytes(64), clip(frames=4, seconds=0.2)],
}


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_degraded_verdict_is_ever_allowed(data: st.DataObject) -> None:
    """Any faults in any plugins, any parts in any items, any number of them missing from the model."""
    classes: list[type[Embedder]] = []
    specs = []
    for name, modality in (("words", Modality.TEXT), ("letters", Modality.TEXT), ("pixels", Modality.IMAGE)):
        fault = data.draw(st.sampled_from(sorted(_FAULTS)), label=f"{name} fault")
        if data.draw(st.booleans(), label=f"{name} trained") or name == "words":
            specs.append(spec(name, modality, alone=data.draw(st.booleans(), label=f"{name} alone")))
        if data.draw(st.integers(0, 3), label=f"{name} installed") or not classes:
            classes.append(embedder_class(name, modality, **_FAULTS[fault]))
    wrong, _ = data.draw(st.sampled_from(_BROKEN_DETECTORS))
    parts = st.fixed_dictionaries(
        {}, optional={kind: st.lists(st.sampled_from(values), max_size=2) for kind, values in _PARTS.items()}
    )
    posts = data.draw(st.lists(parts, min_size=1, max_size=4))
    policy = data.draw(st.sampled_from([POLICY, WITH_SIGNAL]))
    with moderator(classes, [detector_class(detect(wrong))], specs=specs, policy=policy) as made:
        verdicts = made.judge([Item.of(id="", context=None, **each) for each in posts])
    for post, verdict in zip(posts, verdicts, strict=True):
        assert verdict.action is not Action.ALLOW or not verdict.degraded
        if verdict.action is Action.ALLOW:
            given_parts = [(kind, value) for kind, values in post.items() for value in values]
            assert given_parts
            assert all(kind not in ("audio", "video") for kind, _ in given_parts)
            assert ("text", "") not in given_parts
            assert set(verdict.scores)
        for value in verdict.scores.values():
            assert 0 <= value <= 1
