"""One exact byte form for everything stored, the same on every database and every machine.

Documents are canonical JSON: ASCII only, keys sorted, no white space, no NaN or infinity. Being ASCII
in a binary column, they carry NUL and lone surrogates, which PostgreSQL refuses in text and jsonb.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# built once: json.dumps would make one for every document
_ENCODE = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_MAX_DEPTH = 64
_MAX_INT_BITS = 256  # json refuses to print integers of thousands of digits
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of a JSON value. ``ValueError`` for NaN, infinity or what JSON cannot hold."""
    return _ENCODE(value).encode("ascii")


def parse_json(data: bytes) -> Any:
    """The value of canonical bytes."""
    return json.loads(data)


def jsonable(value: Any, depth: int = 0) -> Any:
    """A JSON value that says what ``value`` says, for data from outside that must never stop a scan.

    What JSON lacks becomes a string: NaN and infinities by name, dates in ISO form, other objects as
    they print; bytes become ``{"bytes": hex}``.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MAX_INT_BITS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if depth >= _MAX_DEPTH:
        return "(nested too deeply to be kept)"
    if isinstance(value, Mapping):
        return {str(key): jsonable(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [jsonable(each, depth + 1) for each in value]
    return str(value)


def escape_text(text: str) -> str:
    """``text`` as a plain column can hold it: controls, lone surrogates and the backslash as escapes."""
    return _UNSAFE.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text)


def unescape_text(text: str) -> str:
    """The text that ``escape_text`` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", text)


def row_bytes(kind: str, row: Mapping[Any, Any], columns: Sequence[str]) -> bytes:
    """The exact bytes of a row, derivable from its columns alone.

    Each value carries its name, type and length, so that no two different rows share a form, whatever
    stands in them: ``id:i1=7`` for an integer, ``t`` for text in UTF-8, ``b`` for bytes, ``n`` for null,
    ``f`` for a float, which we never write but SQLite would take.
    """
    out = [kind.encode("ascii")]
    for name in columns:
        value = row[name]
        if isinstance(value, bytes):
            tag, data = b"b", value
        elif isinstance(value, str):
            tag, data = b"t", value.encode("utf-8", "surrogateescape")  # bytes that are no UTF-8, as they are
        elif value is None:
            tag, data = b"n", b""
        elif isinstance(value, float):
            tag, data = b"f", repr(value).encode("ascii")
        else:
            tag, data = b"i", b"%d" % value
        out.append(b"%s:%s%d=%s" % (name.encode("ascii"), tag, len(data), data))
    return b"\n".join(out)
