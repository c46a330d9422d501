"""Tuning an encoder: adapters learn, merge to the same states, resume, and refuse other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from moderator.errors import CheckpointError, TrainingError
from moderator.media.decode import decode
from moderator.settings import Limits
from moderator.taxonomy import DEFAULT
from moderator.testing import make_text
from moderator.train.config import read_config
from moderator.train.examples import Example
from moderator.train.tune import Tuning, tune
from moderator.types import Content, Item
from moderator_text.encoder import TransformerText
from tests.pipeline.small_model import BENIGN, HARMFUL
from tests.plugins.tiny_bert import tiny_bert

QUICK = Tuning(rows=512, rounds=2, lr=5e-3, batch=2000)


def contents_of(item: Item) -> tuple[Content, ...]:
    return decode(item, Limits()).contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with random weights that knows the words of the examples."""
    words = {word for texts in (BENIGN, *HARMFUL.values()) for text in texts for word in text.split()}
    made = tmp_path_factory.mktemp("encoder")
    return tiny_bert(made, sorted(words), hidden_size=32, intermediate_size=64, max_position_embeddings=300)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return sample()


def sample() -> list[Example]:
    rng = np.random.default_rng(3)
    made = []
    for number in range(240):
        harmful = number % 2
        texts = HARMFUL["toxicity"][:3] if harmful else BENIGN
        text = f"{texts[rng.integers(len(texts))]} {BENIGN[rng.integers(len(BENIGN))]}"
        source, split = ("forum", "mail")[number % 3 == 0], ("train", "valid")[number % 5 == 0]
        made.append(
            Example(Item.of(id=str(number), text=text), {"toxicity": float(harmful)}, source, "en", split)
        )
    return made


def tuned(folder: Path, examples: list[Example], out: Path, tuning: Tuning = QUICK) -> tuple[Path, list[str]]:
    said: list[str] = []
    embedder = TransformerText({"model": str(folder), "layers": 1, "rank": 4})
    path = tune(embedder, examples, DEFAULT.names, out, tuning, contents_of, said.append)
    return path, said


def loaded(folder: Path, adapters: Path | None = None) -> TransformerText:
    made = TransformerText({"model": str(folder), **({"weights": str(adapters)} if adapters else {})})
    made.load("cpu")
    return made


def test_adapters_learn_and_are_merged_at_load(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    path, said = tuned(folder, examples, tmp_path)
    assert len(said) == 3 and "untuned" in said[0] and "round 2/2" in said[2]
    # only the upper layer has them, and both matrices of each were trained
    state = load_file(path)
    assert {name.split(".")[2] for name in state} == {"1"}
    assert all(tensor.abs().sum() > 0 for tensor in state.values())
    plain, changed = loaded(folder), loaded(folder, path)
    assert plain.fingerprint != changed.fingerprint
    texts = [make_text(BENIGN[0]), make_text(HARMFUL["toxicity"][0])]
    before, after = plain.embed_batch(texts), changed.embed_batch(texts)
    assert not torch.allclose(before[1].tokens, after[1].tokens, atol=0.01)
    loss = [float(line.split("loss ")[1].split()[0]) for line in said[1:]]
    assert loss[1] < loss[0] and float(said[2].split()[-1]) > 0.9  # AUROC
    assert [len(weights.sha256) for weights in changed.weights()] == [64, 64]


def test_averaged_weights_are_kept(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    """A long average lies nearer to the start than the last weights, and resumes to the same bytes."""
    last, _ = tuned(folder, examples, tmp_path / "last")
    slow = replace(QUICK, average=0.98)
    averaged, said = tuned(folder, examples, tmp_path / "averaged", slow)
    norms = [
        sum(t.float().square().sum() for n, t in load_file(p).items() if n.endswith(".b"))
        for p in (last, averaged)
    ]
    assert 0 < norms[1] < norms[0]

    def stop(line: str) -> None:
        if "round 1/" in line:
            raise KeyboardInterrupt

    embedder = TransformerText({"model": str(folder), "layers": 1, "rank": 4})
    with pytest.raises(KeyboardInterrupt):
        tune(embedder, examples, DEFAULT.names, tmp_path / "cut", slow, contents_of, stop)
    resumed, more = tuned(folder, examples, tmp_path / "cut", slow)
    assert len(more) == 1 and more[0] == said[-1]
    assert resumed.read_bytes() == averaged.read_bytes()


def test_what_is_trained_is_what_is_used(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    """The states in training, with adapters beside the layers, are those of the merged encoder."""
    embedder = TransformerText({"model": str(folder), "layers": 2, "rank": 4})
    adapters = embedder.initialise("cpu", 0)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(0, 0.2)
            parameter.copy_(parameter.half())  # as they are stored
    embedder.save(tmp_path / "made.safetensors")
    texts = [make_text(text) for text in (*BENIGN[:3], "stupid")]
    with torch.inference_mode():
        tokens, mask = embedder.forward(embedder.inputs(texts))
    merged = loaded(folder, tmp_path / "made.safetensors").embed_batch(texts)
    for row, embedding in enumerate(merged):
        assert torch.allclose(tokens[row, 0], embedding.tokens[0], atol=0.05)  # bfloat16 in training
        assert int(mask[row].sum()) == len(embedding.tokens) + 2  # [CLS] and [SEP] are not kept


def test_an_interrupted_tuning_goes_on_as_if_it_had_not_been(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    whole, _ = tuned(folder, examples, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if "round 1" in line:
            raise StoppedError

    embedder = TransformerText({"model": str(folder), "layers": 1, "rank": 4})
    with pytest.raises(StoppedError):
        tune(embedder, examples, DEFAULT.names, tmp_path / "parts", QUICK, contents_of, stop)
    parts, said = tuned(folder, examples, tmp_path / "parts")
    assert len(said) == 1
    for name, tensor in load_file(whole).items():
        assert torch.equal(tensor, load_file(parts)[name]), name
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["text-minilm.safetensors"]


def test_adapters_of_another_encoder_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x.a": torch.zeros(1)}, path, metadata={"base": "0" * 64})
    with pytest.raises(CheckpointError, match="adapters for an encoder with SHA-256 000000000000"):
        loaded(folder, path)


def test_there_must_be_something_to_validate_on(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="0 to validate on"):
        tuned(folder, [each for each in examples if each.split == "train"], tmp_path)


def test_the_configuration_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('[fusion]\nembedders = ["text-minilm"]\n[tuning.text-minilm]\nrows = 100\nlr = 1e-3\n')
    assert read_config(path).tuning["text-minilm"] == Tuning(rows=100, lr=1e-3)
    path.write_text('[fusion]\nembedders = ["text-minilm"]\n[tuning.text-minilm]\nsteps = 100\n')
    with pytest.raises(TrainingError, match="unknown key steps"):
        read_config(path)
