"""The README's commands and code are what they say: run as they stand, in the order given."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from moderator.host import PluginHost
from moderator.policy import load_policy
from moderator.taxonomy import DEFAULT
from moderator.testing import check_plugin

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```([^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
VENV = "python3 -m venv .venv"


def blocks(language: str) -> list[str]:
    return [body for fenced_as, body in BLOCKS if fenced_as == language]


def commands(number: int) -> list[str]:
    return BLOCKS[number][1].splitlines()


LIBRARY, PLUGIN = blocks("python")
(PLUGIN_PROJECT,) = blocks("toml")


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_two_blocks_are_plain_bash(number: int) -> None:
    language, body = BLOCKS[number]
    assert language == "bash"
    assert not re.search(r"^\s*[$>#%]", body, re.MULTILINE), "a prompt or a comment"
    for word in ("git clone", "activate", "sudo", "read ", "cd "):
        assert word not in body
    assert subprocess.run(["bash", "-n"], input=body, text=True, check=False).returncode == 0
    # each stands alone: a fresh shell, nothing but the repository
    assert body.splitlines()[0] == VENV


def test_nothing_looks_like_a_block_before_them() -> None:
    before = README.partition("```bash\n")[0]
    assert "```" not in before
    assert "~~~" not in before
    assert not re.search(r"^(\t| {4})", before, re.MULTILINE)


def test_the_first_block_installs_and_scans_the_inbox() -> None:
    _, install, scan = commands(0)
    assert install == '.venv/bin/python -m pip install -e ".[offline]"'
    assert scan.startswith(".venv/bin/moderator scan examples/inbox")


def test_the_second_block_runs_the_tests_as_ci_does() -> None:
    _, install, test = commands(1)
    checks = [(ROOT / ".ci" / name).read_text(encoding="utf-8").splitlines() for name in ("run", "check")]
    assert install == '.venv/bin/python -m pip install -e ".[test]"'
    assert install in checks[0]
    assert test == ".venv/bin/python -m pytest"
    assert ".ci/check" in checks[0]
    assert test in checks[1]


def test_what_the_first_block_leaves_behind_is_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/.venv/", "*.db", "*.db-shm", "*.db-wal", "/verdicts.jsonl"} <= set(ignored)


def test_the_scan_of_the_first_block_shows_a_verdict_for_each_file(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "inbox", tmp_path / "examples" / "inbox")
    _, *arguments = shlex.split(commands(0)[-1])
    done = subprocess.run(
        [sys.executable, "-m", "moderator", *arguments],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = (tmp_path / "verdicts.jsonl").read_text(encoding="ascii").splitlines()
    verdicts = {line["id"]: line["action"] for line in map(json.loads, lines)}
    for name, action in verdicts.items():
        assert re.search(rf"^{re.escape(name)} +{action}\b", done.stdout, re.MULTILINE), name
    assert f"{len(verdicts)} items in " in done.stdout
    assert "skipped: 1 × ZIP (.zip) (attachments.zip)" in done.stdout
    assert (tmp_path / "moderator.db").is_file()


def test_the_library_in_ten_lines_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in LIBRARY.splitlines() if line]) <= 10
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(LIBRARY, "README.md", "exec"), names)  # noqa: S102 - our own page
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:]] == ["1", "2"]
    allowed = [line.split()[0] for line in said[1:] if line.split()[1] == "allow"]
    assert [item.id for item in names["allowed"]] == allowed  # type: ignore[attr-defined]


def test_the_plugin_in_twenty_lines_keeps_its_contract() -> None:
    assert len([line for line in PLUGIN.splitlines() if line]) <= 20
    module = types.ModuleType("moderator_elsewhere")
    exec(compile(PLUGIN, "README.md", "exec"), vars(module))  # noqa: S102
    host = PluginHost({"elsewhere": module})
    assert host.failures == ()
    plugin = host.detectors["elsewhere"]
    assert [result for result in check_plugin(plugin) if not result.ok] == []
    found, nothing = plugin.detect_batch(plugin.examples())
    assert (found[0].score, found[0].evidence[0].span, nothing) == (1.0, (12, 20), [])
    (condition,) = re.findall(r"`when: (elsewhere [^`]+)`", README)
    policy = f"name: p\nversion: 1\nrules:\n- {{name: r, when: {condition!r}, then: review}}\n"
    policy += "otherwise: allow\non_degraded: review\n"
    assert "elsewhere" in load_policy(policy.encode(), DEFAULT.names, plugin.signals).signals


def test_the_plugin_is_found_once_installed(tmp_path: Path) -> None:
    (module,) = tomllib.loads(PLUGIN_PROJECT)["tool"]["setuptools"]["py-modules"]
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / f"{module}.py").write_text(PLUGIN, encoding="utf-8")
    (source / "pyproject.toml").write_text(PLUGIN_PROJECT, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--target", str(site), str(source)]
    subprocess.run([*pip, *offline], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "moderator", "plugins", "list", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {row["id"]: row["status"] for row in json.loads(done.stdout)}["elsewhere"] == "ok"


def test_the_output_shown_is_a_real_one() -> None:
    shown = re.search(r"<!-- output: scan -->\n```text\n(.*?)```\n<!-- end of output -->", README, re.DOTALL)
    assert shown is not None
    for file in sorted((ROOT / "examples" / "inbox").rglob("*.*")):
        assert file.name in shown[1]
