"""Paths as a person gives them → one stream of records."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from moderator.errors import SourceError
from moderator.media.files import printable
from moderator.settings import Limits
from moderator.sources.csv_table import check_csv, read_csv
from moderator.sources.directory import TABLES, judged_as, read_directory, read_file
from moderator.sources.jsonl import read_jsonl
from moderator.sources.lines import count_lines
from moderator.sources.parquet import check_parquet, read_parquet
from moderator.sources.records import Record
from moderator.sources.skipped import Skipped
from moderator.types import Modality


@dataclass(frozen=True)
class Sources:
    """Records of all inputs, in order. Each iteration starts anew and streams.

    ``skipped`` tells what the last iteration left out.
    """

    inputs: tuple[_Input, ...]
    skipped: Skipped = field(default_factory=Skipped)

    def __iter__(self) -> Iterator[Record]:
        self.skipped.clear()
        position = 0
        for source in self.inputs:
            try:
                for record in source.records(position, self.skipped):
                    yield record
                    position = record.position + 1
            except OSError as error:
                raise SourceError(f"{printable(source.path)}: cannot be read: {error.strerror}") from error

    @cached_property
    def total(self) -> int | None:
        """How many records there will be, for progress: exact but for blank lines; ``None`` if it would
        take reading everything (directories, CSV). The first use counts lines."""
        totals = [source.total() for source in self.inputs]
        known = [total for total in totals if total is not None]
        return sum(known) if len(known) == len(totals) else None


@dataclass(frozen=True, slots=True)
class _Input:
    path: Path
    kind: str
    limits: Limits
    modality: Modality = Modality.TEXT
    leave_out: frozenset[Path] = frozenset()

    def records(self, position: int, skipped: Skipped) -> Iterator[Record]:
        if self.kind == "directory":
            yield from read_directory(self.path, position, skipped, self.leave_out)
        elif self.kind == "file":
            yield read_file(self.path, position, self.modality)
        elif self.kind == ".csv":
            yield from read_csv(self.path, position, self.limits.max_bytes)
        elif self.kind == ".parquet":
            yield from read_parquet(self.path, position)
        else:
            yield from read_jsonl(self.path, position, self.limits.max_bytes)

    def total(self) -> int | None:
        if self.kind == "file":
            return 1
        if self.kind == ".parquet":
            return check_parquet(self.path)
        if self.kind in (".jsonl", ".ndjson"):
            return count_lines(self.path)
        return None


def open_sources(
    paths: Sequence[Path], limits: Limits | None = None, leave_out: Sequence[Path] = ()
) -> Sources:
    """Open directories, ``.jsonl``, ``.csv`` and ``.parquet`` files and single media or text files.

    ``limits.max_bytes`` bounds one line. ``leave_out``: files a directory may hold that are not inputs,
    such as the output. Raises ``SourceError`` naming the path if one does not exist,
    cannot be read, is of no supported type, or its header has no usable column.
    """
    written = frozenset(path.resolve() for path in leave_out)
    return Sources(tuple(_open(Path(path), limits or Limits(), written) for path in paths))


def _open(path: Path, limits: Limits, leave_out: frozenset[Path]) -> _Input:
    name = printable(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)  # fails now if it may not be listed
            return _Input(path, "directory", limits, leave_out=leave_out)
        if not stat.S_ISREG(mode):
            raise SourceError(f"{name}: neither a regular file nor a directory")
        kind = path.suffix.lower()
        if kind in TABLES:
            _check_table(path, kind, limits)
            return _Input(path, kind, limits)
    except FileNotFoundError as error:
        raise SourceError(f"{name}: no such file or directory") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    modality, reason = judged_as(path.resolve())
    if modality is None:
        raise SourceError(
            f"{name}: cannot be scanned: {reason}; give a directory, .jsonl, .csv or .parquet, "
            "or a text, image, audio or video file"
        )
    return _Input(path, "file", limits, modality)


def _check_table(path: Path, kind: str, limits: Limits) -> None:
    if kind == ".csv":
        check_csv(path, limits.max_bytes)
    elif kind == ".parquet":
        check_parquet(path)
    else:
        with path.open("rb"):
            pass
