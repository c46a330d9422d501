"""Reading a media file whole, but only if it is a plain file of a bearable size; naming it safely."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from moderator.errors import MediaError


def printable(text: str | Path) -> str:
    """``text`` such that any terminal, file or database can hold it: controls and undecodable bytes of
    file names become escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of ``path``. Raises ``MediaError`` if it is missing, unreadable, larger than ``max_bytes``
    or no regular file. Never waits: pipes and devices are refused before anything is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, already checked below
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{path}: not a regular file")
        if status.st_size > max_bytes:
            raise MediaError(f"{path}: {status.st_size:,} bytes, the limit is {max_bytes:,} (max_bytes)")
        try:
            data = file.read(max_bytes + 1)  # it may have grown since
        except OSError as error:
            raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise MediaError(f"{path}: more than {max_bytes:,} bytes (max_bytes)")
    return data
