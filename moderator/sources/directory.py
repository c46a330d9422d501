"""Every judgeable file below a directory, in a fixed order; what is not judged is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from moderator.errors import MediaError
from moderator.media.files import open_regular, printable
from moderator.media.sniff import HEAD, claimed, sniff
from moderator.sources.records import Record
from moderator.sources.skipped import Skipped
from moderator.types import Item, Modality, Part

TABLES = frozenset((".jsonl", ".ndjson", ".csv", ".parquet"))
"""Suffixes of files that hold many items."""


def read_directory(
    root: Path, position: int, skipped: Skipped, leave_out: frozenset[Path] = frozenset()
) -> Iterator[Record]:
    """One record per file below ``root`` whose name or bytes claim a supported type, sorted by path.

    Links are not followed and pipes and devices never opened. Ids are paths relative to ``root``.
    ``leave_out``: resolved paths that are not inputs but what this run writes.
    """
    for path in _files(root, skipped):
        if leave_out and path.resolve() in leave_out:
            continue
        relative = printable(path.relative_to(root))
        if path.suffix.lower() in TABLES:
            skipped.add("table inside a directory; give it by name", relative)
            continue
        modality, reason = judged_as(path)
        if modality is None:
            skipped.add(reason, relative)
            continue
        yield Record(position, printable(path), relative, _item(path, relative, modality))
        position += 1


def read_file(path: Path, position: int, modality: Modality) -> Record:
    """The record of one media or text file given by name; its id is the path as given."""
    name = printable(path)
    return Record(position, name, name, _item(path, name, modality))


def judged_as(path: Path) -> tuple[Modality | None, str]:
    """What to judge the regular file ``path`` as, or ``None`` and the reason why not.

    Bytes come before the name, but a name that claims media holds against bytes that claim nothing
    or text: decoding then says what is wrong, rather than the file passing unseen.
    """
    by_name = claimed(path.name)
    try:
        with open_regular(path, follow=False) as file:
            found = sniff(file.read(HEAD + 1))
    except (MediaError, OSError):
        return by_name, "cannot be read"
    if found.modality in (None, Modality.TEXT) and by_name is not None:
        return by_name, ""
    suffix = PurePath(path.name).suffix.lower()
    known = f"{found.format}" if found.format != "nothing known" else "unknown type"
    return found.modality, f"{known} ({printable(suffix)})" if suffix else known


def _item(path: Path, name: str, modality: Modality) -> Item:
    return Item(name, (Part(modality, path),))


def _files(root: Path, skipped: Skipped) -> Iterator[Path]:
    """Regular files below ``root``, depth first, each folder sorted by the bytes of its names."""
    stack: list[Iterator[os.DirEntry[str]]] = [_entries(root, root, skipped)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                skipped.add("symbolic link", printable(path.relative_to(root)))
            elif entry.is_dir(follow_symlinks=False):
                stack.append(_entries(path, root, skipped))
            elif entry.is_file(follow_symlinks=False):
                yield path
            else:
                skipped.add("not a regular file", printable(path.relative_to(root)))
        except OSError:
            skipped.add("cannot be read", printable(path.relative_to(root)))


def _entries(folder: Path, root: Path, skipped: Skipped) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: os.fsencode(entry.name)))
    except OSError:
        skipped.add("folder cannot be read", printable(folder.relative_to(root)))
        return iter(())
