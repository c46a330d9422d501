"""JSON Lines: one object a line, one record a line, whatever is in it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moderator.media.files import printable
from moderator.sources.lines import bounded_lines
from moderator.sources.records import Record, RecordError, build, unreadable


def read_jsonl(path: Path, position: int, max_bytes: int) -> Iterator[Record]:
    """Records of the file at ``path``, positions from ``position``. Blank lines count as lines but give
    no record. Raises ``OSError`` if the file cannot be read."""
    folder, name = path.parent, printable(path)
    with path.open("rb") as file:
        for number, (line, cut) in enumerate(bounded_lines(file, max_bytes), start=1):
            body = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not body.strip():
                continue
            locator = f"{name}:{number}"
            try:
                if cut:
                    raise RecordError(f"the line is longer than {max_bytes:,} bytes (max_bytes)")
                fields = _parse(body)
            except RecordError as error:
                yield unreadable(position, locator, str(error))
            else:
                yield build(position, locator, fields, folder)
            position += 1


def _parse(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise RecordError(f"not UTF-8 (byte {error.start + 1} of the line)") from error
    except json.JSONDecodeError as error:
        raise RecordError(f"broken JSON: {error.msg} (character {error.colno})") from error
    except RecursionError as error:
        raise RecordError("broken JSON: nested too deeply") from error
    except RecordError:
        raise
    except ValueError as error:  # whole numbers of thousands of digits
        raise RecordError(f"broken JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordError(f"not a JSON object but {type(value).__name__}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(f"the key {twice!r} occurs twice")
    return found


def _constant(name: str) -> Any:
    raise RecordError(f"broken JSON: {name} is no JSON value")
