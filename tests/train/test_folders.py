"""Training files are found in the first folder that has them, or it is said where they were looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderator.errors import TrainingError
from moderator.train.folders import DataFolders


def test_files_of_several_folders_by_name_and_pattern(tmp_path: Path) -> None:
    for name in ("a/x.jsonl", "b/x.jsonl", "b/own/2.jsonl", "b/own/1.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = DataFolders((tmp_path / "a", tmp_path / "b"))
    found = [path.relative_to(tmp_path).as_posix() for path in folders.files(["x.jsonl", "own/*.jsonl"])]
    assert found == ["a/x.jsonl", "b/own/1.jsonl", "b/own/2.jsonl"]
    with pytest.raises(TrainingError, match=r"gone\.jsonl: not found in .*a, .*b; name its folder"):
        folders.file("gone.jsonl")
