"""MODERATOR_NO_SKIP turns skipped tests into failures, and leaves expected failures alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest

def test_skipped():
    pytest.skip("no chromium")

@pytest.mark.xfail
def test_expected_failure():
    assert False

def test_passing():
    pass
"""


@pytest.mark.parametrize(("setting", "said"), [("", "1 passed, 1 skipped"), ("1", "1 failed, 1 passed")])
def test_skips_are_failures_where_all_is_installed(tmp_path: Path, setting: str, said: str) -> None:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MODERATOR_NO_SKIP": setting},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stdout
    assert "1 xfailed" in done.stdout
    if setting:
        assert "was skipped, but MODERATOR_NO_SKIP is set" in done.stdout
        assert "no chromium" in done.stdout


def test_a_skipped_module_is_a_failure_too(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "MODERATOR_NO_SKIP": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "MODERATOR_NO_SKIP is set" in done.stdout
