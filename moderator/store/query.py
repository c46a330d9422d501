"""Finding tasks by what they are about, a page at a time.

Each condition is a facet (``facets``), a range of scores, a reviewer or a column of the task. The page is
read off the rows of the rarest facet, which lie in the order that is wanted, and the other conditions are
looked up for each; where one condition leaves few tasks those are sorted; without either, all tasks are gone
through in order. So the cost follows the rarest condition, not the size of the queue.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, literal, or_, select, text
from sqlalchemy.orm import aliased

from moderator.errors import QueueError
from moderator.store import clock
from moderator.store.canonical import escape_text
from moderator.store.facets import LEAST, MILLION, facet
from moderator.store.tables import UNFINISHED, DecisionRow, FacetRow, ScanRow, ScoreRow, TaskRow, plain_state
from moderator.store.words import words_asked
from moderator.types import Action, State

Order = Literal["urgency", "newest", "oldest", "score"]
WAITING = "waiting"
_FEW = 5_000
"""Tasks that are sorted rather than gone through in order."""
_COUNTED = 20_000
"""Rows counted to tell rare conditions from common ones."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a task must be to be found; whatever is ``None`` is not asked for.

    ``label`` with a score in ``[least, most]``; ``modality`` and ``language`` (``zh`` or ``other``) of one of
    its parts; ``source`` of its scan; ``policy`` and ``model`` by digest or its beginning; ``reviewer`` who
    holds it or decided on it; ``since`` and ``until``: opened then; ``degraded``: a reason without what
    differs from item to item (``any`` for any); ``words``: all of them stand in its texts.
    """

    label: str | None = None
    least: float | None = None
    most: float | None = None
    modality: str | None = None
    language: str | None = None
    source: str | None = None
    policy: str | None = None
    model: str | None = None
    reviewer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    action: Action | None = None
    state: str | None = None
    queue: str | None = None
    degraded: str | None = None
    words: str | None = None
    order: Order = "urgency"

    def digest(self) -> str:
        """What a cursor belongs to."""
        said = {key: str(value) for key, value in dataclasses.asdict(self).items() if value is not None}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def found(
    connection: Connection, wanted: Filter, visible: ColumnElement[bool], limit: int, cursor: str | None
) -> tuple[list[int], str | None]:
    """The numbers of up to ``limit`` tasks in order, and where to go on. ``QueueError`` for a filter that
    cannot be, or a cursor of another one."""
    _check(wanted, limit)
    after = None if cursor is None else _after(wanted, cursor)
    query = _query(connection, wanted, visible, after)
    if query is None:
        return [], None
    rows = connection.execute(query.limit(limit + 1)).all()
    ids = [int(row.id) for row in rows[:limit]]
    if len(rows) <= limit:
        return ids, None
    return ids, _cursor(wanted, int(rows[limit - 1].key), ids[-1])


def _check(wanted: Filter, limit: int) -> None:
    if limit < 1:
        raise QueueError(f"limit must be at least 1, got {limit}")
    if wanted.state is not None and wanted.state not in (WAITING, *State):
        raise QueueError(f"unknown task state {wanted.state!r}; use {', '.join((WAITING, *State))}")
    if wanted.label is None and (wanted.least is not None or wanted.most is not None):
        raise QueueError("a range of scores is of a label: name one")
    if wanted.label is None and wanted.order == "score":
        raise QueueError("the order by score is that of a label: name one")
    for name in ("least", "most"):
        value = getattr(wanted, name)
        if value is not None and not 0 <= value <= 1:
            raise QueueError(f"{name}: a score is from 0 to 1, got {value!r}")
        if value is not None and value < LEAST and (name, value) != ("least", 0):
            raise QueueError(f"{name}: scores below {LEAST} are not kept to find by, got {value!r}")
    if wanted.words is not None and not words_asked(wanted.words):
        raise QueueError(f"{wanted.words!r} holds no word to look for")


def _query(
    connection: Connection, wanted: Filter, visible: ColumnElement[bool], after: tuple[int, int] | None
) -> Select[int, int] | None:
    """The numbers and sort keys of what is wanted, in order; ``None`` where there is clearly nothing."""
    facets = _facets(connection, wanted)
    if facets is None:
        return None
    plain = [visible, *_plain(wanted)]
    ranges = [] if wanted.label is None else _scores(wanted)
    counts = {
        name: _count(connection, select(FacetRow.task_id).where(FacetRow.facet == name)) for name in facets
    }
    if 0 in counts.values():
        return None
    sources: list[tuple[int, Select[int]]] = [
        (count, select(FacetRow.task_id).where(FacetRow.facet == name)) for name, count in counts.items()
    ]
    if ranges:
        scored = select(ScoreRow.task_id).where(*ranges)
        sources.append((_count(connection, scored), scored))
    if wanted.reviewer is not None:
        name = escape_text(wanted.reviewer)
        held = select(TaskRow.id).where(TaskRow.state == State.CLAIMED.value, TaskRow.reviewer == name)
        theirs = select(DecisionRow.task_id).where(DecisionRow.reviewer == name).union(held).subquery()
        sources.append((_count(connection, theirs.select()), theirs.select()))
    if wanted.since or wanted.until:
        opened = select(TaskRow.id).where(*_opened(wanted))
        sources.append((_count(connection, opened), opened))
    fewest, few = min(sources, key=lambda each: each[0], default=(_COUNTED, None))
    if few is not None and fewest <= _FEW:
        return _sorted(wanted, few, [*plain, *_probes(wanted, facets, ranges)], after)
    if wanted.order == "score":
        return _by_score([*plain, *_probes(wanted, facets, [])], ranges, after)
    if wanted.order == "urgency" and counts:
        rarest = min(counts, key=lambda name: counts[name])
        others = [name for name in facets if name != rarest]
        return _by_facet(rarest, [*plain, *_probes(wanted, others, ranges)], after)
    return _in_order(wanted, [*plain, *_probes(wanted, facets, ranges)], after)


def _facets(connection: Connection, wanted: Filter) -> list[str] | None:
    """The facets asked for; ``None`` if one of them is of nothing that was ever recorded."""
    names = [
        facet(kind, value)
        for kind, value in (
            ("modality", wanted.modality),
            ("language", wanted.language),
            ("source", wanted.source),
            ("degraded", wanted.degraded),
        )
        if value is not None
    ]
    for kind, begin in (("policy", wanted.policy), ("model", wanted.model)):
        if begin is None:
            continue
        column = ScanRow.policy_digest if kind == "policy" else ScanRow.model_digest
        query = (
            select(column).where(column.startswith(escape_text(begin), autoescape=True)).distinct().limit(2)
        )
        digests = list(connection.execute(query).scalars())
        if not digests:
            return None
        if len(digests) > 1:
            raise QueueError(f"several digests of a {kind} begin with {begin!r}; say more of it")
        names.append(facet(kind, digests[0]))
    names += [facet("word", word) for word in words_asked(wanted.words or "")]
    return list(dict.fromkeys(names))


def _plain(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [*_opened(wanted)]
    if wanted.state == WAITING:
        unfinished: Any = text(UNFINISHED)
        conditions += [unfinished, plain_state.in_((State.OPEN.value, State.QUEUED.value))]
    elif wanted.state is not None:
        conditions.append(plain_state == wanted.state)
    if wanted.action is not None:
        conditions.append(TaskRow.action == wanted.action.value)
    if wanted.queue is not None:
        conditions.append(TaskRow.queue.concat("") == wanted.queue)  # no index on it: see ``plain_state``
    return conditions


def _opened(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(TaskRow.opened_at >= clock.stored(wanted.since))
    if wanted.until is not None:
        conditions.append(TaskRow.opened_at < clock.stored(wanted.until))
    return conditions


def _scores(wanted: Filter) -> list[ColumnElement[bool]]:
    """The range of scores, as conditions on ``ScoreRow``. Where it begins at nothing, rows say what is not
    wanted: see ``_probes``."""
    least = wanted.least if wanted.least is not None else 0.5 if wanted.most is None else 0.0
    if wanted.order == "score":
        least = max(least, LEAST)
    if least < LEAST:
        return []
    conditions = [ScoreRow.label == wanted.label, ScoreRow.score >= round(least * MILLION)]
    if wanted.most is not None:
        conditions.append(ScoreRow.score <= round(wanted.most * MILLION))
    return conditions


def _probes(
    wanted: Filter, facets: Sequence[str], ranges: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """The conditions that other tables hold, each a look-up for a row of ``TaskRow``."""
    probes: list[ColumnElement[bool]] = []
    for name in facets:
        row = aliased(FacetRow)
        same = row.rank == -TaskRow.priority, row.task_id == TaskRow.id
        probes.append(_looked_up(row, TaskRow, row.facet == name, *same))
    if ranges:
        probes.append(_looked_up(ScoreRow, TaskRow, ScoreRow.task_id == TaskRow.id, *ranges))
    elif wanted.label is not None and wanted.most is not None and (wanted.least or 0.0) < LEAST:
        higher = ScoreRow.label == wanted.label, ScoreRow.score > round(wanted.most * MILLION)
        probes.append(~_looked_up(ScoreRow, TaskRow, ScoreRow.task_id == TaskRow.id, *higher))
    if wanted.reviewer is not None:
        name = escape_text(wanted.reviewer)
        decided = exists().where(DecisionRow.task_id == TaskRow.id, DecisionRow.reviewer == name)
        holds = and_(plain_state == State.CLAIMED.value, TaskRow.reviewer == name)
        probes.append(or_(holds, decided))
    return probes


def _looked_up(row: Any, of: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """That there is the one ``row`` which the conditions name for the row ``of``.

    Not as EXISTS: PostgreSQL would make a join of it, guess how many rows that has, and leave the order of
    the index in which the first page is found at once.
    """
    found = select(literal(1)).select_from(row).where(*conditions).correlate(of).scalar_subquery()
    return found.is_not(None)


def _count(connection: Connection, rows: Select[Any]) -> int:
    """How many there are, up to what is counted."""
    return int(
        connection.execute(select(func.count()).select_from(rows.limit(_COUNTED).subquery())).scalar_one()
    )


def _sorted(
    wanted: Filter, few: Select[int], conditions: Sequence[ColumnElement[bool]], after: tuple[int, int] | None
) -> Select[int, int]:
    key: ColumnElement[int]
    if wanted.order == "score":
        of_task = select(func.max(ScoreRow.score)).where(
            ScoreRow.task_id == TaskRow.id, ScoreRow.label == wanted.label
        )
        key = -func.coalesce(of_task.correlate(TaskRow).scalar_subquery(), 0)
    else:
        key = {
            "urgency": -TaskRow.priority,
            "newest": -TaskRow.opened_at,
            "oldest": TaskRow.opened_at + 0,  # not by its index: there are few
        }[wanted.order]
    # where an index is read from its end, so are the numbers of tasks alike in it
    sign = -1 if wanted.order in ("newest", "score") else 1
    query = select(TaskRow.id, key.label("key")).where(TaskRow.id.in_(few), *conditions)
    if after is not None:
        last = sign * after[1]
        query = query.where(or_(key > after[0], and_(key == after[0], sign * TaskRow.id > last)))
    return query.order_by(key, sign * TaskRow.id)


def _by_facet(
    name: str, conditions: Sequence[ColumnElement[bool]], after: tuple[int, int] | None
) -> Select[int, int]:
    # the task is looked up for each row: a join could be turned round, and all would have to be sorted
    query = select(FacetRow.task_id.label("id"), FacetRow.rank.label("key")).where(
        FacetRow.facet == name, _looked_up(TaskRow, FacetRow, TaskRow.id == FacetRow.task_id, *conditions)
    )
    if after is not None:
        query = query.where(_beyond(FacetRow.rank, FacetRow.task_id, after))
    return query.order_by(FacetRow.rank, FacetRow.task_id)


def _by_score(
    conditions: Sequence[ColumnElement[bool]],
    ranges: Sequence[ColumnElement[bool]],
    after: tuple[int, int] | None,
) -> Select[int, int]:
    key = (-ScoreRow.score).label("key")
    query = select(ScoreRow.task_id.label("id"), key).where(
        *ranges, _looked_up(TaskRow, ScoreRow, TaskRow.id == ScoreRow.task_id, *conditions)
    )
    if after is not None:
        score = -after[0]
        query = query.where(
            ScoreRow.score <= score,
            or_(ScoreRow.score < score, and_(ScoreRow.score == score, ScoreRow.task_id < after[1])),
        )
    return query.order_by(ScoreRow.score.desc(), ScoreRow.task_id.desc())


def _in_order(
    wanted: Filter, conditions: Sequence[ColumnElement[bool]], after: tuple[int, int] | None
) -> Select[int, int]:
    if wanted.order == "urgency":
        query = select(TaskRow.id, (-TaskRow.priority).label("key")).where(*conditions)
        if after is not None:
            priority = -after[0]
            beyond = or_(
                TaskRow.priority < priority, and_(TaskRow.priority == priority, TaskRow.id > after[1])
            )
            query = query.where(TaskRow.priority <= priority, beyond)
        return query.order_by(TaskRow.priority.desc(), TaskRow.id)
    if wanted.order == "oldest":
        query = select(TaskRow.id, TaskRow.opened_at.label("key")).where(*conditions)
        if after is not None:
            query = query.where(_beyond(TaskRow.opened_at, TaskRow.id, after))
        return query.order_by(TaskRow.opened_at, TaskRow.id)
    query = select(TaskRow.id, (-TaskRow.opened_at).label("key")).where(*conditions)
    if after is not None:
        opened = -after[0]
        beyond = or_(TaskRow.opened_at < opened, and_(TaskRow.opened_at == opened, TaskRow.id < after[1]))
        query = query.where(TaskRow.opened_at <= opened, beyond)
    return query.order_by(TaskRow.opened_at.desc(), TaskRow.id.desc())


def _beyond(key: Any, number: Any, after: tuple[int, int]) -> ColumnElement[bool]:
    # the first condition is implied by the second: it is what the index can use
    return and_(key >= after[0], or_(key > after[0], and_(key == after[0], number > after[1])))


def _cursor(wanted: Filter, key: int, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([wanted.digest(), key, number]).encode()).decode()


def _after(wanted: Filter, cursor: str) -> tuple[int, int]:
    try:
        digest, key, number = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        after = int(key), int(number)
    except (ValueError, TypeError, binascii.Error) as error:
        raise QueueError(f"{cursor!r} is not a cursor of a page that was found") from error
    if digest != wanted.digest():
        raise QueueError(
            "the cursor belongs to another search; go on with the filter and order it began with"
        )
    return after
