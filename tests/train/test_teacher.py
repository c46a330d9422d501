"""A small classifier on disk teaches a label the data does not know."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from moderator.errors import TrainingError
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.examples import read_text
from moderator.train.metrics import auroc
from moderator.train.run import Paths, train
from moderator.train.teacher import Teacher, taught
from tests.pipeline.small_model import BENIGN, HARMFUL
from tests.plugins.tiny_bert import tiny_bert

WORDS = ("idiot", "stupid", "nonsense", "what", "you", "shut", "up")


def toxic(text: str) -> bool:
    return any(word in text for word in ("idiot", "stupid"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mails that are known to be spam or not; every other holds an insult, which no label says."""
    rng = random.Random(5)
    path = tmp_path_factory.mktemp("mails") / "mails.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(300):
            said = rng.choice(HARMFUL["toxicity"][:3]) if number % 2 else rng.choice(BENIGN)
            spam = number % 3 == 0
            text = f"{said} {rng.choice(HARMFUL['spam']) if spam else ''} {number}"
            row = {"dataset": "mail", "lang": "en", "text": text, "labels": {"spam": int(spam)}}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    folder = tiny_bert(tmp_path_factory.mktemp("teacher"), words=WORDS, max_position_embeddings=64)
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.enable_truncation(48)
    words.enable_padding(length=48)
    words.save(str(folder / "tokenizer.json"))
    config = BertConfig.from_pretrained(
        folder,
        num_labels=2,
        problem_type="multi_label_classification",
        id2label={0: "rude", 1: "other"},
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    model = BertForSequenceClassification(config)
    given = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
    encoded = words.encode_batch(given)
    ids = torch.tensor([each.ids for each in encoded])
    mask = torch.tensor([each.attention_mask for each in encoded])
    truth = torch.tensor([[float(toxic(text)), 0.0] for text in given])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        loss = functional.binary_cross_entropy_with_logits(model(ids, attention_mask=mask).logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    model.eval().save_pretrained(folder)
    return folder


def test_only_what_is_unknown_is_asked(texts: Path, teacher: Path, tmp_path: Path) -> None:
    examples = read_text([texts], labels=DEFAULT.names)
    lines: list[str] = []
    given = Teacher(model=str(teacher), labels={"rude": "toxicity", "other": "spam"})
    made = taught(examples, given, DEFAULT.names, tmp_path, lines.append)
    assert "texts have its answers for toxicity, spam" in lines[-1]
    for was, now in zip(examples, made, strict=True):
        if was.split == "valid":
            assert now == was
            continue
        assert now.labels["spam"] == was.labels["spam"]
        assert (now.labels["toxicity"] >= 0.5) == toxic(str(was.item.parts[0].value))
    kept = list(tmp_path.glob("teacher-*.npy"))
    assert len(kept) == 1
    again = taught(examples, given, DEFAULT.names, tmp_path, lines.append)
    assert [each.labels for each in again] == [each.labels for each in made]
    none = Teacher(model=str(teacher), labels={"rude": "toxicity"}, sources=("letters",))
    assert taught(examples, none, DEFAULT.names, tmp_path, lines.append) == examples


def test_what_does_not_fit_is_said(texts: Path, teacher: Path, tmp_path: Path) -> None:
    examples = read_text([texts], labels=DEFAULT.names)
    for labels, said in (
        ({}, "names no label to learn"),
        ({"rude": "rudeness"}, "rudeness is no label of ours"),
        ({"angry": "toxicity"}, "no label angry; it has rude, other"),
    ):
        with pytest.raises(TrainingError, match=said):
            taught(examples, Teacher(str(teacher), labels=labels), DEFAULT.names, tmp_path, print)


def test_the_model_learns_it(texts: Path, teacher: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text(
        f"""
[text]
files = ["mails.jsonl"]
valid_share = 0.25
[teacher]
model = "{teacher}"
labels = {{ rude = "toxicity" }}
[fusion]
embedders = ["text-lexical"]
width = 32
latents = 4
layers = 1
[training]
rounds = 2
steps = 20
batch_size = 24
warmup = 5
[options.text-lexical]
min_count = 1
size = 4096
iterations = 20
""",
        encoding="utf-8",
    )
    out = tmp_path / "model"
    train(read_config(config), Paths([texts.parent], out, tmp_path / "work"), Settings(), lambda line: None)
    given = [*HARMFUL["toxicity"][:3], *BENIGN]
    with Moderator.load(model=str(out), settings=Settings()) as moderator:
        scores = np.array([moderator.check(text=text).scores["toxicity"] for text in given])
    assert auroc(np.array([toxic(text) for text in given]), scores) > 0.9
