"""Inserting many rows at once, past the layers that cost more than the database itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from moderator.store.tables import Base


def insert_rows(connection: Connection, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``, whose keys are the same columns of ``model`` in each; nothing if there are none."""
    if not rows:
        return
    columns = list(rows[0])
    unknown = set(columns) - set(model.__table__.columns.keys())
    if unknown:  # names go into the statement as they are
        raise ValueError(f"{model.__tablename__} has no column {', '.join(sorted(unknown))}")
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    connection.exec_driver_sql(
        f"INSERT INTO {model.__tablename__} ({', '.join(columns)}) "  # noqa: S608
        f"VALUES ({', '.join([mark] * len(columns))})",
        [tuple(row.values()) for row in rows],
    )
