"""Going on from a trained model: new labels are learnt, old ones kept."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from moderator.cli.train import train
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model

PARTIES = ("the greens", "the liberals", "labour", "the tories", "the mayor", "the senate", "my deputy")
DEEDS = ("won the election", "lost a vote", "wants higher taxes", "gave a speech", "campaigns again")
FOOD = ("soup", "bread", "rice", "noodles", "cake", "beans", "dumplings", "a salad")
WORDS = ("tastes fine", "is ready", "was cold", "for lunch", "with butter", "burnt again", "smells good")


def texts(label: str, count: int = 160) -> list[dict[str, object]]:
    """Texts on politics and on food; only the new label is known of them."""
    draw = random.Random(1)
    rows: list[dict[str, object]] = []
    for number in range(count):
        first, second = ((PARTIES, DEEDS), (FOOD, WORDS))[number % 2]
        text = f"{draw.choice(first)} {draw.choice(second)} {number}"
        rows.append({"dataset": "own", "lang": "en", "text": text, "labels": {label: 1 - number % 2}})
    return rows


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_new_label_is_learnt_and_the_others_stay(tmp_path: Path) -> None:
    data, out = written(tmp_path / "mine.jsonl", texts("politics")), tmp_path / "model"
    command = ["--from", str(small_model()), "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(train, [*command, "--new-label", "politics"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "rows to learn from" in done.output and "before  AUROC" in done.output
    probes = [*BENIGN, *(text for group in HARMFUL.values() for text in group)]
    with Moderator.load(model=str(small_model()), settings=Settings()) as old:
        before = [old.check(text=text).scores for text in probes]
    policy = tmp_path / "own.yaml"
    policy.write_text(
        "name: own\nversion: 1\notherwise: allow\non_degraded: review\n"
        "rules:\n  - {name: politics-review, when: politics >= 0.5, then: review}\n",
        encoding="utf-8",
    )
    with Moderator.load(model=str(out), policy=str(policy), settings=Settings()) as new:
        after = [new.check(text=text).scores for text in probes]
        said = [new.check(text=text) for text in ("the liberals won the election", "soup for lunch")]
    assert [verdict.action.value for verdict in said] == ["review", "allow"]
    for was, now in zip(before, after, strict=True):
        assert set(now) == {*was, "politics"}
        assert {name: now[name] for name in was} == pytest.approx(dict(was), abs=0.25)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    data = written(tmp_path / "mine.jsonl", texts("politics", 30))
    out = str(tmp_path / "model")

    def said(*options: str) -> str:
        done = CliRunner().invoke(train, ["--out", out, *options])
        assert done.exit_code != 0
        return f"{done.output} {done.exception}"

    own = ("--from", str(small_model()), "--data", str(data))
    assert "new label politics: 15 rows with it and 15 without" in said(*own, "--new-label", "politics")
    assert "hate is a label of the model already" in said(*own, "--new-label", "hate")
    assert "'Politics' must be lower-case" in said(*own, "--new-label", "Politics")
    assert "give either a CONFIG or --from MODEL" in said("--data", str(tmp_path))
    assert "files of labelled texts are expected" in said("--from", "default", "--data", str(tmp_path))
    assert "no fusion.safetensors there" in said("--from", str(tmp_path), "--data", str(data))
