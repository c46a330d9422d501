"""What a checkpoint says of itself, read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from moderator.errors import CheckpointError

FORMAT = "moderator-fusion-1"
METADATA = "moderator"


def read_metadata(path: Path) -> Mapping[str, Any]:
    """What a checkpoint says of itself: ``config``, ``taxonomy``, ``calibration``, ``embedders``. Raises
    ``CheckpointError`` if it is missing, damaged or of another format."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no fusion checkpoint there; train one with 'moderator train'")
    try:
        with safe_open(path, framework="np") as file:
            metadata: Mapping[str, Any] = json.loads((file.metadata() or {}).get(METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {metadata.get('format')!r}, this software reads {FORMAT!r}")
    return metadata


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels a checkpoint scores, in order. Raises ``CheckpointError``."""
    try:
        return tuple(str(name) for name in read_metadata(path)["config"]["labels"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: the checkpoint does not say its labels") from error
