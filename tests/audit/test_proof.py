"""Proofs hold for every entry and row, and what they say can be checked with SHA-256 alone."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from moderator.audit.proof import prove_entry, prove_growth, prove_row
from moderator.errors import AuditError, StoreError
from moderator.store import Store
from moderator.store.audit_log import head
from moderator.store.canonical import parse_json
from moderator.store.merkle import Frontier
from tests.audit.conftest import COVERED, ENTRIES, VERDICTS, Tamper
from tests.audit.test_verify import ENTRY_OF, fetch, put


def test_every_entry(logged: Store) -> None:
    with logged.snapshot() as connection:
        root = head(connection).root()
        for seq in range(1, ENTRIES + 1):
            proof = prove_entry(connection, seq)
            proof.check()
            assert (proof.index, proof.size, proof.root) == (seq - 1, ENTRIES, root)
            assert parse_json(proof.data)["seq"] == seq


@pytest.mark.parametrize(("table", "count"), COVERED.items())
def test_every_row_through_its_entry(logged: Store, table: str, count: int) -> None:
    with logged.snapshot() as connection:
        for key in range(1, count + 1):
            seq, proof = prove_row(connection, table, key)
            proof.check()
            assert seq == ENTRY_OF[table][key]
            assert f"\nid:i1={key}\n".encode() in proof.data
            seals = parse_json(prove_entry(connection, seq).data)["seals"]
            (seal,) = [each for each in seals if each["form"] == proof.data.split(b"\n", 1)[0].decode()]
            assert seal["root"] == proof.root.hex()


def test_growth_from_every_size(logged: Store) -> None:
    with logged.snapshot() as connection:
        leaves = list(connection.execute(text("SELECT leaf FROM audit_log ORDER BY seq")).scalars())
        for first in range(1, ENTRIES + 1):
            proof = prove_growth(connection, first)
            proof.check()
            assert (proof.first_root, proof.root) == (
                Frontier(leaves[:first]).root(),
                Frontier(leaves).root(),
            )


@pytest.mark.parametrize("seq", [-1, 0, ENTRIES + 1, 2**70])
def test_entries_that_are_not_there(logged: Store, seq: int) -> None:
    with logged.snapshot() as connection, pytest.raises(AuditError, match=f"has no entry {seq}; it has 12"):
        prove_entry(connection, seq)


@pytest.mark.parametrize("key", [-1, 0, VERDICTS + 1, 2**70])
def test_rows_that_are_not_there(logged: Store, key: int) -> None:
    with (
        logged.snapshot() as connection,
        pytest.raises(AuditError, match=f"no entry of the log covers verdicts row {key}"),
    ):
        prove_row(connection, "verdicts", key)


@pytest.mark.parametrize("first", [0, ENTRIES + 1])
def test_sizes_the_log_did_not_grow_from(logged: Store, first: int) -> None:
    with logged.snapshot() as connection, pytest.raises(AuditError, match="no proof that a tree of 12"):
        prove_growth(connection, first)


def test_nothing_is_proved_of_a_changed_log(tamper: Tamper) -> None:
    for table, key, column in (
        ("audit_log", 5, "payload"),
        ("audit_log", 2, "leaf"),
        ("verdicts", 6, "scores"),
    ):
        with tamper() as connection:
            put(connection, table, key, column, b"{}")
            with pytest.raises(AuditError, match="the log contradicts itself"):
                prove_entry(connection, 5)
                prove_row(connection, "verdicts", 6)
    with tamper() as connection:
        put(connection, "audit_log", 5, "leaf", fetch(connection, "audit_log", 4, "leaf"))
        with pytest.raises(AuditError, match="the log contradicts itself"):
            prove_growth(connection, 3)


@pytest.mark.parametrize("change", ["UPDATE audit_head SET root = frontier", "DELETE FROM audit_head"])
def test_a_damaged_head_proves_nothing(tamper: Tamper, change: str) -> None:
    with tamper() as connection:
        connection.execute(text(change))
        with pytest.raises(StoreError, match="head of the log is damaged; run `moderator audit verify`"):
            prove_entry(connection, 1)
