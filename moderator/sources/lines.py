"""Lines of a file as bytes, one at a time, none longer in memory than allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


def bounded_lines(file: BinaryIO, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Each line with its end, and whether it was cut at ``limit`` bytes (the rest is read past)."""
    while line := file.readline(limit + 1):
        cut = len(line) > limit and not line.endswith(b"\n")
        rest = cut
        while rest:
            more = file.readline(_BLOCK)
            rest = bool(more) and not more.endswith(b"\n")
        yield (line[:limit] if cut else line), cut


def count_lines(path: Path) -> int:
    """Number of lines, by counting newlines in blocks; an unended last line counts."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
