"""List files of PDQ hashes: plain text, or CSV in the forms ThreatExchange's tools write.

Plain text is one hash of 64 hexadecimal digits a line. CSV has either

- a header that names the column of the hash (``indicator``, ``signal_str`` or ``hash``), and may name
  ``type`` (or ``signal_type``, ``indicator_type``), ``tags``, ``description``, ``category``, ``status``.
  Other columns do not matter: what ``tx dataset --print-signals --csv`` prints is read as it is; or
- no header, and the columns hash, id, time, tags: the cache of older tools.

Blank lines and comments (``#`` where the hash would be) are skipped. So are rows of another type than PDQ,
and rows the exchange holds for harmless (category ``NEGATIVE_CLASS``, status ``NON_MALICIOUS``).
"""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError

HASH_BYTES: Final = 32
_HASH: Final = ("indicator", "signal_str", "hash")
_TYPE: Final = ("type", "signal_type", "indicator_type")
_PDQ: Final = ("", "pdq", "hash_pdq")
_TAGS_WITHOUT_HEADER: Final = 3
_MAX_DETAIL: Final = 200
_MAX_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class HashList:
    """One list. ``hashes``: uint8 ``(n, 32)``; ``about[which[i]]`` is what the list says of entry i."""

    name: str
    hashes: NDArray[np.uint8]
    about: tuple[str, ...]
    which: NDArray[np.uint32]
    digest: str


def read_list(name: str, path: Path) -> HashList:
    """Read one list. Raises ``PluginError`` with the problems as ``file:line: message``.

    Messages have the file's name without its folder: they become part of verdicts.
    """
    reader = _Reader(path.name)
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            reader.read(_lines(file, whole))
    except OSError as error:
        raise PluginError(f"hashes: list {name!r}: {path.name} cannot be read: {error.strerror}") from error
    if not reader.problems and not reader.which:
        reader.problems.append(f"{path.name}:1: the list has no PDQ hash")
    if reader.problems:
        raise PluginError(f"hashes: list {name!r}:\n" + "\n".join(reader.problems))
    hashes = np.frombuffer(bytes(reader.hashes), dtype=np.uint8).reshape(-1, HASH_BYTES)
    which = np.array(reader.which, dtype=np.uint32)
    return HashList(name, hashes, tuple(reader.about), which, whole.hexdigest())


def _lines(file: Iterator[bytes], whole: hashlib._Hash) -> Iterator[str]:
    """The lines of a file as text; ``whole`` takes in what is read."""
    codec = "utf-8-sig"
    for line in file:
        whole.update(line)
        yield line.decode(codec)
        codec = "utf-8"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a file has what; ``None``: it has no such column. ``width`` 0: rows may be of any length."""

    hash: int = 0
    type: int | None = None
    tags: int | None = None
    description: int | None = None
    category: int | None = None
    status: int | None = None
    width: int = 0


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.hashes = bytearray()
        self.about: dict[str, int] = {}
        self.which = array("I")
        self.problems: list[str] = []

    def read(self, lines: Iterator[str]) -> None:
        rows = csv.reader(lines, strict=True)
        columns: _Columns | None = None
        line = 1
        try:
            for row in rows:
                start, line = line, rows.line_num + 1
                if not "".join(row).strip() or (row[0].startswith("#") and not (columns and columns.hash)):
                    continue
                if columns is None:
                    columns = self._columns(start, row)
                    if columns is None:
                        return
                    if columns.width:
                        continue  # the header
                self._entry(start, row, columns)
                if len(self.problems) >= _MAX_PROBLEMS:
                    self.problems.append("… and perhaps more")
                    return
        except UnicodeDecodeError:
            self._note(rows.line_num + 1, "not UTF-8; save the list as UTF-8")
        except csv.Error as error:
            self._note(line, f"broken CSV: {error}")

    def _columns(self, line: int, row: Sequence[str]) -> _Columns | None:
        if _as_hash(row[0]) is not None:
            return _Columns(tags=_TAGS_WITHOUT_HEADER)
        names = [cell.strip().lower() for cell in row]

        def find(*wanted: str) -> int | None:
            return next((names.index(name) for name in wanted if name in names), None)

        place = find(*_HASH)
        if place is None:
            said = f"{row[0].strip():.80}"
            self._note(
                line, f"{said!r} is neither a hash of 64 hexadecimal digits nor a header with {_or(_HASH)}"
            )
            return None
        return _Columns(
            hash=place,
            type=find(*_TYPE),
            tags=find("tags"),
            description=find("description"),
            category=find("category"),
            status=find("status"),
            width=len(row),
        )

    def _entry(self, line: int, row: Sequence[str], columns: _Columns) -> None:
        if columns.width and len(row) != columns.width:
            self._note(line, f"{len(row)} columns where the header has {columns.width}")
            return

        def cell(index: int | None) -> str:
            text = " ".join(row[index].split()) if index is not None and index < len(row) else ""
            # it ends up on terminals
            return text if text.isprintable() else "".join(filter(str.isprintable, text))

        kind = cell(columns.type)
        if kind.lower() not in _PDQ:
            return
        if (
            cell(columns.category).upper() == "NEGATIVE_CLASS"
            or cell(columns.status).upper() == "NON_MALICIOUS"
        ):
            return
        found = _as_hash(row[columns.hash])
        if found is None:
            self._note(line, f"{row[columns.hash].strip()[:80]!r} is not a hash of 64 hexadecimal digits")
            return
        self.hashes += found
        tags, description = cell(columns.tags), cell(columns.description)
        said = [f"type {kind}" if kind else "", f"tags {tags}" if tags else "", description]
        about = "; ".join(each[:_MAX_DETAIL] for each in said if each)
        self.which.append(self.about.setdefault(about, len(self.about)))

    def _note(self, line: int, message: str) -> None:
        self.problems.append(f"{self.file}:{line}: {message}")


def _as_hash(text: str) -> bytes | None:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == HASH_BYTES and len(text.strip()) == 2 * HASH_BYTES else None


def _or(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
