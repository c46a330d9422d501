"""Reads manifests of media files: one JSON object a line, paths relative to the manifest.

A line: ``{"path", "labels", "dataset", "lic", "weak", "cluster" or "group", "lang", "split"}``; the last
four may be absent. What a file holds is told by its suffix.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moderator.errors import TrainingError
from moderator.taxonomy import DEFAULT, Taxonomy
from moderator.train.examples import Example
from moderator.types import Item, Modality

VALID_SHARE = 0.2
"""Share of groups held out for validation, where a manifest does not say itself."""

_SUFFIXES = {
    Modality.IMAGE: {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"},
    Modality.AUDIO: {".wav", ".flac", ".ogg", ".mp3"},
    Modality.VIDEO: {".mp4", ".avi", ".mkv", ".mov", ".webm"},
}
# Datasets whose file names tell which recording or speaker a clip was cut from.
_GROUP_IN_NAME = {
    "esc10": re.compile(r"^\d+-(\d+)-"),  # fold-recording-take (Piczak 2015)
    "fsdd": re.compile(r"^\d_(\w+)_\d+$"),  # digit_speaker_take
}


def read_manifest(
    path: Path,
    *,
    modality: Modality,
    datasets: Sequence[str] | None = None,
    taxonomy: Taxonomy = DEFAULT,
) -> list[Example]:
    """The examples of one modality, of ``datasets`` only where given, in the order of the file.

    The validation split goes by cluster, else group, else recording, else file: a deterministic fifth of
    the groups, so that frames of one clip are never on both sides. Raises ``TrainingError`` naming the
    line for malformed lines, unknown labels and missing files, and if nothing is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrainingError(f"cannot read the manifest {path}: {error.strerror}") from error
    examples = [
        example
        for number, line in enumerate(lines, start=1)
        if line.strip()
        and (example := _example(path, f"{path}:{number}", line, modality, datasets, taxonomy)) is not None
    ]
    if not examples:
        asked = f" of {', '.join(datasets)}" if datasets is not None else ""
        raise TrainingError(f"{path} lists no {modality.value}{asked}; check the path and the data set names")
    return examples


def split_of(group: str, share: float = VALID_SHARE) -> str:
    """``"valid"`` for about ``share`` of all group names, else ``"train"``: by hash, the same everywhere."""
    digest = hashlib.sha256(group.encode()).digest()
    return "valid" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"


def _example(
    path: Path,
    where: str,
    line: str,
    modality: Modality,
    datasets: Sequence[str] | None,
    taxonomy: Taxonomy,
) -> Example | None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        raise TrainingError(f"{where}: needs an object with a path")
    dataset = str(row.get("dataset", ""))
    if Path(row["path"]).suffix.lower() not in _SUFFIXES.get(modality, set()):
        return None
    if datasets is not None and dataset not in datasets:
        return None
    file = path.parent / row["path"]
    if not file.is_file():
        raise TrainingError(f"{where}: no file {file}")
    group = _group(row, dataset)
    split = str(row.get("split") or split_of(group))
    if split not in ("train", "valid"):
        raise TrainingError(f"{where}: split is {split!r}; train or valid is meant")
    return Example(
        item=Item.of(id=row["path"], **{modality.value: file}),
        labels=_labels(where, row.get("labels"), taxonomy),
        dataset=dataset,
        lang=str(row.get("lang", "")),
        split=split,
        weak=int(row.get("weak", 0)),
        group=group,
        licence=str(row.get("lic", "")),
    )


def _labels(where: str, labels: Any, taxonomy: Taxonomy) -> Mapping[str, float]:
    if not isinstance(labels, dict):
        raise TrainingError(f"{where}: labels must be an object")
    unknown = sorted(set(labels) - set(taxonomy.names))
    if unknown:
        raise TrainingError(
            f"{where}: unknown label {', '.join(unknown)}; known are {', '.join(taxonomy.names)}"
        )
    for name, value in labels.items():
        numeric = isinstance(value, (int, float)) and math.isfinite(value)
        if not numeric or not 0.0 <= value <= 1.0:
            raise TrainingError(f"{where}: {name} is {value!r}; a number from 0 to 1 is meant")
    return {name: float(value) for name, value in labels.items()}


def _group(row: Mapping[str, Any], dataset: str) -> str:
    stem = Path(str(row["path"])).stem
    pattern = _GROUP_IN_NAME.get(dataset)
    in_name = pattern.match(stem) if pattern else None
    local = row.get("cluster") or row.get("group") or (in_name.group(1) if in_name else row["path"])
    return f"{dataset}:{local}"
