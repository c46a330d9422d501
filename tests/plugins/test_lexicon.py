"""The detector ``lexicon``: what it finds, what it must not, and its list format."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import PluginError
from moderator.media.text import normalise
from moderator.testing import check_plugin, make_text
from moderator.types import Content, Modality, Signal
from moderator_lexicon.detector import LexiconDetector
from moderator_lexicon.entries import read_list


def loaded(**options: Any) -> LexiconDetector:
    detector = LexiconDetector(options)
    detector.load("cpu")
    return detector


SHIPPED = loaded()


def detect(text: str, detector: LexiconDetector = SHIPPED) -> dict[str, Signal]:
    (signals,) = detector.detect_batch([make_text(text)])
    return {signal.name: signal for signal in signals}


def said(text: str, detector: LexiconDetector = SHIPPED) -> list[tuple[str, str]]:
    """Signal and the very characters it points at."""
    return [
        (name, text[int(evidence.span[0]) : int(evidence.span[1])])
        for name, signal in detect(text, detector).items()
        for evidence in signal.evidence
    ]


@pytest.fixture
def own(tmp_path: Path) -> Any:
    def write(body: str, name: str = "own.txt") -> LexiconDetector:
        file = tmp_path / name
        file.write_text(body, encoding="utf-8")
        return loaded(lists=[str(file)], shipped=False)

    return write


def test_it_keeps_the_contract() -> None:
    assert [result for result in check_plugin(LexiconDetector()) if not result.ok] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FUCK this", [("lexicon_profanity", "FUCK")]),
        ("well f.u.c.k it", [("lexicon_profanity", "f.u.c.k")]),
        (
            "ｆｕｃｋ\u200bing hell",
            [("lexicon_profanity", "ｆｕｃｋ\u200bing"), ("lexicon_profanity", "hell")],
        ),
        ("you piece\n  of - shit", [("lexicon_profanity", "piece\n  of - shit")]),
        ("I WILL KILL YOU!!!", [("lexicon_violence", "I WILL KILL YOU")]),
        ("please kill-yourself now", [("lexicon_self_harm", "kill-yourself")]),
        ("你这个傻逼", [("lexicon_profanity", "傻逼")]),
        ("你 妈 逼", [("lexicon_profanity", "你 妈 逼")]),
        ("我要殺了你", [("lexicon_violence", "我要殺了你")]),
        ("加VX123456", [("lexicon_spam", "加VX")]),
        ("hijo de puta", [("lexicon_profanity", "hijo de puta")]),
        ("Du ARSCHLOCH", [("lexicon_profanity", "ARSCHLOCH")]),
        ("va te faire foutre", [("lexicon_profanity", "va te faire foutre")]),
        ("Иди нахуй", [("lexicon_profanity", "Иди нахуй")]),
        ("vai tomar no cu", [("lexicon_profanity", "vai tomar no cu")]),
    ],
)
def test_what_is_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Scunthorpe, Penistone and Lightwater",
        "a classic assessment of cocktails in Sussex",
        "the passage was massive; pass the grapes",
        "con cuidado, a bite of fog; the mist over Arsenal",
        "他可靠，三小时后到路口交通站，妈妈的味道",
        "我操作电脑，卖大家电，性别不限",
        "这个操。蛋糕很好吃",
    ],
)
def test_innocent_words_are_left_alone(text: str) -> None:
    assert said(text) == []


def test_stretched_words_are_found_and_their_look_alikes_are_not() -> None:
    ((name, found),) = said("oh shiiiiiit")
    assert (name, found) == ("lexicon_profanity", "shiiiiiit")
    assert said("to assess it") == []


def test_the_score_is_the_severest_entry_and_longer_matches_hide_those_within(own: Any) -> None:
    detector = own("language: en\nsignal: lexicon_spam\nseverity: 0.5\n\nfoo\nfoo bar\t0.9\nbar baz\t0.3\n")
    signal = detect("foo bar baz", detector)["lexicon_spam"]
    assert signal.score == 0.9
    assert [evidence.detail for evidence in signal.evidence] == ["foo bar (en)", "bar baz (en)"]
    assert detect("foo", detector)["lexicon_spam"].score == 0.5


def test_a_star_matches_longer_words(own: Any) -> None:
    detector = own("language: en\nsignal: lexicon_spam\n\nvia*\ngra\n")
    assert said("viable gravel via gra", detector) == [
        ("lexicon_spam", "via"),
        ("lexicon_spam", "via"),
        ("lexicon_spam", "gra"),
    ]


def test_own_lists_bring_own_signals_and_languages(tmp_path: Path) -> None:
    (tmp_path / "brand.txt").write_text("# ours\nlanguage: nl\nsignal: lexicon_brand\n\nfietsbel\n")
    detector = loaded(lists=str(tmp_path))
    assert "lexicon_brand" in {spec.name for spec in detector.signals}
    assert set(detect("Fietsbel, fuck", detector)) == {"lexicon_brand", "lexicon_profanity"}
    dutch = loaded(lists=str(tmp_path), languages=["nl"])
    assert set(detect("Fietsbel, fuck", dutch)) == {"lexicon_brand"}
    swearing = loaded(lists=str(tmp_path), signals=["lexicon_profanity"])
    assert set(detect("Fietsbel, fuck", swearing)) == {"lexicon_profanity"}


def test_the_fingerprint_follows_the_lists(own: Any) -> None:
    body = "language: en\nsignal: lexicon_spam\n\nfoo\n"
    assert own(body).fingerprint == own(body).fingerprint
    assert own(body).fingerprint != own(body + "bar\n").fingerprint
    assert loaded(languages=["zh"]).fingerprint != SHIPPED.fingerprint
    with pytest.raises(PluginError, match=r"the fingerprint is known after load"):
        _ = LexiconDetector().fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"list": []}, "lexicon: unknown option 'list'; known are lists, shipped, languages, signals"),
        ({"lists": 3}, "lexicon: option lists must be a list of texts, got 3"),
        ({"shipped": "no"}, "lexicon: option shipped must be true or false, got 'no'"),
        ({"lists": "/none"}, "lexicon: /none is neither a list file nor a folder of them"),
        (
            {"signals": ["hate"]},
            "lexicon: option signals names 'hate'; known are lexicon_profanity, lexicon_hate,"
            " lexicon_violence, lexicon_sexual, lexicon_self_harm, lexicon_illicit, lexicon_spam",
        ),
        (
            {"languages": ["xx"]},
            "lexicon: option languages names 'xx'; the lists have de, en, es, fr, pt, ru, zh",
        ),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        loaded(**options)
    assert str(caught.value) == message


def test_everything_wrong_with_a_list_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text(
        "langauge: en\nsignal: hate\nsignal: lexicon_hate\nseverity: 2\n\nfoo\tnan\n***\nbar\t0\n", "utf-8"
    )
    with pytest.raises(PluginError) as caught:
        read_list(file)
    assert str(caught.value).splitlines() == [
        "lexicon list bad.txt:",
        f"{file}:1: unknown header 'langauge'; known are language, signal, severity",
        f"{file}:2: signal 'hate' must look like lexicon_name, in lower case",
        f"{file}:3: header 'signal' is given twice",
        f"{file}:4: severity '2' must be a number above 0, up to 1",
        f"{file}:6: severity 'nan' must be a number above 0, up to 1",
        f"{file}:7: entry '***' has neither a letter nor a digit",
        f"{file}:8: severity '0' must be a number above 0, up to 1",
        f"{file}:1: the header lacks 'language: …'",
    ]
    file.write_bytes(b"language: en\n\xff\n")
    with pytest.raises(PluginError, match=r"bad\.txt:2: not UTF-8; save the list as UTF-8"):
        read_list(file)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PluginError, match=r"holds no \.txt file"):
        LexiconDetector({"lists": [str(empty)]})


def test_text_without_a_normalised_form_is_searched_as_it_is() -> None:
    content = Content(Modality.TEXT, "so FUCKED up")
    (signals,) = SHIPPED.detect_batch([content])
    assert signals[0].evidence[0].span == (3.0, 9.0)


def test_spans_lead_back_through_offsets_and_to_all_of_it_without_them() -> None:
    offsets = np.array([4, 6, 8, 10], dtype=np.int32)
    content = Content(Modality.TEXT, "xxx f.u.c.k", "fuck", offsets)
    (signals,) = SHIPPED.detect_batch([content])
    assert signals[0].evidence[0].span == (4.0, 11.0)
    (signals,) = SHIPPED.detect_batch([Content(Modality.TEXT, "xxx f.u.c.k", "fuck")])
    assert signals[0].evidence[0].span == (0.0, 11.0)


@pytest.mark.parametrize(
    "text",
    ["the quick brown fox says fuck to the lazy dog 你好 " * 4000, "a" * 200_000, "操你妈" * 66_000],
    ids=["prose", "one word", "nothing else"],
)
def test_long_texts_take_well_under_a_second(text: str) -> None:
    content = make_text(text)
    start = time.perf_counter()
    SHIPPED.detect_batch([content])
    assert time.perf_counter() - start < 1.0


def test_every_shipped_entry_is_found_in_its_own_text() -> None:
    from importlib.resources import files

    from moderator_lexicon.entries import list_files

    missed = []
    counts: dict[str, int] = {}
    for file in list_files(files("moderator_lexicon.lists")):
        source = read_list(file)
        counts[source.language] = counts.get(source.language, 0) + len(source.entries)
        for entry in source.entries:
            found = detect(f"… {entry.text} …").get(source.signal)
            if found is None or found.score < entry.severity:
                missed.append((source.name, entry.text))
    assert missed == []
    assert counts["en"] > 1500
    assert counts["zh"] > 1500
    assert all(counts[code] >= 50 for code in ("es", "fr", "de", "ru", "pt"))


WORDS = ["fuck", "傻逼", "kill yourself", "Scheiße", "ﬁne", "İ", "\u200b", " ", ".", "\ud800", "\0"]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5)).map("".join))
def test_no_text_breaks_it_and_spans_lie_inside(text: str) -> None:
    for signal in detect(text).values():
        assert 0.0 < signal.score <= 1.0
        assert signal.evidence
        for evidence in signal.evidence:
            start, end = evidence.span
            assert 0 <= start < end <= len(text)


@given(st.text(alphabet=" .,-!?。\n", max_size=6), st.sampled_from(["fuck", "傻逼", "дерьмо"]))
def test_the_span_holds_the_term(around: str, term: str) -> None:
    text = f"{around}{term.upper()}{around}"
    spans = [found for name, found in said(text) if name == "lexicon_profanity"]
    assert term in [normalise(found).text.casefold() for found in spans]
