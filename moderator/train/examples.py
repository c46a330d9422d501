"""What every kind of training data is turned into, and labelled text as JSONL."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from moderator.errors import TrainingError
from moderator.train.slots import filled
from moderator.types import Item, Source


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled item. A label that is absent from ``labels`` is unknown, not negative.

    ``labels``: label → 0, 1 or a soft vote between. ``weak``: 0 human label, 1 indirect, 2 derived
    from keywords. ``split``: ``train`` or ``valid``. ``group``: what must not be torn apart by a split.
    ``source``: whether it is the post's own or was read out of a part of it.
    """

    item: Item
    labels: Mapping[str, float]
    dataset: str
    lang: str
    split: str
    weak: int = 0
    group: str = ""
    licence: str = ""
    source: Source = Source.NATIVE


def read_text(
    paths: Sequence[Path],
    *,
    labels: Sequence[str],
    leave_out: Sequence[str] = (),
    only: Sequence[str] | None = None,
    valid_share: float = 0.05,
    max_per_source: int | None = None,
    caps: Mapping[str, int] | None = None,
) -> list[Example]:
    """Read ``.jsonl`` or ``.jsonl.zst`` files: ``id, dataset, lang, text, labels, weak, lic`` a line; or
    ``.toml`` files of sentences with slots.

    ``leave_out`` and ``only`` select sources by name. Rows fall into ``valid`` by a hash of their text
    (so that copies of a text stay together), and where a source has more than ``max_per_source`` rows
    those with the smallest hash are taken (``caps`` sets the number for single sources). Rows without any
    known label are dropped.
    """
    by_source: dict[str, list[tuple[float, Example]]] = {}
    for path in paths:
        lines: Iterator[Any] = filled(path) if path.suffix == ".toml" else _lines(path)
        for number, line in enumerate(lines, start=1):
            try:
                row: Any = json.loads(line) if isinstance(line, str) else line
                dataset, text = str(row["dataset"]), str(row["text"])
                group = str(row.get("group", ""))
                known = {name: float(value) for name, value in row["labels"].items() if name in labels}
                weak = int(row.get("weak", 0))
            except KeyError as error:
                raise TrainingError(f"{path}:{number}: not a labelled text: no key {error}") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise TrainingError(f"{path}:{number}: not a labelled text: {error!r}") from error
            if dataset in leave_out or (only is not None and dataset not in only) or not known:
                continue
            draw = uniform(group or text)
            example = Example(
                Item.of(id=str(row.get("id", "")), text=text),
                known,
                dataset,
                str(row.get("lang", "")),
                "valid" if draw < valid_share else "train",
                weak,
                group,
                licence=str(row.get("lic", "")),
            )
            by_source.setdefault(dataset, []).append((uniform(text + "#"), example))
    chosen: list[Example] = []
    for source, rows in by_source.items():
        rows.sort(key=lambda row: row[0])
        chosen += [example for _, example in rows[: (caps or {}).get(source, max_per_source)]]
    return chosen


def at_most(examples: Sequence[Example], count: int | None) -> list[Example]:
    """The first ``count`` examples of each source; all of them for None."""
    taken: Counter[str] = Counter()
    kept = []
    for example in examples:
        taken[example.dataset] += 1
        if count is None or taken[example.dataset] <= count:
            kept.append(example)
    return kept


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            if path.suffix == ".zst":
                stream = zstandard.ZstdDecompressor().stream_reader(file)
                with io.TextIOWrapper(stream, encoding="utf-8") as lines:
                    yield from lines
            else:
                with io.TextIOWrapper(file, encoding="utf-8") as lines:
                    yield from lines
    except (OSError, zstandard.ZstdError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error


def records(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and record of a JSONL file. Raises ``TrainingError`` naming the line."""
    for number, line in enumerate(_lines(path), start=1):
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise TrainingError(f"{path}:{number}: not JSON: {error}") from error


def uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same split on every machine."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
