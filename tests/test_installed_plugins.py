"""Plugins that came with pip: the example is used without a line changed here, bad ones are listed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin-emphasis"


def pip_install(source: Path, target: Path, tmp_path: Path) -> None:
    """Install offline from a copy: a build leaves its folders beside the sources."""
    copy = tmp_path / "sources" / source.name
    shutil.copytree(source, copy)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-build-isolation", "--no-deps", "--no-index", "--target", str(target), str(copy)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )


@dataclass
class Site:
    """A folder of installed packages, and Python run with it outside of the checkout."""

    folder: Path
    cwd: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.cwd,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def listed(self, **environment: str) -> dict[str, dict[str, Any]]:
        done = self.run("-m", "moderator", "plugins", "list", "--json", **environment)
        assert done.returncode == 0, done.stderr
        return {row["id"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    return Site(tmp_path / "site", cwd)


def write_plugin(folder: Path, name: str, code: str) -> Path:
    source = folder / f"plugin-{name}"
    source.mkdir()
    (source / f"moderator_{name}.py").write_text(code, encoding="utf-8")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "moderator-{name}"\nversion = "0.1"\n'
        f'[project.entry-points.moderator]\n{name} = "moderator_{name}"\n'
        f'[tool.setuptools]\npy-modules = ["moderator_{name}"]\n',
        encoding="utf-8",
    )
    return source


_USE_IT = """
from moderator.host import PluginHost
from moderator.settings import Settings
from moderator.testing import make_text

host = PluginHost.discover(Settings())
detector = host.detectors["shouting"]
detector.load("cpu")
(loud,), calm = detector.detect_batch([make_text("BUY THIS NOW!!!"), make_text("An ordinary sentence.")])
assert loud.score == 1.0 and not calm, (loud, calm)
print(host.origins["shouting"], [evidence.detail for evidence in loud.evidence])
"""


def test_example_is_installed_and_used(site: Site, tmp_path: Path) -> None:
    pip_install(EXAMPLE, site.folder, tmp_path)
    used = site.run("-c", _USE_IT)
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() == "emphasis (moderator-emphasis 1.0.0) ['BUY', 'THIS', 'NOW', '!!!']"

    checked = site.run("-m", "moderator", "plugins", "check", "shouting")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.startswith("ok")

    (site.cwd / "moderator.toml").write_text("[plugins.shouting]\nmin_letters = 0\n")
    row = site.listed()["emphasis"]
    assert row["status"] == "failed"
    assert row["detail"] == "construct: shouting: min_letters must be a whole number above 0, got 0"


def test_bad_plugins_are_listed_and_others_go_on(site: Site, tmp_path: Path) -> None:
    raises = write_plugin(tmp_path, "raises", "raise RuntimeError('no licence file')\n")
    exits = write_plugin(tmp_path, "exits", "import sys\nsys.exit('this plugin ends programs')\n")
    for source in (raises, exits, EXAMPLE):
        pip_install(source, site.folder, tmp_path)

    rows = site.listed()
    assert rows["raises"]["status"] == "failed"
    assert rows["raises"]["detail"] == "load: RuntimeError: no licence file"
    assert rows["raises"]["origin"] == "moderator-raises 0.1"
    assert rows["exits"]["detail"] == "load: SystemExit: this plugin ends programs"
    assert rows["shouting"]["status"] == "ok"
    assert rows["default"]["status"] == "ok"

    checked = site.run("-m", "moderator", "plugins", "check", "raises", "shouting")
    assert checked.returncode == 1
    assert "BROKEN  raises" in checked.stdout
    assert "ok      shouting" in checked.stdout

    rows = site.listed(MODERATOR_ALLOW_PLUGINS="rules,emphasis")
    assert rows["exits"]["status"] == "blocked"
    assert rows["exits"]["detail"] == "moderator-exits 0.1: not in allow_plugins"
    assert rows["shouting"]["status"] == "ok"
