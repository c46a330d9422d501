"""Proofs for others: that an entry or a row is in the log, and that the log only grew.

They need no trust in who gives them, only a checkpoint with the same size and root.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, select

from moderator.audit.verify import FORMS
from moderator.errors import AuditError
from moderator.store import audit_log
from moderator.store.canonical import parse_json
from moderator.store.merkle import (
    Frontier,
    consistency_spans,
    inclusion_spans,
    leaf_hash,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)
from moderator.store.seal import Seal, seals_of
from moderator.store.tables import AuditRow, Base


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That ``data`` is leaf ``index`` (from 0) of the tree of ``size`` leaves with this root."""

    index: int
    size: int
    data: bytes
    path: tuple[bytes, ...]
    root: bytes

    @property
    def leaf(self) -> bytes:
        """The hash of ``data``, as it stands in the tree."""
        return leaf_hash(self.data)

    def check(self) -> None:
        """``AuditError`` if it does not hold."""
        verify_inclusion(self.index, self.size, self.leaf, self.path, self.root)


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of ``size`` leaves begins with that of ``first``."""

    first: int
    size: int
    first_root: bytes
    root: bytes
    path: tuple[bytes, ...]

    def check(self) -> None:
        """``AuditError`` if it does not hold."""
        verify_consistency(self.first, self.size, self.first_root, self.root, self.path)


P = TypeVar("P", Inclusion, Consistency)


def prove_entry(connection: Connection, seq: int) -> Inclusion:
    """Entry ``seq`` is in the log. ``AuditError`` if there is none, or the log contradicts itself."""
    head = audit_log.head(connection)
    query = select(AuditRow.payload).where(AuditRow.seq == seq)
    payload = connection.execute(query).scalar() if 0 < seq <= head.size else None
    if payload is None:
        raise AuditError(f"the log has no entry {seq}; it has {head.size}")
    path = subtree_roots(audit_log.leaves(connection), inclusion_spans(seq - 1, head.size))
    return _checked(Inclusion(seq - 1, head.size, payload, tuple(path), head.root()))


def prove_row(connection: Connection, table: str, key: int) -> tuple[int, Inclusion]:
    """The entry that seals row ``key`` of ``table``, and that the row is in the tree of its seal."""
    seq, seal = _sealing(connection, table, key)
    if not seal.tree:
        raise AuditError(
            f"{table} row {key} was written before the log had trees; entry {seq} seals rows {seal.first} to "
            f"{seal.last} as a whole, and `moderator audit proof {seq}` proves that entry"
        )
    form = FORMS[seal.form]
    described = Base.metadata.tables[table]
    query = (
        select(*(described.c[name] for name in form.columns))
        .where(described.c["id"].between(seal.first, seal.last))
        .order_by(described.c["id"])
    )
    data = [form.row_bytes(row) for row in connection.execute(query).mappings()]
    index, size = key - seal.first, seal.last - seal.first + 1
    path = subtree_roots(map(leaf_hash, data), inclusion_spans(index, size))
    return seq, _checked(Inclusion(index, size, data[index], tuple(path), seal.root))


def prove_growth(connection: Connection, first: int) -> Consistency:
    """The log of today begins with the ``first`` entries it once had."""
    head = audit_log.head(connection)
    spans = consistency_spans(first, head.size)
    path = subtree_roots(audit_log.leaves(connection), spans)
    before = Frontier(islice(audit_log.leaves(connection), first))
    return _checked(Consistency(first, head.size, before.root(), head.root(), tuple(path)))


def _checked(proof: P) -> P:
    try:
        proof.check()
    except AuditError as error:
        raise AuditError(f"the log contradicts itself ({error}); run `moderator audit verify`") from error
    return proof


def _sealing(connection: Connection, table: str, key: int) -> tuple[int, Seal]:
    for event in audit_log.events(connection):
        for seal in seals_of(parse_json(event.payload)):
            form = FORMS.get(seal.form)
            if form is not None and form.table == table and seal.first <= key <= seal.last:
                return event.seq, seal
    raise AuditError(f"no entry of the log covers {table} row {key}")
