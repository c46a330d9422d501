"""How many graphic tasks a reviewer sees in a shift, and no more than they should.

A task is seen once it is claimed; what counts are the claims of the last hours by the database's clock. The
rows of one reviewer are counted and added to under a lock of their own, so that claims made at once do not
exceed what is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import JSON, ColumnElement, Connection, Float, String, cast, exists, false, func, or_, select

from moderator.errors import SettingsError
from moderator.review.machine import ActKind
from moderator.review.refusals import ExposureSpentError
from moderator.settings import Review
from moderator.store import clock, engine
from moderator.store.canonical import escape_text, unescape_text
from moderator.store.tables import ItemRow, ReviewEventRow, TaskRow, VerdictRow
from moderator.types import Modality

_MEDIA = (Modality.IMAGE.value, Modality.VIDEO.value)


@dataclass(frozen=True, slots=True)
class Graphic:
    """What counts as graphic: labels with the score from which on it is so, and modalities."""

    labels: Mapping[str, float]
    media: tuple[str, ...]

    @classmethod
    def of(cls, said: str) -> Graphic:
        """From the setting, ``sexual=0.5, image``. ``SettingsError`` if it cannot be read."""
        labels: dict[str, float] = {}
        media: list[str] = []
        for each in filter(None, (part.strip() for part in said.split(","))):
            name, equals, number = (part.strip() for part in each.partition("="))
            try:
                if not equals and name in _MEDIA:
                    media.append(name)
                    continue
                score = float(number)
                if not (name.isidentifier() and 0 <= score <= 1):
                    raise ValueError(each)
                labels[name] = score
            except ValueError:
                raise SettingsError(
                    f"review.graphic: {each!r} is neither label=score, from 0 to 1, nor image or video"
                ) from None
        return cls(labels, tuple(media))

    def condition(self, connection: Connection) -> ColumnElement[bool]:
        """The same of a row of ``TaskRow``."""
        sqlite = connection.dialect.name == "sqlite"
        of_task = VerdictRow.id == TaskRow.verdict_id
        found: list[ColumnElement[bool]] = []
        if self.labels:
            scores = [_score(label, sqlite) >= least for label, least in self.labels.items()]
            found.append(exists().where(of_task, or_(*scores)))
        if self.media:
            parts = cast(ItemRow.parts, String) if sqlite else func.convert_from(ItemRow.parts, "UTF8")
            # canonical JSON: a text that says the same has its quotes escaped
            media = [parts.contains(f'"modality":"{name}"', autoescape=True) for name in self.media]
            found.append(exists().where(of_task, ItemRow.id == VerdictRow.item_id, or_(*media)))
        return or_(false(), *found)


def _score(label: str, sqlite: bool) -> ColumnElement[float]:
    if sqlite:
        return func.json_extract(cast(VerdictRow.scores, String), f'$."{label}"')
    document = cast(func.convert_from(VerdictRow.scores, "UTF8"), JSON)
    return cast(func.json_extract_path_text(document, label), Float)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a reviewer may still see. ``again``: when the first of what they have seen counts no more."""

    reviewer: str
    most: int
    hours: float
    seen: frozenset[int]
    graphic: ColumnElement[bool]
    again: datetime | None

    @property
    def left(self) -> int:
        return max(0, self.most - len(self.seen))

    def spent(self, about: str) -> ExposureSpentError:
        """The refusal."""
        again = "" if self.again is None else f"; another from {self.again:%Y-%m-%d %H:%M:%S} UTC on"
        return ExposureSpentError(
            f"{about}: {self.reviewer} has claimed {len(self.seen)} graphic tasks in the last {self.hours:g} "
            f"hours, of at most {self.most}{again}. Leave it to somebody else"
        )


def lock(connection: Connection, reviewer: str, terms: Review) -> None:
    """Let nobody else count and claim for this reviewer until the transaction ends; before other locks."""
    if terms.graphic_per_shift:
        digest = hashlib.sha256(b"moderator.exposure\0" + escape_text(reviewer).encode()).digest()
        engine.lock(connection, int.from_bytes(digest[:8], "big", signed=True))


def budget(connection: Connection, reviewer: str, terms: Review, at: datetime) -> Budget | None:
    """What a reviewer may still see; ``None`` if there is no limit. Needs ``lock``."""
    if not terms.graphic_per_shift:
        return None
    graphic = Graphic.of(terms.graphic).condition(connection)
    shift = timedelta(hours=terms.shift_hours)
    last = func.max(ReviewEventRow.created_at)
    query = (
        select(ReviewEventRow.task_id, last)
        .join(TaskRow, TaskRow.id == ReviewEventRow.task_id)
        .where(ReviewEventRow.reviewer == escape_text(reviewer), _claimed_since(at - shift), graphic)
        .group_by(ReviewEventRow.task_id)
        .order_by(last)
    )
    seen = connection.execute(query).all()
    most = terms.graphic_per_shift
    over = len(seen) - most  # if the limit was lowered, more than one must run out first
    again = clock.moment(seen[over][1]) + shift if over >= 0 else None
    ids = frozenset(row[0] for row in seen)
    return Budget(reviewer, most, terms.shift_hours, ids, graphic, again)


def check(connection: Connection, task_id: int, left: Budget | None) -> None:
    """``ExposureSpentError`` if a task claimed by its number is one graphic task too many."""
    if left is None or left.left or task_id in left.seen:
        return
    if connection.execute(select(left.graphic).where(TaskRow.id == task_id)).scalar():
        raise left.spent(f"task {task_id} is graphic")


def seen_lately(connection: Connection, terms: Review) -> dict[str, int]:
    """Reviewer → graphic tasks claimed within the last shift."""
    at = clock.moment(clock.database_now(connection))
    query = (
        select(ReviewEventRow.reviewer, func.count(ReviewEventRow.task_id.distinct()))
        .join(TaskRow, TaskRow.id == ReviewEventRow.task_id)
        .where(_claimed_since(at - timedelta(hours=terms.shift_hours)))
        .where(Graphic.of(terms.graphic).condition(connection))
        .group_by(ReviewEventRow.reviewer)
        .order_by(ReviewEventRow.reviewer)
    )
    return {unescape_text(name): count for name, count in connection.execute(query)}


def _claimed_since(at: datetime) -> ColumnElement[bool]:
    return (ReviewEventRow.act == ActKind.CLAIM.value) & (ReviewEventRow.created_at > clock.stored(at))
