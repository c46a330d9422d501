"""The format of a list file: a header, then one word or phrase a line.

::

    # anything after '# ' at the start of a line is a comment
    language: en
    signal: lexicon_profanity
    severity: 0.7                  # of entries without their own; 1.0 if left out

    some word
    two words<TAB>0.4              # a tab, then this entry's severity, above 0 up to 1
    prefix*                        # also matches longer words that start like this

Case, accents of look-alikes and the like do not matter: entries are normalised as texts are.
Punctuation and spaces between words do not matter either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from moderator.errors import PluginError

_HEADER: Final = re.compile(r"([A-Za-z_]+)\s*:\s*(.*)")
_KEYS: Final = ("language", "signal", "severity")
_SIGNAL: Final = re.compile(r"lexicon_[a-z0-9_]+")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")
_SUFFIX: Final = ".txt"
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One word or phrase as it is written in a list."""

    text: str
    prefix: bool
    severity: float


@dataclass(frozen=True, slots=True)
class WordList:
    """One list file."""

    name: str
    language: str
    signal: str
    entries: tuple[Entry, ...]
    digest: str


def list_files(source: Path | Traversable) -> Iterator[Path | Traversable]:
    """``source`` itself if it is a file, or every ``.txt`` file of the folder, sorted by name."""
    if source.is_file():
        yield source
    elif source.is_dir():
        found = sorted((each for each in source.iterdir() if each.name.endswith(_SUFFIX)), key=_by_name)
        if not found:
            raise PluginError(f"lexicon: the folder {source} holds no {_SUFFIX} file")
        yield from found
    else:
        raise PluginError(f"lexicon: {source} is neither a list file nor a folder of them")


def _by_name(file: Path | Traversable) -> str:
    return file.name


def read_list(file: Path | Traversable) -> WordList:
    """Read one list. Raises ``PluginError`` with every problem as ``file:line: message``."""
    shown = str(file)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PluginError(f"lexicon: {shown} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PluginError(f"lexicon: {shown} has {len(data)} bytes; at most {MAX_BYTES} are read, split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = data[: error.start].count(b"\n") + 1
        raise PluginError(f"{shown}:{bad}: not UTF-8; save the list as UTF-8") from error
    parser = _Parser(shown)
    for number, line in enumerate(text.split("\n"), start=1):
        parser.line(number, line.rstrip("\r"))
    parser.check(file.name)
    return WordList(
        name=file.name.removesuffix(_SUFFIX),
        language=parser.header["language"],
        signal=parser.header["signal"],
        entries=tuple(parser.entries),
        digest=hashlib.sha256(data).hexdigest(),
    )


class _Parser:
    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.header: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        self.default = 1.0

    def line(self, number: int, line: str) -> None:
        if not line.strip() or line.startswith("#"):
            return
        header = _HEADER.fullmatch(line.strip()) if not self.entries else None
        if header:
            self._header(number, header[1], header[2])
        else:
            self._entry(number, line)

    def check(self, name: str) -> None:
        """Raise what was found, and what is missing."""
        for key in ("language", "signal"):
            if key not in self.header:
                self._note(1, f"the header lacks '{key}: …'")
        if not self.entries:
            self._note(1, "the list has no entries")
        if self.problems:
            raise PluginError(f"lexicon list {name}:\n" + "\n".join(self.problems))

    def _note(self, number: int, message: str) -> None:
        self.problems.append(f"{self.shown}:{number}: {message}")

    def _header(self, number: int, key: str, value: str) -> None:
        value = re.sub(r"\s+#.*", "", value).strip()
        if key not in _KEYS:
            self._note(number, f"unknown header {key!r}; known are {', '.join(_KEYS)}")
        elif key in self.header:
            self._note(number, f"header {key!r} is given twice")
        elif key == "severity":
            self.default = self._severity(number, value)
        elif key == "signal" and not _SIGNAL.fullmatch(value):
            self._note(number, f"signal {value!r} must look like lexicon_name, in lower case")
        elif key == "language" and not _LANGUAGE.fullmatch(value):
            self._note(number, f"language {value!r} must be a language code such as en or zh")
        self.header.setdefault(key, value)

    def _entry(self, number: int, line: str) -> None:
        text, tab, rest = line.partition("\t")
        text = text.strip()
        prefix = text.endswith("*")
        text = text.rstrip("*").strip() if prefix else text
        if not any(character.isalnum() for character in text):
            self._note(number, f"entry {line.strip()!r} has neither a letter nor a digit")
            return
        severity = self._severity(number, re.sub(r"\s+#.*", "", rest).strip()) if tab else self.default
        self.entries.append(Entry(text, prefix, severity))

    def _severity(self, number: int, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value <= 1.0:  # also refuses nan
            self._note(number, f"severity {text!r} must be a number above 0, up to 1")
            return 1.0
        return value


def digest(lists: Iterable[WordList]) -> str:
    """One digest over the files of several lists."""
    whole = hashlib.sha256()
    for each in lists:
        whole.update(f"{each.name}\0{each.digest}\n".encode())
    return whole.hexdigest()
