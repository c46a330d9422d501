"""A hook exists only with documentation, a test and a shipped plugin that uses it; examples run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from moderator import hookspecs
from moderator.host import PluginHost
from moderator.testing import check_plugin

ROOT = Path(__file__).parents[1]
DOCUMENTATION = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = sorted(name for name, each in vars(hookspecs).items() if hasattr(each, "moderator_spec"))
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENTATION, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_hooks() -> None:
    assert HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented_with_an_example(hook: str) -> None:
    assert f"\n### {hook}\n" in DOCUMENTATION, (
        f"{hook} has no section in docs/plugins.md: run docs/generate.py"
    )
    assert any(f"@hookimpl\ndef {hook}(" in block for block in PYTHON_BLOCKS), (
        f"{hook} has no example in docs/plugins.md"
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_tested(hook: str) -> None:
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(f"{hook}=" in path.read_text(encoding="utf-8") for path in tests), f"no test implements {hook}"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_shipped_user(hook: str, generate: Any) -> None:
    assert generate.shipped_users(hook), f"no plugin shipped with moderator implements {hook}"


def test_generated_documentation_is_up_to_date() -> None:
    """In a process of its own: click keeps the help option a command was first shown with."""
    script = ROOT / "docs" / "generate.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(PYTHON_BLOCKS)))
def test_example_in_the_documentation_works(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"documented_{number}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(PYTHON_BLOCKS[number], "docs/plugins.md", "exec"), vars(module))  # noqa: S102 - our own page
    if "@hookimpl" not in PYTHON_BLOCKS[number]:
        return  # its assertions ran
    host = PluginHost({"documented": module})
    assert host.failures == ()
    assert host.origins
    for plugin in host.plugins.values():
        assert [result for result in check_plugin(plugin) if not result.ok] == []
