"""``moderator models export``: a directory that judges by itself, and figures of what that changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import moderator_text.encoder
from moderator import Moderator
from moderator.cli.models import models
from moderator.errors import ModeratorError
from moderator.fusion.metadata import read_metadata
from moderator.settings import Settings
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(models, ["export", *map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("export")
    rows = [
        {"dataset": "mail", "text": text, "labels": {"spam": int(text in HARMFUL["spam"])}, "lang": "en"}
        for text in (*HARMFUL["spam"], *BENIGN[:8])
    ]
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = folder / "small"
    return out, run(out, "--int8", "--data", data, "--model", small_model(), "--json")


def test_what_is_lost_is_printed(exported: tuple[Path, Result]) -> None:
    _, result = exported
    assert result.exit_code == 0, result.output
    rows = {row["id"]: row for row in json.loads(result.stdout)}
    assert list(rows) == [
        "megabytes (text-minilm)",
        "precision (text-minilm)",
        "texts a second",
        "score difference, mean",
        next(name for name in rows if name.startswith("score difference, largest (")),
        "actions changed, %",
        "actions milder, %",
        "AUROC (spam)",
    ]
    size = rows["megabytes (text-minilm)"]
    assert size["after"] < 0.3 * size["before"]
    assert rows["precision (text-minilm)"]["after"].startswith("int8")
    assert rows["precision (text-minilm)"]["before"] in ("float32", "bfloat16")
    largest = next(row for name, row in rows.items() if name.startswith("score difference, largest"))
    assert 0 < rows["score difference, mean"]["change"] <= largest["change"] < 0.2
    assert rows["AUROC (spam)"]["before"] == 1.0
    assert rows["texts a second"]["after"] > 0


def test_it_judges_without_the_weights_it_was_made_from(
    exported: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderator_text.encoder, "_PACKAGE", "not_installed/model")
    monkeypatch.setattr(moderator_text.encoder, "_REPO", "nobody/no-such-model")
    out, _ = exported
    with Moderator.load(settings=Settings(model=str(out), device="cpu")) as moderator:
        verdict = moderator.check(text="click here to win a free prize now")
        kind = moderator.host.embedders["text-minilm"].precision
    assert verdict.degraded == ()
    assert verdict.scores["spam"] > 0.5
    named = read_metadata(out / "fusion.safetensors")["embedders"]["text-minilm"]
    assert verdict.embedders["text-minilm"] == f"{named}:{kind}"
    before = read_metadata(small_model() / "fusion.safetensors")["embedders"]
    assert before["text-minilm"] != named
    listed = CliRunner().invoke(models, ["list", "--model", str(out), "--json"])
    row = next(row for row in json.loads(listed.stdout) if row["id"] == "text-minilm")
    assert (row["status"], row["path"]) == ("found", str(out / "text-minilm.safetensors"))


def altered(out: Path, folder: Path, data: bytes) -> Path:
    """A copy of the model with other bytes as its encoder's file."""
    shutil.copytree(out, folder)
    (folder / "text-minilm.safetensors").write_bytes(data)
    return folder


def test_a_file_that_was_changed_is_refused(exported: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = exported
    data = (out / "text-minilm.safetensors").read_bytes()
    flipped = altered(out, tmp_path / "flipped", data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    with (
        Moderator.load(settings=Settings(model=str(flipped), device="cpu")) as moderator,
        pytest.raises(ModeratorError, match="the model was trained with text-minilm"),
    ):
        moderator.check(text="good morning")
    cut = altered(out, tmp_path / "cut", data[:-100])
    with Moderator.load(settings=Settings(model=str(cut), device="cpu")) as moderator:
        verdict = moderator.check(text="good morning")
    assert verdict.action != "allow"
    assert "not a readable safetensors file" in " ".join(verdict.degraded)


def test_what_cannot_be_exported_is_said(exported: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = exported
    again = run(tmp_path / "again", "--int8", "--model", out).exception
    assert isinstance(again, ModeratorError)
    assert str(again) == f"text-minilm: {out / 'text-minilm.safetensors'} is in 8 bits already"
    assert not (tmp_path / "again" / "fusion.safetensors").exists()
    full = run(out, "--int8", "--model", small_model()).exception
    assert isinstance(full, ModeratorError)
    assert str(full) == f"{out} is not an empty folder; write to a new one"
    assert "say in which form: --int8" in run(tmp_path / "none").stderr
