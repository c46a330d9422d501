"""Reading a media file whole, but only if it is a plain file of a bearable size; naming it safely."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO

from moderator.errors import MediaError, ModeratorError

# After joining it to a folder, a URL has one slash after its scheme.
_URL = re.compile(r"(?:^|/)(?:[a-z][a-z0-9+.-]+:/|data:)", re.IGNORECASE)
_ZWJ = "\u200d"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,}")


def printable(text: str | Path) -> str:
    """``text`` such that any terminal, file or database can hold it: controls and undecodable bytes of
    file names become escapes."""
    shown = str(text)
    return "".join(
        char if char.isprintable() or joins_emoji(shown, at) else ascii(char)[1:-1]
        for at, char in enumerate(shown)
    )


def joins_emoji(text: str, at: int) -> bool:
    """Whether the character there is the joiner inside an emoji (👩‍🚀), where it hides nothing."""
    if text[at] != _ZWJ or at == 0 or at + 1 == len(text):
        return False
    before = text[at - 1]
    drawn = unicodedata.category(before) == "So" or before == "\ufe0f" or "🏻" <= before <= "🏿"
    return drawn and unicodedata.category(text[at + 1]) == "So"


def told(error: BaseException) -> str:
    """What ``error`` says, the same in every run: objects it mentions lose their addresses. Errors raised on
    purpose speak for themselves; others need their type to make sense."""
    text = _ADDRESS.sub("", str(error))
    if isinstance(error, ModeratorError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open ``path`` for reading if it is a regular file, without ever waiting on a pipe or device.

    ``follow``: whether a symbolic link may lead to it. Raises ``MediaError``.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file{_hint(path)}") from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: cannot be opened: {said}{_hint(path)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError(f"{path}: not a regular file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor, closed by the caller


def _hint(path: Path) -> str:
    looks_so = _URL.search(str(path)) is not None
    return "; parts are files, not URLs: download it, and give the path of the file" if looks_so else ""


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of ``path``. Raises ``MediaError`` if it is missing, unreadable, larger than ``max_bytes``
    or no regular file."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise MediaError(f"{path}: {size:,} bytes, the limit is {max_bytes:,} (max_bytes)")
        try:
            data = file.read(max_bytes + 1)  # it may have grown since
        except OSError as error:
            raise MediaError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise MediaError(f"{path}: more than {max_bytes:,} bytes (max_bytes)")
    return data
