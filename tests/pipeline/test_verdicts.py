"""What every verdict of the whole pipeline holds to, with the real embedders."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from moderator.media.windows import windows
from moderator.pipeline.moderator import Moderator
from moderator.settings import Limits, Settings
from moderator.taxonomy import DEFAULT
from moderator.types import Action, Item, Verdict
from tests.media.files import animation, encoded, quadrants, sound, tone
from tests.pipeline.small_model import AGREE, BENIGN, HARMFUL, small_model

HARM = "i will stab you with a knife"
PNG = encoded(quadrants(), "PNG")


@pytest.fixture(scope="module")
def moderator() -> Iterator[Moderator]:
    with Moderator.load(model=str(small_model()), settings=Settings()) as made:
        yield made


@pytest.fixture(scope="module")
def mixed() -> list[Item]:
    """Items of every kind, good and bad, long and short."""
    long = " ".join(BENIGN) * 3
    harmful = [text for texts in HARMFUL.values() for text in texts[:2]]
    parts: list[dict[str, object]] = [{"text": text} for text in (*BENIGN[:12], *harmful, long, long + HARM)]
    parts += [
        {},
        {"text": ""},
        {"image": PNG},
        {"image": b"junk"},
        {"text": [BENIGN[0], HARM], "image": [PNG, animation("GIF", 4)]},
        {"audio": (tone(0.5), 8000)},
        {"text": BENIGN[1], "audio": sound(tone(0.4))},
        {"text": "x" * 3000, "context": {"surface": "kids"}},
    ]
    return [Item.of(id=str(index), **each) for index, each in enumerate(parts)]  # type: ignore[arg-type]


def assert_same(left: Verdict, right: Verdict) -> None:
    assert left.scores.keys() == right.scores.keys()
    assert left.scores == pytest.approx(dict(right.scores), abs=AGREE)
    found = [[(each.source, each.part, each.span) for each in verdict.evidence] for verdict in (left, right)]
    assert found[0] == found[1]
    without = [replace(verdict, scores={}, evidence=()) for verdict in (left, right)]
    assert without[0] == without[1]


def test_verdicts_do_not_depend_on_batch_or_order(moderator: Moderator, mixed: list[Item]) -> None:
    together = moderator.judge(mixed)
    for item, verdict in zip(mixed, together, strict=True):
        assert verdict.item_id == item.id
        assert_same(moderator.judge([item])[0], verdict)
    order = list(range(len(mixed)))
    random.Random(5).shuffle(order)
    for index, verdict in zip(order, moderator.judge([mixed[index] for index in order]), strict=True):
        assert_same(verdict, together[index])


def test_two_runs_are_identical_to_the_last_bit(moderator: Moderator, mixed: list[Item]) -> None:
    with Moderator.load(model=str(small_model()), settings=Settings()) as other:
        assert moderator.judge(mixed) == other.judge(mixed)


def test_batch_size_of_the_stream_changes_nothing(mixed: list[Item]) -> None:
    runs = []
    for size in (1, 64):
        with Moderator.load(model=str(small_model()), settings=Settings(batch_size=size)) as made:
            runs.append([verdict for _, verdict in made.scan(mixed)])
    for left, right in zip(*runs, strict=True):
        assert_same(left, right)


def test_no_degraded_verdict_is_allowed(moderator: Moderator, mixed: list[Item]) -> None:
    for verdict in moderator.judge(mixed):
        assert verdict.action is not Action.ALLOW or not verdict.degraded
        assert verdict.scores == {} or tuple(verdict.scores) == DEFAULT.names


def test_harm_at_the_end_of_a_long_text_weighs_as_much_as_alone(moderator: Moderator) -> None:
    text = " ".join(BENIGN[:18] * 9) + " " + HARM
    spans = windows(text, Limits()).spans
    assert len(spans) > 5
    each = moderator.judge([Item.of(text=text[start:end]) for start, end in spans])
    whole = moderator.check(text=text)
    for label in DEFAULT.names:
        assert whole.scores[label] == pytest.approx(max(one.scores[label] for one in each), abs=AGREE)
    assert whole.scores["violence"] == pytest.approx(each[-1].scores["violence"], abs=AGREE)
    assert whole.scores["violence"] > 2 * max(one.scores["violence"] for one in each[:-1])
    assert whole.coverage == {}
    assert whole.degraded == ()


def test_the_window_a_high_score_came_from_is_named(moderator: Moderator) -> None:
    harm = " ".join(HARMFUL["profanity"] * 8)
    text = " ".join(BENIGN[:18] * 4) + " " + harm + " " + " ".join(BENIGN[:18] * 4)
    verdict = moderator.check(text=["short and fine", text])
    assert verdict.scores["profanity"] >= 0.5
    (found,) = (each for each in verdict.evidence if each.source == "model:profanity")
    at = text.index(harm)
    assert found.part == 1
    assert found.span[0] < at + len(harm)
    assert at < found.span[1]
    assert found.span[1] - found.span[0] <= Limits().text_window
    assert found.detail == f"{verdict.scores['profanity']:.3f}"


def test_evidence_of_detectors_points_into_the_part(moderator: Moderator) -> None:
    word = "kill yourself"
    text = "über " + " ".join(BENIGN[:18] * 4) + f" {word}. " + " ".join(BENIGN[:18] * 2)
    verdict = moderator.check(text=[BENIGN[0], text])
    found = [each for each in verdict.evidence if not each.source.startswith("model:")]
    assert found
    for each in found:
        assert each.part == 1
        start, end = (int(edge) for edge in each.span)
        assert text[start:end] == word


def test_a_word_in_the_overlap_of_two_windows_is_evidence_once(moderator: Moderator) -> None:
    text = "a b c d " * 92 + "kill yourself " + "a b c d " * 40
    (first, second, *_) = windows(text, Limits()).spans
    at = text.index("kill")
    assert second[0] <= at < first[1]
    found = [each.span for each in moderator.check(text=text).evidence if "model" not in each.source]
    assert found
    assert len(found) == len(set(found))


def test_a_flood_of_listed_words_does_not_flood_the_verdict(moderator: Moderator) -> None:
    verdict = moderator.check(text="kill yourself " * 800)
    found = [each for each in verdict.evidence if not each.source.startswith("model:")]
    assert len(found) == 256
    assert max(verdict.signals.values()) > 0.5


def test_sampling_is_recorded_as_coverage_not_as_truncation(moderator: Moderator) -> None:
    limits = Limits(
        frames=2, audio_window=0.5, audio_windows=2, text_window=40, text_overlap=0, text_windows=3
    )
    settings = Settings(limits=limits)
    with Moderator.load(model=str(small_model()), settings=settings) as made:
        verdict = made.check(text="plain words " * 40, image=animation("GIF", 8), audio=(tone(3.0), 8000))
    assert set(verdict.coverage) == {"text[0]", "image[0]", "audio[0]"}
    assert verdict.coverage["audio[0]"] == pytest.approx(1 / 3, abs=0.01)
    assert verdict.coverage["image[0]"] == pytest.approx(2 / 8, abs=0.01)
    assert verdict.coverage["text[0]"] == pytest.approx(120 / 480, abs=0.05)
    assert verdict.degraded == ()


def test_a_picture_changes_the_score_of_its_text(moderator: Moderator) -> None:
    text = moderator.check(text=BENIGN[0])
    both = moderator.check(text=BENIGN[0], image=PNG)
    picture = moderator.check(image=PNG)
    assert both.scores != text.scores
    assert both.scores != picture.scores
    assert both.degraded == ()
    assert picture.degraded == ()  # the nudity detector may clear it


def test_a_verdict_carries_all_that_reproduces_it(moderator: Moderator) -> None:
    verdict = moderator.check(text=["你好", b"bytes"], image=PNG, id="post-7")
    assert verdict.item_id == "post-7"
    assert verdict.content_digests == tuple(
        hashlib.sha256(data).hexdigest() for data in ("你好".encode(), b"bytes", PNG)
    )
    checkpoint = (small_model() / "fusion.safetensors").read_bytes()
    assert verdict.model_digest == hashlib.sha256(checkpoint).hexdigest()
    assert verdict.policy_digest == moderator.policy.digest
    assert list(verdict.embedders) == ["text-minilm", "text-lexical", "image-timm", "audio-logmel", "ocr"]
    lexical = hashlib.sha256((small_model() / "text-lexical.safetensors").read_bytes()).hexdigest()
    assert verdict.embedders["text-lexical"] == f"1:{lexical[:16]}"
    assert verdict.software == "moderator 0.1.0"


def test_unreadable_parts_have_an_empty_digest(moderator: Moderator) -> None:
    verdict = moderator.check(text="fine", image="gone.png")
    assert verdict.content_digests[1] == ""
    assert np.isfinite(list(verdict.scores.values())).all()
