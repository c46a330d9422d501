"""Where training data is looked for: several folders, the first that has a file wins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from moderator.errors import TrainingError


@dataclass(frozen=True, slots=True)
class DataFolders:
    """The folders that a configuration's file names are relative to."""

    folders: tuple[Path, ...]

    def file(self, name: str) -> Path:
        """The file of this name. Raises ``TrainingError`` if no folder has it."""
        return self.files([name])[0]

    def files(self, names: Iterable[str]) -> list[Path]:
        """Files by name or pattern (``authored/*.jsonl``), those of a pattern in the order of their names."""
        found: list[Path] = []
        for name in names:
            among = (sorted(folder.glob(name)) for folder in self.folders)
            matching = next((paths for paths in among if paths), None)
            if matching is None:
                looked = ", ".join(str(folder) for folder in self.folders)
                raise TrainingError(f"{name}: not found in {looked}; name its folder with --data")
            found += matching
        return found
