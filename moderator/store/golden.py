"""Golden items as rows: tasks whose right answer is known, and the copies of them that ask reviewers.

A copy is a task like any other, on the same verdict, with decisions of its own. What tells it apart is a row
of ``golden_trials``, and whoever reads decisions in force leaves out what ``is_copy`` names.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from sqlalchemy import Connection, Exists, exists, func, select
from sqlalchemy.orm import aliased

from moderator.store.seal import Form
from moderator.store.tables import GoldenRow, TaskRow, TrialRow

GOLDEN_FORM = Form(
    "moderator.golden_item.v1",
    "golden_items",
    ("id", "task_id", "action", "labels", "reviewer", "reason", "created_at"),
)
"""How rows of ``golden_items`` are sealed."""
TRIAL_FORM = Form("moderator.golden_trial.v1", "golden_trials", ("id", "task_id", "golden_id", "created_at"))
"""How rows of ``golden_trials`` are sealed."""

_GAPS = 0.1
_NEAR = 500


def is_copy() -> Exists:
    """That the row of ``TaskRow`` only asks what is known already: its decisions take no effect."""
    return exists().where(TrialRow.task_id == TaskRow.id)


def numbers(connection: Connection, first: int) -> Iterator[int]:
    """Numbers for new tasks, from ``first``: where there are golden items, some are left free at random.

    Copies get those, or they could be told by their numbers: all newer than any task around them.
    """
    gaps = connection.execute(select(exists(select(GoldenRow.id)))).scalar_one()
    while True:
        while gaps and random.random() < _GAPS:
            first += 1
        yield first
        first += 1


def free_number(connection: Connection, near: int) -> int | None:
    """A number that no task has, close to ``near``; ``None`` if there is none close by."""
    other = aliased(TaskRow)
    free = (
        select(TaskRow.id + 1)
        .where(TaskRow.id.between(near - _NEAR, near + _NEAR), ~exists().where(other.id == TaskRow.id + 1))
        .order_by(func.abs(TaskRow.id - near))
        .limit(1)
    )
    return connection.execute(free).scalar()
