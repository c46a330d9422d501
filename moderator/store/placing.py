"""A task's place in line as columns: its queue, when it is due, and its priority."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, exists, func, select, text

from moderator.routing import Route
from moderator.store import clock
from moderator.store.tables import UNFINISHED, TaskRow
from moderator.types import Role

Lane = tuple[str, Role]
"""A queue, and the role it takes to claim a task there: the queue's, or that of what the task asks."""

_FAR = clock.stored(datetime(2100, 1, 1, tzinfo=UTC))
_PAIRS = 300  # in one statement; databases limit it


def priority_of(opened_at: int, head_start: timedelta) -> int:
    """What tasks are ordered by, the highest first: how long before 2100 a task would have been opened if its
    head start (see ``routing``) were waiting, in microseconds."""
    return _FAR - opened_at + clock.span(head_start)


def placed(route: Route, head_start: timedelta, opened_at: int) -> dict[str, Any]:
    """The columns of a new task."""
    return {
        "priority": priority_of(opened_at, head_start),
        "opened_at": opened_at,
        **route_columns(route, opened_at + clock.span(route.due)),
        "needs": route.role.value,
    }


def route_columns(route: Route, due_at: int) -> dict[str, Any]:
    """A queue and what it asks, as columns."""
    return {
        "queue": route.queue,
        "due_at": due_at,
        "due": clock.span(route.due),
        "role": route.role.value,
        "lease": None if route.lease is None else clock.span(route.lease),
    }


def route_of(row: Mapping[Any, Any]) -> Route:
    """What ``route_columns`` was given."""
    return Route(
        row["queue"],
        timedelta(microseconds=row["due"]),
        Role(row["role"]),
        None if row["lease"] is None else timedelta(microseconds=row["lease"]),
    )


def lanes(connection: Connection, roles: Collection[Role], queue: str | None = None) -> list[Lane]:
    """The lanes that take one of these roles and have work in them, of one queue or of all.

    The names of the queues are found by going from one to the next in the index, not by reading all rows.
    """
    if queue is not None:
        names = [queue]
    else:
        first = select(func.min(TaskRow.queue).label("queue")).where(text(UNFINISHED))
        found = first.cte("found", recursive=True)
        next_ = select(func.min(TaskRow.queue)).where(text(UNFINISHED), TaskRow.queue > found.c.queue)
        found = found.union_all(
            select(next_.correlate(found).scalar_subquery()).where(found.c.queue.is_not(None))
        )
        names = list(connection.execute(select(found.c.queue).where(found.c.queue.is_not(None))).scalars())
    pairs = [(name, role) for name in names for role in roles]
    there: list[bool] = []
    for at in range(0, len(pairs), _PAIRS):
        asked = [
            exists().where(text(UNFINISHED), TaskRow.queue == name, TaskRow.needs == role.value)
            for name, role in pairs[at : at + _PAIRS]
        ]
        there += connection.execute(select(*asked)).one()
    return [pair for pair, found_ in zip(pairs, there, strict=True) if found_]
