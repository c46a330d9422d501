"""Erasure, retention and legal holds: the content of items goes, their verdicts and the log stay.

What an item held is deleted: its id, context and parts, the words it is found by, who appealed and with what
words. Its verdicts, decisions and every entry of the log remain and can be verified as before. They keep the
SHA-256 of the content: who has a text can still tell that it was this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, exists, insert, or_, select, text, update

from moderator.errors import QueueError
from moderator.review.context import author_of, may_name
from moderator.review.refusals import HeldError, MissingNameError, MissingReasonError, WrongRoleError
from moderator.settings import Review
from moderator.store import Store, audit_log, clock
from moderator.store.canonical import escape_text, unescape_text
from moderator.store.facets import forget_words
from moderator.store.session import ERASED, next_key
from moderator.store.tables import UNFINISHED, AppealRow, HoldRow, ItemRow, TaskRow, VerdictRow
from moderator.types import Action, Role

_CHUNK = 500
_Item = Row[int, str, bytes | None]


@dataclass(frozen=True, slots=True)
class Hold:
    """What must be kept: the posts of an author, or those of an id, until it is released."""

    id: int
    author: str | None
    item: str | None
    reason: str
    placed_by: str
    placed_at: datetime


class Erasure:
    """Erases what a store keeps of posts; each act is one transaction and one entry of the log."""

    def __init__(
        self, store: Store, *, roles: Mapping[str, Role] | None = None, terms: Review | None = None
    ) -> None:
        self._store = store
        self._roles = roles
        self._key = (terms or Review()).author_key

    def erase(self, by: str, reason: str, *, author: str | None = None, item: str | None = None) -> int:
        """Erase the posts of an author, or those of an id; how many there were.

        ``HeldError`` if a hold covers one of them: nothing is erased then.
        """
        self._check(by, reason, author, item)
        with self._store.writing() as connection:
            rows = list(self._items(connection, author, item))
            holds = _holds(connection)
            for row in rows:
                if held := self._held(row, holds):
                    raise HeldError(
                        f"item {row.id} is under legal hold {held.id}; "
                        f"`moderator audit release {held.id}` lifts it"
                    )
            _erase(connection, [row.id for row in rows])
            _forget_holds(connection, author, item)
            said = {"items": [row.id for row in rows], "by": escape_text(by), "reason": escape_text(reason)}
            if rows:
                audit_log.append(connection, "erased", clock.now(), said)
        self._store.settle()
        return len(rows)

    def retain(self, ages: Mapping[Action, timedelta], *, dry_run: bool = False) -> Mapping[Action, int]:
        """Erase posts whose newest verdict is of an action and older than its age; how many by action.

        Kept are those under a hold, and those with a task that is not finished. An action without an age is
        kept for ever.
        """
        counts: dict[Action, int] = {}
        for action, age in ages.items():
            before = clock.stored(clock.moment(clock.now()) - age)
            with self._store.writing() as connection:
                holds = _holds(connection)
                rows = [row for row in _old(connection, action, before) if not self._held(row, holds)]
                counts[action] = len(rows)
                if dry_run or not rows:
                    continue
                _erase(connection, [row.id for row in rows])
                said = {"items": [row.id for row in rows], "action": action.value, "before": before}
                audit_log.append(connection, "expired", clock.now(), said)
        if not dry_run:
            self._store.settle()
        return counts

    def hold(self, by: str, reason: str, *, author: str | None = None, item: str | None = None) -> int:
        """Keep the posts of an author, or those of an id, whatever else says that they go; its number."""
        self._check(by, reason, author, item)
        with self._store.writing() as connection:
            number = next_key(connection, HoldRow.id)
            at = clock.now()
            row = {
                "id": number,
                "author": None if author is None else escape_text(author),
                "item": None if item is None else escape_text(item),
                "reason": escape_text(reason),
                "placed_by": escape_text(by),
                "placed_at": at,
            }
            connection.execute(insert(HoldRow), row)
            audit_log.append(connection, "hold_placed", at, {"hold": number, "by": escape_text(by)})
        return number

    def release(self, hold: int, by: str, reason: str) -> None:
        """Lift a hold. ``QueueError`` if there is none of this number in force."""
        self._check(by, reason, "", None)
        with self._store.writing() as connection:
            at = clock.now()
            lifted = update(HoldRow).where(HoldRow.id == hold, HoldRow.released_at.is_(None))
            if not connection.execute(lifted.values(released_at=at)).rowcount:
                raise QueueError(f"there is no hold {hold} in force; `moderator audit holds` lists them")
            said = {"hold": hold, "by": escape_text(by), "reason": escape_text(reason)}
            audit_log.append(connection, "hold_released", at, said)

    def holds(self) -> list[Hold]:
        """The holds in force."""
        with self._store.reading() as connection:
            return _holds(connection)

    def _check(self, by: str, reason: str, author: str | None, item: str | None) -> None:
        if not by.strip():
            raise MissingNameError("who does it is blank")
        if not reason.strip():
            raise MissingReasonError("a reason is needed")
        role = Role.LEAD if self._roles is None else self._roles.get(by, Role.REVIEWER)
        if not role.covers(Role.LEAD):
            raise WrongRoleError(f"this takes the role {Role.LEAD}; {by} is {role}")
        if (author is None) is (item is None):
            raise QueueError("name an author or the id of an item, one of them")

    def _items(self, connection: Connection, author: str | None, item: str | None) -> Iterator[_Item]:
        query = select(ItemRow.id, ItemRow.external_id, ItemRow.context).order_by(ItemRow.id)
        if item is not None:
            yield from connection.execute(query.where(ItemRow.external_id == escape_text(item)))
            return
        name = author or ""
        for row in connection.execute(query.where(may_name(connection, self._key, name))):
            if author_of(row.context, self._key) == name:
                yield row

    def _held(self, row: _Item, holds: Sequence[Hold]) -> Hold | None:
        if not holds:
            return None
        author, item = author_of(row.context, self._key), unescape_text(row.external_id)
        return next(
            (
                each
                for each in holds
                if (each.author is not None and each.author == author)
                or (each.item is not None and each.item == item)
            ),
            None,
        )


def _holds(connection: Connection) -> list[Hold]:
    columns = HoldRow.id, HoldRow.author, HoldRow.item, HoldRow.reason, HoldRow.placed_by, HoldRow.placed_at
    query = select(*columns).where(HoldRow.released_at.is_(None)).order_by(HoldRow.id)
    return [
        Hold(
            row.id,
            None if row.author is None else unescape_text(row.author),
            None if row.item is None else unescape_text(row.item),
            unescape_text(row.reason),
            unescape_text(row.placed_by),
            clock.moment(row.placed_at),
        )
        for row in connection.execute(query)
    ]


def _old(connection: Connection, action: Action, before: int) -> list[_Item]:
    of_item = VerdictRow.item_id == ItemRow.id
    unfinished: ColumnElement[bool] = exists(
        select(TaskRow.id)
        .join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        .where(of_item, text(UNFINISHED))
        .correlate(ItemRow)
    )
    old = exists().where(of_item, VerdictRow.action == action.value, VerdictRow.created_at < before)
    other = exists().where(of_item, or_(VerdictRow.action != action.value, VerdictRow.created_at >= before))
    query = (
        select(ItemRow.id, ItemRow.external_id, ItemRow.context)
        .where(ItemRow.external_id != ERASED, old, ~other, ~unfinished)
        .order_by(ItemRow.id)
    )
    return list(connection.execute(query))


def _erase(connection: Connection, items: Sequence[int]) -> None:
    forget_words(connection, items)
    for chunk in _chunks(items):
        gone = {"external_id": ERASED, "context": None, "parts": None}
        connection.execute(update(ItemRow).where(ItemRow.id.in_(chunk)).values(gone))
        tasks = select(TaskRow.id).join(VerdictRow, VerdictRow.id == TaskRow.verdict_id)
        of_items = tasks.where(VerdictRow.item_id.in_(chunk))
        words = {"filed_by": ERASED, "statement": ERASED}
        connection.execute(update(AppealRow).where(AppealRow.task_id.in_(of_items)).values(words))


def _forget_holds(connection: Connection, author: str | None, item: str | None) -> None:
    """Holds that were lifted no longer name whom they were about."""
    lifted = update(HoldRow).where(HoldRow.released_at.is_not(None))
    if author is not None:
        connection.execute(lifted.where(HoldRow.author == escape_text(author)).values(author=ERASED))
    if item is not None:
        connection.execute(lifted.where(HoldRow.item == escape_text(item)).values(item=ERASED))


def _chunks(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[at : at + _CHUNK] for at in range(0, len(numbers), _CHUNK))
