"""Parquet: columns named like the keys of JSON Lines, read in small batches."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moderator.errors import SourceError
from moderator.media.files import printable
from moderator.sources.csv_table import CONTEXT, check_columns, fields_of, is_read
from moderator.sources.records import Record, RecordError, build, unreadable

_ROWS = 256  # rows may hold whole pictures


def check_parquet(path: Path) -> int:
    """Number of rows. Raises ``SourceError`` if the file is no Parquet or its columns do not fit."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(path, list(file.schema_arrow.names))
            return int(file.metadata.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{printable(path)}: cannot be read as Parquet: {error}") from error


def read_parquet(path: Path, position: int) -> Iterator[Record]:
    """Records of the file at ``path``; ``LINE`` of a locator is the row, from 1.

    Where the file turns out damaged, one record with the problem stands for the rest of it.
    """
    import pyarrow
    import pyarrow.parquet

    name = printable(path)
    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [column for column in file.schema_arrow.names if is_read(column)]
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for index in range(batch.num_rows):
                    row += 1
                    yield _record(batch, index, position, f"{name}:{row}", path.parent)
                    position += 1
    except (pyarrow.ArrowException, OSError) as error:
        yield unreadable(position, f"{name}:{row + 1}", f"damaged from row {row + 1} on: {error}")


def _record(batch: Any, index: int, position: int, locator: str, folder: Path) -> Record:
    try:
        cells = {
            column: _cell(column, batch.column(at)[index]) for at, column in enumerate(batch.schema.names)
        }
    except RecordError as error:
        return unreadable(position, locator, str(error))
    return build(position, locator, fields_of(cells), folder)


def _cell(column: str, scalar: Any) -> Any:
    try:
        value = scalar.as_py()
    except UnicodeDecodeError as error:
        raise RecordError(f"{column}: not UTF-8") from error
    except (ValueError, OverflowError) as error:
        raise RecordError(f"{column}: cannot be read: {error}") from error
    return _plain(value) if column == "context" or column.startswith(CONTEXT) else value


def _plain(value: Any) -> Any:
    """Context values as JSON knows them, so that policies and verdict files can hold them."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
