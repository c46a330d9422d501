"""Time as it is stored: whole microseconds since 1970 UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """This moment."""
    return time.time_ns() // 1000


def database_now(connection: Connection) -> int:
    """This moment by the database's clock: one for all who use it, whatever their own clocks say.

    Exact to a millisecond on SQLite, whose clock is that of this machine, and to a microsecond on PostgreSQL.
    """
    query = (
        # julianday has no more than the precision of a float: about 40 µs
        "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"
        if connection.dialect.name == "sqlite"
        else "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    )
    return int(connection.execute(text(query)).scalar_one())


def span(length: timedelta) -> int:
    """A length of time as it is stored: whole microseconds."""
    return length // timedelta(microseconds=1)


def stored(at: datetime) -> int:
    """An aware datetime as it is stored."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """A stored time as an aware datetime."""
    return _EPOCH + timedelta(microseconds=at)
