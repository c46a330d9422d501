"""``moderator policy`` on the installed policies and on files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moderator.cli import cli
from moderator.errors import PolicyError

GOOD = """name: mine
version: 2
description: Mine
otherwise: allow
on_degraded: review
rules:
  - {name: hate, when: hate >= 0.5 || lexicon_hate >= 0.9, then: block, why: No hate}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *arguments])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no moderator.toml of the developer's


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "mine.yaml").write_text(
        "- {name: clean, expect: allow}\n- {name: hate, scores: {hate: 0.6}, expect: block}\n"
    )
    return file


def test_list() -> None:
    result = run("list", "--json")
    assert result.exit_code == 0
    rows = {row["id"]: row for row in json.loads(result.output)}
    assert {"default", "strict"} <= rows.keys()
    assert rows["default"]["status"] == "ok"
    assert len(rows["default"]["digest"]) == 64
    assert "default" in run("list").output


def test_show_by_name_and_by_file(mine: Path) -> None:
    result = run("show", "default")
    assert result.exit_code == 0
    assert "hate-block" in result.output
    shown = json.loads(run("show", str(mine), "--json").output)
    assert (shown["id"], shown["version"]) == ("mine", 2)
    assert (shown["labels"], shown["signals"], shown["uses_context"]) == (["hate"], ["lexicon_hate"], False)
    assert shown["rules"][0]["when"] == "hate >= 0.5 || lexicon_hate >= 0.9"


def test_show_what_is_not_there() -> None:
    result = run("show", "defualt")
    assert result.exit_code == 1
    assert isinstance(result.exception, PolicyError)
    assert "did you mean 'default'?" in str(result.exception)


def test_check_all_installed_and_a_file(mine: Path) -> None:
    result = run("check")
    assert (result.exit_code, "default: ok\n" in result.output) == (0, True)
    result = run("check", "strict", str(mine))
    assert (result.exit_code, result.output) == (0, f"strict: ok\n{mine}: ok\n")


def test_check_names_every_problem_by_line(mine: Path) -> None:
    mine.write_text(GOOD.replace("hate >= 0.5", "hte >= 0.5").replace("block", "blok"))
    result = run("check", str(mine), "default", "nothing.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{mine}:7: rule 'hate': unknown label or signal 'hte'; did you mean 'hate'?",
        f"{mine}:7: then: unknown action 'blok'; did you mean 'block'?",
        "default: ok",
        "nothing.yaml: there is no such file",
    ]
    rows = json.loads(run("check", str(mine), "default", "--json").output)
    assert [(row["ok"], len(row["problems"])) for row in rows] == [(False, 2), (True, 0)]


def test_check_reads_the_cases_too(mine: Path) -> None:
    cases = mine.parent / "cases" / "mine.yaml"
    cases.write_text("- {name: a, expect: perhaps}\n")
    result = run("check", str(mine))
    assert result.exit_code == 1
    assert result.output == f"{cases}:1: expect: unknown action 'perhaps'; known are allow, review, block\n"


def test_test_all_installed() -> None:
    result = run("test")
    assert result.exit_code == 0
    assert result.output.count("cases passed") >= 2


def test_test_says_which_case_fails(mine: Path) -> None:
    assert run("test", str(mine)).output == f"{mine}: 2 of 2 cases passed\n"
    cases = mine.parent / "other.yaml"
    cases.write_text("- {name: ok, expect: allow}\n- {name: wrong, scores: {hate: 0.6}, expect: review}\n")
    result = run("test", str(mine), "--cases", str(cases))
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{cases}:2: case 'wrong': expected review, got block; rules that held: hate",
        f"{mine}: 1 of 2 cases passed",
    ]
    rows = json.loads(run("test", str(mine), "--cases", str(cases), "--json").output)
    assert [(row["id"], row["ok"]) for row in rows] == [(f"{mine}/ok", True), (f"{mine}/wrong", False)]


def test_test_without_cases_fails(mine: Path) -> None:
    (mine.parent / "cases" / "mine.yaml").unlink()
    result = run("test", str(mine))
    assert result.exit_code == 1
    assert result.output == (
        f"{mine}:1: no test cases; write cases/mine.yaml beside it or give --cases FILE\n"
    )


def test_cases_need_one_policy(mine: Path) -> None:
    result = run("test", "--cases", str(mine))
    assert result.exit_code == 2
    assert "--cases needs exactly one policy" in result.output
