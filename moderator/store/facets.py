"""What tasks are found by: a facet a line, in the order of urgency, and the scores of their labels.

``kind=value`` names a facet: ``language=zh``, ``modality=image``, ``source=posts.jsonl``, ``policy=…``,
``model=…``, ``degraded=…``, ``word=…``. The rows of one facet lie in the index as its tasks are worked, most
urgent first, so that a page of them is read off and never sorted. All of it is copied from what the verdict
and its item say; nothing is decided by it, and it can be dropped and made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select

from moderator.media.language import language_of
from moderator.store.bulk import insert_rows
from moderator.store.canonical import escape_text
from moderator.store.tables import FacetRow, ScoreRow, TaskRow, VerdictRow
from moderator.store.words import words_of
from moderator.types import Item, Modality, Verdict

LEAST = 0.05
"""Scores below are not kept: most are, and nobody looks for them."""
MILLION = 1_000_000
_LONGEST = 120
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CHUNK = 500


def facet(kind: str, value: str) -> str:
    """The name of a facet. A value too long for an index is cut, and told apart by its hash."""
    name = escape_text(f"{kind}={value}")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:100]}#{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def reason_of(degraded: str) -> str:
    """The reason without what differs from item to item: up to the first colon, numbers as #."""
    return _NUMBER.sub("#", degraded.split(":", 1)[0]).strip()


def facets_of(item: Item | None, verdict: Verdict, source: str, *, words: bool) -> list[str]:
    """The facets of a task on this verdict; the ``words`` of its texts if they may be kept in the clear."""
    found = [
        facet("source", source),
        facet("policy", verdict.policy_digest),
        facet("model", verdict.model_digest),
    ]
    if verdict.degraded:
        found.append(facet("degraded", "any"))
        found += [facet("degraded", reason_of(each)) for each in verdict.degraded]
    parts = () if item is None else item.parts
    found += [facet("modality", each.modality.value) for each in parts]
    texts = [str(each.value) for each in parts if each.modality is Modality.TEXT]
    if texts:
        found += [facet("language", language_of(text) or "other") for text in texts]
        if words:
            found += [facet("word", word) for word in words_of("\n".join(texts))]
    return list(dict.fromkeys(found))


def scores_of(verdict: Verdict) -> dict[str, int]:
    """Label → score in millionths, of those worth finding."""
    return {label: round(score * MILLION) for label, score in verdict.scores.items() if score >= LEAST}


def add(
    connection: Connection,
    tasks: Iterable[Mapping[str, Any]],
    found: Iterable[tuple[list[str], dict[str, int]]],
) -> None:
    """Write the facets and scores of new tasks, whose rows are ``tasks``."""
    facets: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for task, (names, values) in zip(tasks, found, strict=True):
        facets += [{"facet": name, "rank": -task["priority"], "task_id": task["id"]} for name in names]
        scores += [{"label": label, "score": score, "task_id": task["id"]} for label, score in values.items()]
    insert_rows(connection, FacetRow, facets)
    insert_rows(connection, ScoreRow, scores)


def copy(connection: Connection, task_id: int, other: int, priority: int) -> None:
    """Let the task ``other``, of this priority, be found by what ``task_id`` is found by."""
    names = connection.execute(select(FacetRow.facet).where(FacetRow.task_id == task_id)).scalars()
    insert_rows(
        connection, FacetRow, [{"facet": name, "rank": -priority, "task_id": other} for name in names]
    )
    query = select(ScoreRow.label, ScoreRow.score).where(ScoreRow.task_id == task_id)
    scores = connection.execute(query).all()
    insert_rows(
        connection, ScoreRow, [{"label": row.label, "score": row.score, "task_id": other} for row in scores]
    )


def forget_words(connection: Connection, item_ids: Sequence[int]) -> None:
    """Delete what the texts of these items are found by.

    SQLite overwrites what is deleted (``secure_delete``); PostgreSQL keeps it in its pages until ``VACUUM``.
    """
    for chunk in _chunks(item_ids):
        of_items = select(TaskRow.id).join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        tasks = of_items.where(VerdictRow.item_id.in_(chunk))
        connection.execute(delete(FacetRow).where(FacetRow.task_id.in_(tasks), FacetRow.facet.like("word=%")))


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[at : at + _CHUNK] for at in range(0, len(numbers), _CHUNK))
