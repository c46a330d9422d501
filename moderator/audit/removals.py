"""Which posts were taken down, read from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, exists, select

from moderator.audit.dsa import Removal
from moderator.store import clock
from moderator.store.canonical import parse_json
from moderator.store.decisions import DECISION_COLUMNS, decision_from_row
from moderator.store.golden import is_copy
from moderator.store.tables import DecisionRow, ItemRow, TaskRow, VerdictRow
from moderator.store.verdicts import VERDICT_COLUMNS, verdict_from_row
from moderator.types import Action, Modality

_VERDICT = [getattr(VerdictRow, name).label(f"verdict_{name}") for name in VERDICT_COLUMNS]
_DECISION = [getattr(DecisionRow, name).label(f"decision_{name}") for name in DECISION_COLUMNS]
_ITEM = [ItemRow.external_id, ItemRow.context, ItemRow.parts]


def removals(connection: Connection, since: int) -> Iterator[Removal]:
    """Removals from ``since`` on (microseconds since 1970 UTC): first people's, then the machine's own.

    Of several decisions on a post the one in force counts, and where a person let a post be there is none.
    """
    block = Action.BLOCK.value
    people = (
        select(*_DECISION, *_VERDICT, *_ITEM)
        .join(TaskRow, TaskRow.id == DecisionRow.task_id)
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .where(DecisionRow.action == block, DecisionRow.created_at >= since)
        .where(TaskRow.decision_id == DecisionRow.id, ~is_copy())
        .order_by(DecisionRow.id)
    )
    for row in connection.execute(people).mappings().yield_per(1000):
        yield _removal(row, decided=True)
    decided = exists().where(
        TaskRow.verdict_id == VerdictRow.id, DecisionRow.task_id == TaskRow.id, ~is_copy()
    )
    machine = (
        select(*_VERDICT, *_ITEM)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .where(VerdictRow.action == block, VerdictRow.created_at >= since, ~decided)
        .order_by(VerdictRow.id)
    )
    for row in connection.execute(machine).mappings().yield_per(1000):
        yield _removal(row, decided=False)


def _removal(row: Mapping[Any, Any], *, decided: bool) -> Removal:
    verdict = {name: row[f"verdict_{name}"] for name in VERDICT_COLUMNS}
    decision = None
    if decided:
        decision = decision_from_row({name: row[f"decision_{name}"] for name in DECISION_COLUMNS})
    parts = parse_json(row["parts"]) if row["parts"] is not None else []
    context = parse_json(row["context"]) if row["context"] is not None else {}
    return Removal(
        verdict_from_row(verdict, row["external_id"]),
        decision,
        [Modality(part["modality"]) for part in parts],
        clock.moment(row["decision_created_at"] if decided else verdict["created_at"]),
        _posted(context.get("posted")),
        str(context.get("language", ""))[:2],
        bool(context.get("reported", False)),
    )


def _posted(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10]) if value else None
    except ValueError:
        return None
