"""A whole small training through the command: data in, a model directory out that judges."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from moderator.cli.evaluate import evaluate
from moderator.cli.train import train as command
from moderator.errors import TrainingError
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from moderator.train.config import TrainConfig, read_config
from moderator.train.run import Paths, train
from tests.pipeline.small_model import BENIGN, HARMFUL
from tests.plugins.tiny_bert import tiny_bert

CONFIG = """
[text]
files = ["text.jsonl"]
valid_share = 0.25

[image]
manifest = "media.jsonl"
datasets = ["squares"]

[embedders.image-timm]
epochs = 1
batch_size = 16

[fusion]
embedders = ["text-lexical", "image-timm"]
not_alone = ["image-timm"]
width = 32
latents = 4
layers = 1

[training]
rounds = 3
steps = 12
batch_size = 24
warmup = 5

[options.text-lexical]
min_count = 1
size = 4096
iterations = 20
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of two sources, variants of those of the small model, and 48 red or blue pictures."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(7)
    rows = []
    for number in range(360):
        label = rng.choice(("toxicity", "spam"))
        harmful = number % 3 == 0
        first, second = rng.sample(BENIGN, 2)
        text = f"{first} {rng.choice(HARMFUL[label]) if harmful else ''} {second} {number}"
        labels = {label: int(harmful)} if number % 2 else {"toxicity": 0, "spam": 0, label: int(harmful)}
        source = "forum" if number % 2 else "mail"
        rows.append({"id": str(number), "dataset": source, "lang": "en", "text": text, "labels": labels})
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with (folder / "media.jsonl").open("w") as file:
        for number in range(48):
            violent = number % 2
            colour = (200, 20, 20) if violent else (20, 20, 200)
            noise = np.random.default_rng(number).integers(0, 40, (40, 40, 3))
            pixels = (np.array(colour) + noise).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            row = {"path": f"{number}.png", "dataset": "squares", "labels": {"violence": violent}}
            file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="module")
def config(data: Path) -> TrainConfig:
    path = data / "train.toml"
    path.write_text(CONFIG)
    return read_config(path)


def quietly(line: str) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def trained(data: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained through the command, without interruption."""
    out = tmp_path_factory.mktemp("trained") / "model"
    result = CliRunner().invoke(
        command,
        [str(data / "train.toml"), "--data", str(data), "--out", str(out), "--threads", "1"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "text: 360 examples of 2 sources" in result.output
    assert "round 3/3" in result.output
    assert f"done: use it with --model {out}" in result.output
    return out


def test_the_output_is_a_model_that_judges(trained: Path) -> None:
    assert {file.name for file in trained.glob("*.safetensors")} == {
        *("fusion.safetensors", "text-lexical.safetensors", "image-timm.safetensors")
    }
    with Moderator.load(model=str(trained), settings=Settings(), device="cpu") as moderator:
        assert moderator.failures == []
        assert "text-minilm" in moderator.unused
        spam = moderator.check(text="click this link now, you win a free prize")
        fine = moderator.check(text="the library opens at nine in the morning")
        picture = moderator.check(image=Image.new("RGB", (40, 40), (220, 40, 40)))
    assert spam.scores["spam"] > fine.scores["spam"]
    assert spam.degraded == fine.degraded == ()
    assert picture.degraded == ()  # the nudity detector may clear it


class _Stopped(BaseException):
    """Like Ctrl-C, but nothing else raises it."""


def interrupted(config: TrainConfig, paths: Paths, at: str) -> bool:
    def report(line: str) -> None:
        if at in line:
            raise _Stopped

    try:
        train(config, paths, Settings(), report)
    except _Stopped:
        return True
    return False


def test_an_interrupted_run_goes_on_and_ends_the_same(
    data: Path, config: TrainConfig, trained: Path, tmp_path: Path
) -> None:
    """Stopped once in every stage, started again with the same command."""
    paths = Paths([data], tmp_path / "model", tmp_path / "work")
    for stage in ("image-timm: epoch 1", "fitting fold 3/4", "image-timm: tokens of 48", "round 2/3"):
        assert interrupted(config, paths, stage), stage
    train(config, paths, Settings(), quietly)
    for file in trained.glob("*.safetensors"):
        assert (paths.out / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_finished_run_is_not_trained_again(data: Path, config: TrainConfig, trained: Path) -> None:
    before = {file: file.read_bytes() for file in trained.glob("*.safetensors")}
    lines: list[str] = []
    train(config, Paths([data], trained, trained / "work"), Settings(), lines.append)
    assert not [line for line in lines if "fitting" in line or "round" in line or "epoch" in line]
    assert {file: file.read_bytes() for file in trained.glob("*.safetensors")} == before


@pytest.fixture
def rows(trained: Path, data: Path) -> Iterator[list[dict[str, object]]]:
    result = CliRunner().invoke(
        evaluate,
        [str(data / "text.jsonl"), "--model", str(trained), "--device", "cpu", "--json"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    yield json.loads(result.stdout)


def test_evaluate_prints_a_row_per_source_and_label(rows: list[dict[str, object]]) -> None:
    assert [row["id"] for row in rows] == [
        f"{source}/{label}" for source in ("forum", "mail", "all sources") for label in ("toxicity", "spam")
    ]
    for row in rows:
        assert isinstance(row["auroc"], float)
        assert row["auroc"] > 0.8


def test_a_validation_set_without_both_classes_is_said(data: Path, tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(CONFIG.replace("valid_share = 0.25", "valid_share = 0.0"))
    text = "".join((data / "text.jsonl").read_text().splitlines(keepends=True)[:60])
    (tmp_path / "text.jsonl").write_text(text)
    source = CONFIG.split("[image]")[0].replace("0.25", "0.0") + CONFIG[CONFIG.index("[fusion]") :]
    (tmp_path / "train.toml").write_text(source.replace(', "image-timm"]', "]").replace('"image-timm"', ""))
    made = read_config(tmp_path / "train.toml")
    with pytest.raises(TrainingError, match="no label has ten positive and ten negative validation rows"):
        train(made, Paths([tmp_path], tmp_path / "out", tmp_path / "work"), Settings(), quietly)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fusion", "cannot be read as TOML"),
        ("[fusoin]\n", "unknown section fusoin"),
        ("[fusion]\nwith = 3\n", "fusion: unknown key with"),
        ("fusion = 3\n", "fusion must be a section, got 3"),
        ("[fusion]\n", "fusion.embedders names no embedder"),
        ("[audio.texts.x]\npositives = 3\n[fusion]\nembedders = ['a']\n", "audio.texts.x: "),
    ],
)
def test_bad_configurations_are_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(TrainingError) as refused:
        read_config(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"text-lexical", ', '"gone", '), "embedder gone is not installed; known are "),
        (("[embedders.image-timm]", "[embedders.text-lexical]"), "text-lexical has no weights of its own"),
        (
            ("valid_share", 'validation = ["nowhere"]\nvalid_share'),
            "validation sources ['nowhere'] are not in",
        ),
        (('datasets = ["squares"]', 'datasets = ["circles"]'), "lists no image of circles"),
        (('files = ["text.jsonl"]', 'files = ["gone.jsonl"]'), "gone.jsonl: not found in "),
    ],
)
def test_runs_that_cannot_start_are_said(
    data: Path, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    (tmp_path / "train.toml").write_text(CONFIG.replace(*change))
    made = read_config(tmp_path / "train.toml")
    with pytest.raises(TrainingError) as refused:
        train(made, Paths([data], tmp_path / "out", tmp_path / "work"), Settings(), quietly)
    assert said in str(refused.value)


def test_several_processes_train_one_model(data: Path, tmp_path: Path) -> None:
    """As ``torchrun`` and ``accelerate launch`` start them; one of them speaks and writes."""
    folder = tiny_bert(tmp_path / "bert", words=("click", "free", "prize", "idiot", "stupid"))
    (tmp_path / "train.toml").write_text(
        CONFIG.replace('["text-lexical", "image', '["text-minilm", "text-lexical", "image')
        + f"[tuning.text-minilm]\nrows = 200\nrounds = 1\nbatch = 400\n"
        f'[options.text-minilm]\nmodel = "{folder}"\nchunk = 14\nrank = 2\nlayers = 1\n'
    )
    out, profile = tmp_path / "model", tmp_path / "profile"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "moderator", "train", str(tmp_path / "train.toml"), "--data", str(data)]
    command += ["--out", str(out), "--threads", "1", "--profile", str(profile)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("examples of 2 sources", "tuning round 1/1", "round 3/3", "done: use it with"):
        assert done.stdout.count(said) == 1, said
    assert {file.name for file in out.glob("*.safetensors")} == {
        *("fusion.safetensors", "text-lexical.safetensors", "image-timm.safetensors"),
        "text-minilm.safetensors",
    }
    for stage in ("text-minilm", "fusion"):
        assert "Self CPU time total" in (profile / f"{stage}.txt").read_text(encoding="utf-8")
        assert json.loads((profile / f"{stage}.json").read_text(encoding="utf-8"))["traceEvents"]
    options = {"text-minilm": {"model": str(folder), "chunk": 14}}
    with Moderator.load(model=str(out), settings=Settings(plugins=options), device="cpu") as moderator:
        spam = moderator.check(text="click this link now, you win a free prize")
        fine = moderator.check(text="the library opens at nine in the morning")
    assert spam.scores["spam"] > fine.scores["spam"]
    assert spam.degraded == ()
