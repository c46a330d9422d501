"""Where rows to be verified come from: a live database or an export, told apart by nothing else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from sqlalchemy import Connection, text

from moderator.errors import AuditError
from moderator.store.tables import SCHEMA_REVISION, Base

TABLES = (
    "audit_head", "audit_log", "verdicts", "decisions", "review_events", "label_corrections", "golden_items",
    "golden_trials", "registered",
)  # fmt: skip
"""What the log consists of and what it covers."""

_FORMAT = "moderator-audit-export"
_VERSION = 1
_LINE = re.compile(rb'\{"table":"(\w+)","row":')
_PAGE = 1000

Row = dict[str, Any]


class Source(Protocol):
    """Rows of a table in the order of its key, each column as it is stored; to be closed when left early."""

    def rows(self, table: str) -> Generator[Row]: ...


class Live:
    """The tables of a database, read on a connection that sees one moment of it (``Store.snapshot``)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, table: str) -> Generator[Row]:
        """Stream a table; several may be read side by side."""
        described = Base.metadata.tables[table]
        names = described.columns.keys()
        (key,) = described.primary_key.columns.keys()
        # as text, so that nothing stands between us and what is stored, whatever its type has become
        query = text(f"SELECT {', '.join(names)} FROM {table} ORDER BY {key}")  # noqa: S608
        with self._connection.execute(query, execution_options={"yield_per": _PAGE}) as found:
            for row in found:
                yield dict(zip(names, row, strict=True))


class Exported:
    """The tables in a file that ``export`` wrote. ``AuditError`` if it is none, or a line is not readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _opened(path) as lines:
            header = _parsed(path, 1, lines.readline())
        if header.get("format") != _FORMAT or header.get("version") != _VERSION:
            raise AuditError(f"{path}: not an export of `moderator audit export`, version {_VERSION}")

    def rows(self, table: str) -> Generator[Row]:
        """Stream a table: its lines in the order they stand in, the others passed over."""
        blank = dict.fromkeys(Base.metadata.tables[table].columns.keys())
        with _opened(self._path) as lines:
            lines.readline()
            for number, line in enumerate(lines, 2):
                found = _LINE.match(line)
                if found is None or found[1].decode() not in TABLES:
                    raise AuditError(f"{self._path}:{number}: not a row of the log or of what it covers")
                if found[1].decode() == table:
                    row = _decoded(self._path, number, line)
                    if not row.keys() <= blank.keys():
                        raise AuditError(f"{self._path}:{number}: not a row of {table}: columns it has not")
                    # a column the line lacks is null: one that is newer than the export, or was taken out
                    yield {**blank, **row}


def export(source: Source, file: IO[bytes]) -> int:
    """Write everything ``verify`` needs as JSON lines, and return how many rows they hold.

    First a line that says what this is, then the rows, table by table: integers and texts as they are,
    bytes as ``{"ascii": …}`` or ``{"base64": …}``.
    """
    header = {"format": _FORMAT, "version": _VERSION, "schema": SCHEMA_REVISION}
    file.write(_line(header))
    count = 0
    for table in TABLES:
        for row in source.rows(table):
            file.write(_line({"table": table, "row": {name: _plain(value) for name, value in row.items()}}))
            count += 1
    return count


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    if value.isascii():
        return {"ascii": value.decode("ascii")}
    return {"base64": base64.b64encode(value).decode("ascii")}


def _decoded(path: Path, number: int, line: bytes) -> Row:
    row = _parsed(path, number, line).get("row")
    try:
        return {name: _value(value) for name, value in row.items()}  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise AuditError(f"{path}:{number}: not a row") from None


def _value(value: Any) -> Any:
    if isinstance(value, (bool, list)):
        raise TypeError(f"{value!r} is no value of a column")
    if not isinstance(value, dict):
        return value
    if "ascii" in value:
        return value["ascii"].encode("ascii")
    return base64.b64decode(value["base64"], validate=True)


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AuditError(f"{path}:{number}: not a line of an export")
    return value


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror}") from error
