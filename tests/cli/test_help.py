"""``moderator --help`` is static: it must not pay for what commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HELP = """
import sys
from moderator.cli import main
sys.argv = ["moderator", *{arguments!r}]
try:
    main()
except SystemExit as exit_:
    assert exit_.code == 0, exit_.code
heavy = {{"torch", "sqlalchemy", "transformers", "rich", "numpy", "pluggy", "alembic", "timm", "PIL", "yaml"}}
loaded = {{name.partition(".")[0] for name in sys.modules}}
ours = {{name for name in loaded if name.startswith("moderator_")}}
assert not (heavy & loaded) | ours, (heavy & loaded) | ours
commands = {{name for name in sys.modules if name.startswith("moderator.") and name != "moderator.cli"}}
assert not commands, commands
"""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HELP.format(arguments=arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "moderator" in done.stdout
