"""The wheel holds exactly what the source tree holds, and works outside of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "*.egg-info", "__pycache__", "*.db", "*.db-*", "tests", "verdicts.jsonl"
)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it, offline, from a copy of the tree."""
    source = tmp_path_factory.mktemp("tree") / "moderator"
    shutil.copytree(ROOT, source, ignore=_NOT_SOURCES)
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("moderator-*.whl")
    return found


def shipped_files() -> set[str]:
    """Where each file of the mapped folders belongs in a wheel."""
    homes = {"moderator": "moderator", "rules": "moderator/rules", "migrations": "moderator/migrations"}
    homes |= {
        str(path.relative_to(ROOT)): path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()
    }
    return {
        f"{home}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, home in homes.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_what_the_source_tree_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = shipped_files()
    assert packed - expected == set(), "in the wheel, but not in the tree"
    assert expected - packed == set(), "not in the wheel: see [tool.setuptools] packages and package-data"
    assert "moderator/py.typed" in packed
    assert "moderator/rules/default.yaml" in packed


def test_wheel_carries_licence_and_notices(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        licences = {name.rpartition("/")[2] for name in archive.namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "THIRD_PARTY_NOTICES.md"}


def test_sdist_carries_what_the_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("moderator-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "rules/default.yaml", "moderator/py.typed"} <= names


def test_wheel_works_outside_of_the_checkout(
    wheel: Path, tmp_path: Path, project: dict[str, dict[str, str]]
) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-index", "--target", str(site), str(wheel)),
        ],
        check=True,
        capture_output=True,
    )

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run("-c", "import moderator; print(moderator.__file__)") == str(site / "moderator" / "__init__.py")
    assert run("-m", "moderator", "--version").endswith(project["project"]["version"])
    policies = json.loads(run("-m", "moderator", "policy", "list", "--json"))
    assert {"default", "strict"} <= {policy["id"] for policy in policies}
    plugins = {
        row["id"]: row["status"] for row in json.loads(run("-m", "moderator", "plugins", "list", "--json"))
    }
    assert set(plugins.values()) == {"ok"}


def test_one_version() -> None:
    import moderator

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["version"] == moderator.__version__
    assert f"## [{moderator.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_dependency_is_in_the_notices(project: dict[str, dict[str, object]]) -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    table = project["project"]
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    wanted = list(table["dependencies"])  # type: ignore[call-overload]
    wanted += [each for name, extra in extras.items() if name not in ("all", "test") for each in extra]
    names = [each.partition(">")[0].partition("[")[0].partition(",")[0].strip() for each in wanted]
    missing = [name for name in names if f"| {name} |" not in notices]
    assert missing == [], "add them to THIRD_PARTY_NOTICES.md with their licence"
