"""Chinese read through English glosses: words are found, spans lead back, other text is left alone."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moderator.testing import make_text
from moderator_text.emoji import named
from moderator_text.encoder import TransformerText
from moderator_text.gloss import Glossary, chinese_english
from moderator_text.rewritten import Rewritten, without_long_words

SMALL = Glossary({"我": "i", "想": "want", "杀": "kill", "自杀": "commit suicide", "了": "", "你": "you"})


def source_of(text: str, made: Rewritten, piece: str) -> str:
    """The characters of ``text`` that ``piece`` of its rewritten form stands for."""
    at = made.text.index(piece)
    ((begin, end),) = made.before(np.array([[at, at + len(piece)]], dtype=np.float32)).astype(int)
    return text[begin:end]


def test_longest_words_win_and_empty_ones_vanish() -> None:
    text = "Hi, 我想自杀了"
    made = SMALL.gloss(text)
    assert made is not None
    assert made.text.split() == ["Hi,", "i", "want", "commit", "suicide"]
    assert source_of(text, made, "commit") == source_of(text, made, "suicide") == "自杀"
    assert source_of(text, made, "suic") == "自杀"
    assert source_of(text, made, "want") == "想"
    assert source_of(text, made, "Hi") == "Hi"


def test_unknown_characters_stay() -> None:
    made = SMALL.gloss("我龘你")
    assert made is not None and made.text.split() == ["i", "龘", "you"]


@pytest.mark.parametrize("text", ["", "plain", "naïve — ok 🙂", "Привет", "ひらがな"])
def test_texts_without_chinese_are_not_touched(text: str) -> None:
    assert SMALL.gloss(text) is None
    assert (named(text) is None) is ("🙂" not in text)


@given(st.text(st.sampled_from("我想自杀了你龘 a!é🙂"), max_size=40))
def test_every_character_made_stands_for_a_place_in_the_text(text: str) -> None:
    made = SMALL.gloss(text)
    if made is None:
        return
    assert len(made.text) == len(made.begins) == len(made.ends)
    assert (made.begins < made.ends).all() and (np.diff(made.begins) >= 0).all()
    assert made.ends.max(initial=0) <= len(text)
    kept = [char for char in text if not "\u4e00" <= char <= "\u9fff" and char != " "]
    assert [char for char in made.text if char in "!é🙂"] == [char for char in kept if char != "a"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("they are 🐷🐷🐷 all", "they are pig face all"),
        ("🖕🏿 you", "reversed hand with middle finger extended you"),
        ("👩\u200d🚀 a❤\ufe0f", "woman rocket a heart \ufe0f"),
        ("🐷 🐷 😂🐷", "pig face pig face face with tears of joy pig face"),
    ],
)
def test_emoji_are_read_by_their_names(text: str, names: str) -> None:
    made = named(text)
    assert made is not None and made.text.split() == names.split()


def test_names_of_emoji_lead_back() -> None:
    text = "so 🐷🐷 x🔫"
    made = named(text)
    assert made is not None
    assert source_of(text, made, "pig") == source_of(text, made, "face") == "🐷"
    assert source_of(text, made, "pistol") == "🔫"


@given(st.text(st.sampled_from("a 我é🐷🏿❤\ufe0f\u200d🫶\U0001faf8"), max_size=30))
def test_naming_emoji_keeps_all_else(text: str) -> None:
    made = named(text)
    if made is None:
        return
    assert len(made.text) == len(made.begins) and (np.diff(made.begins) >= 0).all()
    assert (made.begins < made.ends).all() and made.ends.max(initial=0) <= len(text)
    assert [char for char in made.text if char in "我é\U0001faf8"] == [
        c for c in text if c in "我é\U0001faf8"
    ]


def test_long_words_are_cut_and_lead_back() -> None:
    text = "see " + "x" * 200 + " end"
    made = without_long_words(text)
    assert made is not None and max(map(len, made.text.split())) == 80
    assert made.text.replace(" ", "") == text.replace(" ", "")
    assert source_of(text, made, "end") == "end"
    assert without_long_words("x" * 80) is None


def test_the_glossary_that_ships_is_whole() -> None:
    lines = (files("moderator_text.glossaries") / "zh-en.tsv").read_text(encoding="utf-8").splitlines()
    words = [line.split("\t")[0] for line in lines]
    assert len(words) == len(set(words)) >= 12_000
    for line in lines:
        assert re.fullmatch(r"[\u3400-\u4dbf\u4e00-\u9fff]{1,8}\t(-|[a-z0-9 '.&/+%-]{1,40})", line), line
    assert len(chinese_english()) == len(words)


@pytest.fixture(scope="module")
def minilm() -> TransformerText:
    made = TransformerText({"gloss": True})
    made.load("cpu")
    return made


def test_the_encoder_understands_chinese(minilm: TransformerText) -> None:
    """A Chinese sentence is nearer to its English translation than to another one."""
    pairs = [
        ("我想自杀，不想活了", "I want to kill myself, I do not want to live"),
        ("他们全家都被警察抓走了", "His whole family was arrested by the police"),
        ("今天天气很好，我们去公园玩", "The weather is nice today, let's go to the park"),
        ("加微信免费领取红包，日赚一千", "Add me on WeChat, free cash gift, earn a thousand a day"),
        ("你这个白痴，给我滚", "You idiot, get out of here"),
    ]
    made = minilm.embed_batch([make_text(text) for pair in pairs for text in pair])
    means = torch.nn.functional.normalize(torch.stack([each.tokens[0] for each in made]), dim=1)
    alike = means[0::2] @ means[1::2].T  # (Chinese, English)
    assert alike.argmax(dim=1).tolist() == list(range(len(pairs)))


def test_switched_off_it_reads_characters() -> None:
    plain = TransformerText({"gloss": False})
    plain.load("cpu")
    glossed = TransformerText()
    glossed.load("cpu")
    assert plain.fingerprint != glossed.fingerprint
    text = make_text("我想自杀")
    assert not torch.equal(plain.embed_batch([text])[0].tokens[0], glossed.embed_batch([text])[0].tokens[0])
    english = make_text("nothing Chinese here")
    assert torch.equal(plain.embed_batch([english])[0].tokens, glossed.embed_batch([english])[0].tokens)
