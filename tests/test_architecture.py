"""The layers of the design hold: import-linter's contracts, as pyproject.toml declares them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_layers_hold() -> None:
    # the script of this environment: the import graph is that of what is installed here
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_package_is_in_a_layer() -> None:
    """A new folder without a layer would be bound by nothing."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(each for each in config["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    named = {name.strip() for layer in layers["layers"] for name in layer.replace(":", "|").split("|")}
    there = {
        path.stem
        for path in (ROOT / "moderator").iterdir()
        if (path.is_dir() and (path / "__init__.py").is_file()) or path.suffix == ".py"
    }
    assert there - named == {"__init__", "__main__", "models"}  # entrances and a folder of weights
    assert named <= there
