"""Finding tasks, reaching verdicts again, comparing models: from the command line, on a real scan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from moderator.cli import cli
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("find")
    texts = [*HARMFUL["violence"], *HARMFUL["spam"], *BENIGN[:3]]
    lines = [json.dumps({"id": f"p{at}", "text": words}) for at, words in enumerate(texts)]
    (made / "in.jsonl").write_text("\n".join([*lines, "not json"]) + "\n")
    run("scan", made / "in.jsonl", "--db", db(made), "--model", small_model(), "--device", "cpu")
    return made


def db(folder: Path) -> str:
    return f"sqlite:///{folder / 'moderator.db'}"


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def found(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        run("queue", "find", *arguments, "--db", db(folder), "--json").stdout
    )
    return rows


def test_find_by_words_labels_and_reasons(folder: Path) -> None:
    everything = found(folder)
    assert [row["item"] for row in found(folder, "--text", "杀了你")] == ["p3"]
    assert {row["item"] for row in found(folder, "--text", "STAB")} <= {"p0", "p2"}
    assert found(folder, "--label", "violence", "--min", "0.3", "--order", "score")
    assert [row["item"] for row in found(folder, "--degraded", "any")] == [
        row["item"] for row in everything if any("read" in each or "JSON" in each for each in row["reasons"])
    ]
    assert found(folder, "--source", folder / "in.jsonl", "--state", "waiting") == everything
    assert found(folder, "--source", "elsewhere") == []
    shown = run("queue", "find", "--limit", "1", "--db", db(folder))
    assert "more: --cursor " in shown.stderr
    cursor = shown.stderr.split()[-1]
    assert [row["id"] for row in found(folder, "--cursor", cursor)] == [row["id"] for row in everything[1:]]


def test_an_impossible_search_is_refused(folder: Path) -> None:
    refused = CliRunner().invoke(cli, ["queue", "find", "--min", "0.5", "--db", db(folder)])
    assert "a range of scores is of a label: name one" in str(refused.exception)


def test_replay_says_equal_and_by_which_policy(folder: Path) -> None:
    model = ("--model", small_model(), "--device", "cpu", "--db", db(folder))
    assert "verdict 1: equal: " in run("audit", "replay", "1", *model).stdout
    said = json.loads(run("audit", "replay", "2", *model, "--json").stdout)
    assert said["equal"] is True and said["differences"] == [] and len(said["policy_digest"]) == 64
    (folder / "other.txt").write_text("something else")
    other = CliRunner().invoke(
        cli, [str(each) for each in ("audit", "replay", "1", *model, "--content", folder / "other.txt")]
    )
    assert other.exit_code == 1
    assert "is not what was judged" in str(other.exception)


def test_diff_counts_what_changes(folder: Path, tmp_path: Path) -> None:
    model = ("--model", small_model(), "--device", "cpu")
    policy = tmp_path / "all.yaml"
    policy.write_text(
        "name: all\nversion: 1\notherwise: allow\non_degraded: review\n"
        "rules:\n  - name: any\n    when: spam >= 0.0001\n    then: block\n"
    )
    arguments = ("diff", folder / "in.jsonl", *model, "--policy", "default", "--policy", policy)
    said = json.loads(run(*arguments, "--json").stdout)
    assert said["items"] == 11
    assert said["changed"] == sum(row["count"] for row in said["actions"] if row["from"] != row["to"]) > 0
    assert all(row["max"] == 0 for row in said["scores"])
    assert {row["to"] for row in said["most_changed"]} == {"block"}
    assert all(row["text"] == "" for row in said["most_changed"])
    shown = run(*arguments, "--reveal", "--sample", "5")
    assert "5 posts: " in shown.stdout
    same = shutil.copytree(small_model(), tmp_path / "same")
    pair = ("diff", folder / "in.jsonl", "--model", small_model(), "--model", same, "--device", "cpu")
    assert "11 posts: 0 actions change (0.0%)" in run(*pair).stdout
    alone = CliRunner().invoke(cli, ["diff", str(folder / "in.jsonl"), "--model", "default"])
    assert alone.exit_code == 2
    assert "name two models or two policies to compare" in alone.output


def test_erasing_holding_retaining(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(folder / "moderator.db", tmp_path / "moderator.db")
    at = ("--db", db(tmp_path))
    lead = ("--reviewer", "lea", "--reason", "request 12", *at)
    assert "hold 1 placed" in run("audit", "hold", "--item", "p0", *lead).stdout
    assert json.loads(run("audit", "holds", *at, "--json").stdout)[0]["item"] == "p0"
    refused = CliRunner().invoke(cli, ["audit", "erase", "--item", "p0", *lead])
    assert "is under legal hold 1" in str(refused.exception)
    assert "1 posts erased" in run("audit", "erase", "--item", "p1", *lead).stdout
    assert "hold 1 released" in run("audit", "release", "1", *lead).stdout
    unset = CliRunner().invoke(cli, ["audit", "retain", *at])
    assert unset.exit_code == 2 and "no age is set" in unset.output
    for action in ("ALLOW", "BLOCK"):
        monkeypatch.setenv(f"MODERATOR_STORE_{action}_DAYS", "0.0000001")
    would = json.loads(run("audit", "retain", "--dry-run", *at, "--json").stdout)
    assert json.loads(run("audit", "retain", *at, "--json").stdout) == would
    assert set(would) == {"allow", "block"}
    run("audit", "verify", *at)
    gone = CliRunner().invoke(cli, ["audit", "replay", "2", *at])
    assert "its content was erased" in str(gone.exception)
