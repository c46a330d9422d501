"""CSV with a header line: columns named like the keys of JSON Lines, ``context.`` before context keys."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from moderator.errors import SourceError
from moderator.media.files import printable
from moderator.sources.lines import bounded_lines
from moderator.sources.records import KNOWN, PARTS, Record, build, meant, unreadable

CONTEXT = "context."


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise ``SourceError`` unless ``columns`` hold a part and no known name twice."""
    name = printable(path)
    if not any(column in PARTS for column in columns):
        found = ", ".join(map(repr, columns[:12])) or "none"
        raise SourceError(f"{name}: no column is named {', '.join(PARTS)}; columns are {found}")
    for column in columns:
        if columns.count(column) > 1 and (column in KNOWN or column.startswith(CONTEXT)):
            raise SourceError(f"{name}: the column {column!r} occurs twice; rename one")


def is_read(column: str) -> bool:
    """Whether a column is looked at; misspelt ones are, for ``build`` to say so."""
    return column in KNOWN or column.startswith(CONTEXT) or bool(_misspelt(column))


def _misspelt(column: str) -> str:
    """What is misspelt in a column's name: all of it, or what stands where ``context`` should; or nothing."""
    head, dot, _ = column.partition(".")
    wrong = meant(head) == "context" if dot else meant(column) != ""
    return head if wrong else ""


def fields_of(cells: dict[str, Any]) -> dict[str, Any]:
    """Cells by column → fields of a record: empty cells dropped, ``context.`` columns gathered."""
    given = {key: value for key, value in cells.items() if value not in (None, "")}
    fields = {key: value for key, value in given.items() if key in KNOWN}
    fields |= {name: value for key, value in given.items() if (name := _misspelt(key))}
    context = {key.removeprefix(CONTEXT): value for key, value in given.items() if key.startswith(CONTEXT)}
    if context:
        own = fields.get("context")
        fields["context"] = {**(own if isinstance(own, dict) else {}), **context}
    # A row whose part cells are all empty is an item without parts, not one with unknown keys.
    return {**dict.fromkeys(PARTS), **fields}


def check_csv(path: Path, max_bytes: int) -> None:
    """Raise ``SourceError`` if the file is empty or its header does not fit."""
    try:
        with path.open("rb") as file:
            header = next(csv.reader(_Lines(file, max_bytes)), None)
    except csv.Error as error:
        raise SourceError(f"{printable(path)}: the header line is broken CSV: {error}") from error
    if header is None:
        raise SourceError(f"{printable(path)}: empty, not even a header line")
    check_columns(path, header)


def read_csv(path: Path, position: int, max_bytes: int) -> Iterator[Record]:
    """Records of the file at ``path``; a row that cannot be read gives one with a problem.

    ``LINE`` of a locator is where the row begins. Raises ``OSError`` if the file cannot be read.
    """
    # A process-wide setting of the csv module, with a default smaller than a long post: only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
    name = printable(path)
    with path.open("rb") as file:
        lines = _Lines(file, max_bytes)
        rows = csv.reader(lines)
        header = next(rows)
        while True:
            locator = f"{name}:{lines.number + 1}"
            lines.problem = ""
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield unreadable(position, locator, f"broken CSV: {error}")
                position += 1
                continue
            if not row:
                continue
            problem = lines.problem
            if not problem and len(row) != len(header):
                problem = f"{len(row)} cells, the header has {len(header)}"
            if problem:
                yield unreadable(position, locator, problem)
            else:
                cells: dict[str, Any] = dict(zip(header, row, strict=True))
                if "context" in cells:  # a plain cell is no mapping
                    cells.pop("context")
                yield build(position, locator, fields_of(cells), path.parent)
            position += 1


class _Lines:
    """Decoded lines for ``csv.reader``, remembering what was wrong with any since ``problem`` was reset."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._lines = bounded_lines(file, limit)
        self._limit = limit
        self.number = 0
        self.problem = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, cut = next(self._lines)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if cut:
            self.problem = f"line {self.number} is longer than {self._limit:,} bytes (max_bytes)"
            line += b"\n"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.problem = self.problem or f"line {self.number} is not UTF-8"
            return line.decode("utf-8", "replace")
