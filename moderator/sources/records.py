"""What sources yield: one record per input, readable or not, and how its place is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from moderator.types import Item

PARTS = ("text", "image", "audio", "video")
"""The keys and columns that hold parts of an item."""

KNOWN = frozenset(("id", "context", *PARTS))

_OTHER_WORDS = frozenset(("audit", "content", "contest", "ext", "next", "test"))
"""One letter away from a key, but words of their own that people name columns by."""


def _slips(name: str) -> re.Pattern[str]:
    """Matches ``name`` with one letter more, less, or other than it should be, or with two swapped."""
    forms = {name}
    for at in range(len(name) + 1):
        before, after = name[:at], name[at:]
        forms |= {f"{before}.{after}", before + after[1:], f"{before}.{after[1:]}"}
        forms.add(before + after[1:2] + after[:1] + after[2:])
    return re.compile("|".join(sorted(forms)))


_SPELLINGS = {name: _slips(name) for name in (*PARTS, "context")}


@lru_cache(maxsize=4096)
def meant(key: str) -> str:
    """The part, or ``context``, that an unknown ``key`` is most likely meant to be; empty if none.

    Other case, blanks around it, a plural or one slip of the keyboard: what is meant to be judged must not
    pass unseen among the keys that are ignored.
    """
    plain = key.strip().casefold()
    if key in KNOWN or plain in _OTHER_WORDS:
        return ""
    return next((name for name, spelling in _SPELLINGS.items() if spelling.fullmatch(plain)), "")


@dataclass(frozen=True, slots=True)
class Record:
    """One input. ``position``: its place in the whole run, from 0. ``locator``: ``FILE:LINE`` or the path.

    ``item`` is ``None`` exactly if it could not be read; ``problem`` then says why and ``id`` is the
    locator. ``id`` is also the locator where the input names none.
    """

    position: int
    locator: str
    id: str
    item: Item | None
    problem: str = ""


class RecordError(ValueError):
    """One record cannot be read; its text names the key and the value. Never leaves this package."""


def build(position: int, locator: str, fields: Mapping[str, Any], folder: Path) -> Record:
    """The record of ``fields`` (keys as in ``KNOWN``, others ignored if any part is there).

    Media paths are relative to ``folder``. Wrong types, and keys that are known ones misspelt, give a record
    with a problem.
    """
    try:
        name, item = _item(fields, locator, folder)
    except RecordError as error:
        return unreadable(position, locator, str(error))
    return Record(position, locator, name, item)


def unreadable(position: int, locator: str, problem: str) -> Record:
    return Record(position, locator, locator, None, problem)


def _item(fields: Mapping[str, Any], locator: str, folder: Path) -> tuple[str, Item]:
    given = fields.get("id")
    if given is None:
        given = ""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise RecordError(f"id: must be a string or a whole number, got {_shown(given)}")
    name = _storable(str(given)) or locator
    context = fields.get("context")
    if context is not None and not isinstance(context, dict):
        raise RecordError(f"context: must be an object, got {_shown(context)}")
    if not any(key in fields for key in PARTS):
        unknown = sorted(str(key) for key in set(fields) - KNOWN)
        if unknown:
            names = ", ".join(map(_with_meaning, unknown[:5]))
            raise RecordError(f"no part, but unknown keys {names}; parts are {', '.join(PARTS)}")
    for key, value in fields.items():
        if value is not None and (right := meant(key)):
            raise RecordError(f"unknown key {key!r}; did you mean {right!r}?")
    parts = {key: _values(key, fields.get(key), folder) for key in PARTS}
    return name, Item.of(id=name, context=context, **parts)


def _with_meaning(key: str) -> str:
    name = meant(key)
    return f"{key!r} (did you mean {name!r}?)" if name else repr(key)


def _storable(name: str) -> str:
    """Ids come back as they were, but for what neither UTF-8 nor PostgreSQL can hold."""
    return name.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _values(key: str, given: Any, folder: Path) -> list[Any] | None:
    if given is None:
        return None
    values = given if isinstance(given, list) else [given]
    return [_value(key, value, folder) for value in values]


def _value(key: str, value: Any, folder: Path) -> Any:
    if isinstance(value, bytes):  # tables may hold the content itself
        return value
    if key != "text" and isinstance(value, dict):
        return _embedded(key, value, folder)
    if not isinstance(value, str):
        wanted = "a string" if key == "text" else "a path"
        raise RecordError(f"{key}: must be {wanted} or a list of them, got {_shown(value)}")
    if key == "text":
        return value
    if not value:
        raise RecordError(f"{key}: the path is empty")
    return folder / value


def _embedded(key: str, value: Mapping[str, Any], folder: Path) -> Any:
    """``{"bytes": …, "path": …}``, how datasets libraries store media in Parquet."""
    if isinstance(value.get("bytes"), bytes):
        return value["bytes"]
    if isinstance(value.get("path"), str) and value["path"]:
        return folder / value["path"]
    raise RecordError(f"{key}: must be a path or hold bytes, got {_shown(dict(value))}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
