"""The log: one numbered event per committed batch, decision, and scan start or end.

``payload`` is the event itself, in canonical JSON; the other columns only repeat what it says. Its leaf
is one of a Merkle tree over all events, whose size, frontier and root are kept in ``audit_head`` by the
same transaction, so that an entry missing at the end is seen too. Each payload holds the leaf of the
event before it, so that an entry changed together with its own hash can be named. Numbers are dense
because they are given out inside a writer's transaction, and writers take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from moderator.errors import StoreError
from moderator.store import clock
from moderator.store.canonical import canonical_json, parse_json
from moderator.store.merkle import Frontier, leaf_hash
from moderator.store.seal import Seal
from moderator.store.tables import AuditRow, HeadRow

VERSION = 2
RESERVED = frozenset({"v", "seq", "kind", "at", "prev", "seals"})
"""What every payload says of itself; the rest is the event's own."""

_PAGE = 1000
_EVENT = (AuditRow.seq, AuditRow.kind, AuditRow.created_at, AuditRow.payload)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log; ``payload`` are its exact bytes."""

    seq: int
    kind: str
    at: datetime
    payload: bytes

    @property
    def data(self) -> Mapping[str, Any]:
        """What the payload says, without what it says of itself (number, kind, time, seals)."""
        return {key: value for key, value in parse_json(self.payload).items() if key not in RESERVED}


def append(
    connection: Connection, kind: str, at: int, data: Mapping[str, Any], seals: Sequence[Seal] = ()
) -> int:
    """Add one event inside a writer's transaction and return its number.

    ``seals`` name the rows of ``verdicts`` and ``decisions`` written in the same transaction, each exactly
    once. ``StoreError`` if the end of the log is missing.
    """
    if taken := RESERVED & data.keys():
        raise ValueError(f"an event cannot say {', '.join(sorted(taken))} of its own")
    frontier, last = _end(connection)
    seq = frontier.size + 1
    said = {**data, "v": VERSION, "seq": seq, "kind": kind, "at": at, "prev": last.hex()}
    if seals:
        said["seals"] = [seal.said() for seal in seals]
    payload = canonical_json(said)
    leaf = leaf_hash(payload)
    frontier.append(leaf)
    row = {"seq": seq, "kind": kind, "created_at": at, "payload": payload, "leaf": leaf}
    connection.execute(insert(AuditRow), row)
    head = {"size": seq, "frontier": frontier.dump(), "root": frontier.root()}
    connection.execute(update(HeadRow).where(HeadRow.id == 1).values(head))
    return seq


def events(connection: Connection, *, after: int = 0) -> Iterator[Event]:
    """All events numbered above ``after``, in order; streams, holding one page."""
    for seq, kind, at, payload in _pages(connection, _EVENT, after):
        yield Event(seq, kind, clock.moment(at), payload)


def leaves(connection: Connection) -> Iterator[bytes]:
    """The leaves of all events, in order, as they are stored; streams, holding one page."""
    for _, leaf in _pages(connection, (AuditRow.seq, AuditRow.leaf), 0):
        yield leaf


def newest(
    connection: Connection, limit: int, *, before: int | None = None, kind: str | None = None
) -> list[Event]:
    """Up to ``limit`` events, newest first, numbered below ``before`` and of this ``kind``, if given."""
    query = select(*_EVENT).order_by(AuditRow.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.seq < before)
    if kind is not None:
        query = query.where(AuditRow.kind == kind)
    return [
        Event(seq, kind, clock.moment(at), payload) for seq, kind, at, payload in connection.execute(query)
    ]


def head(connection: Connection) -> Frontier:
    """The tree over the whole log, as its last writer left it. ``StoreError`` if it contradicts itself."""
    row = connection.execute(
        select(HeadRow.size, HeadRow.frontier, HeadRow.root).where(HeadRow.id == 1)
    ).first()
    frontier = None if row is None else Frontier.load(row.size, row.frontier)
    if row is None or frontier is None or frontier.root() != row.root:
        raise StoreError("the head of the log is damaged; run `moderator audit verify`")
    return frontier


def _pages(connection: Connection, columns: Sequence[Any], after: int) -> Iterator[Any]:
    query = select(*columns).order_by(AuditRow.seq).limit(_PAGE)
    while True:
        page = connection.execute(query.where(AuditRow.seq > after)).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _end(connection: Connection) -> tuple[Frontier, bytes]:
    """The tree so far, and the leaf of its last event (empty before the first)."""
    row = connection.execute(
        select(HeadRow.size, HeadRow.frontier, AuditRow.leaf)
        .outerjoin(AuditRow, AuditRow.seq == HeadRow.size)
        .where(HeadRow.id == 1)
    ).first()
    if row is None or (row.size and row.leaf is None):
        missing = "its head" if row is None else f"entry {row.size}"
        raise StoreError(f"the log lacks {missing} and takes no more; run `moderator audit verify`")
    return Frontier.load(row.size, row.frontier), row.leaf or b""
