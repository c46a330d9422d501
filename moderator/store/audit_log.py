"""The log: one numbered event per committed batch, decision, and scan start or end.

``payload`` is the event itself, in canonical JSON; the other columns only repeat what it says. Numbers
are dense because they are given out inside a writer's transaction, and writers take turns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from moderator.store import clock
from moderator.store.canonical import canonical_json, parse_json
from moderator.store.tables import AuditRow

_VERSION = 1
_RESERVED = frozenset({"v", "seq", "kind", "at"})


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log; ``payload`` are its exact bytes."""

    seq: int
    kind: str
    at: datetime
    payload: bytes

    @property
    def data(self) -> Mapping[str, Any]:
        """What the payload says, the entry's own number, kind and time left out."""
        return {key: value for key, value in parse_json(self.payload).items() if key not in _RESERVED}


def append(connection: Connection, kind: str, at: int, data: Mapping[str, Any]) -> int:
    """Add one event inside a writer's transaction and return its number."""
    seq = int(connection.execute(select(func.coalesce(func.max(AuditRow.seq), 0))).scalar_one()) + 1
    payload = canonical_json({**data, "v": _VERSION, "seq": seq, "kind": kind, "at": at})
    connection.execute(insert(AuditRow), {"seq": seq, "kind": kind, "created_at": at, "payload": payload})
    return seq


def events(connection: Connection, *, after: int = 0) -> Iterator[Event]:
    """All events numbered above ``after``, in order."""
    columns = (AuditRow.seq, AuditRow.kind, AuditRow.created_at, AuditRow.payload)
    rows = connection.execute(select(*columns).where(AuditRow.seq > after).order_by(AuditRow.seq))
    for seq, kind, at, payload in rows.yield_per(1000):
        yield Event(seq, kind, clock.moment(at), payload)


def rows_digest(rows: Iterable[bytes]) -> str:
    """SHA-256 over the SHA-256 of each row's canonical bytes, in order of their keys."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(hashlib.sha256(row).digest())
    return whole.hexdigest()
