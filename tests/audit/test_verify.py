"""Whatever is changed in the log or in what it covers is found, and the first bad entry is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from moderator.audit.source import Live
from moderator.audit.verify import Fault, Report, verify
from moderator.store import Store
from moderator.store.merkle import Frontier, leaf_hash
from moderator.store.tables import Base
from tests.audit.conftest import COVERED, ENTRIES, VERDICTS, Tamper


def names_of(table: str) -> list[str]:
    return [column.name for column in Base.metadata.tables[table].columns]


KEYS = {**dict.fromkeys(COVERED, "id"), "audit_log": "seq"}
COLUMNS = [(table, column) for table in KEYS for column in names_of(table)]
ROWS = {**COVERED, "audit_log": ENTRIES}
ENTRY_OF = {
    "verdicts": {**dict.fromkeys((1, 2, 3), 2), 4: 3, **dict.fromkeys((5, 6, 7, 8), 5)},
    "decisions": {1: 4, 2: 6, 3: 7},
    "review_events": {1: 4, 2: 4, 3: 6, 4: 6, 5: 7, 6: 7, 7: 9},
    "label_corrections": dict.fromkeys((1, 2, 3), 6),
    "golden_items": {1: 8, 2: 10},
    "golden_trials": {1: 9},
    "registered": {1: 1, 2: 1},
    "audit_log": {seq: seq for seq in range(1, ENTRIES + 1)},
}
ANY_ROW = st.sampled_from(sorted(KEYS)).flatmap(
    lambda table: st.tuples(st.just(table), st.integers(1, ROWS[table]))
)


def found(connection: Connection) -> Fault:
    fault = verify(Live(connection)).fault
    assert fault is not None, "the change was not found"
    return fault


def fetch(connection: Connection, table: str, key: int, column: str) -> Any:
    query = f"SELECT {column} FROM {table} WHERE {KEYS[table]} = :key"  # noqa: S608
    return connection.execute(text(query), {"key": key}).scalar_one()


def put(connection: Connection, table: str, key: int, column: str, value: Any) -> None:
    spot = ":value"
    if isinstance(value, str) and connection.dialect.name == "sqlite":
        spot, value = "CAST(:value AS TEXT)", value.encode("utf-8", "surrogateescape")
    change = f"UPDATE {table} SET {column} = {spot} WHERE {KEYS[table]} = :key"  # noqa: S608
    assert connection.execute(text(change), {"value": value, "key": key}).rowcount == 1


def is_number(table: str, column: str) -> bool:
    return Base.metadata.tables[table].columns[column].type.python_type is int


def changed(value: Any, sqlite: bool, number: bool) -> Iterator[Any]:
    """The value with one thing different, in each way its column can hold."""
    if isinstance(value, bytes):
        yield from (value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in {0, len(value) - 1})
        yield from (value + b" ", value[:-1], b"")
    elif isinstance(value, str):
        yield from (value[:at] + "~" + value[at + 1 :] for at in {0, len(value) - 1} if value)
        yield from (value + " ", value[:-1] if value else "x")
        if sqlite:  # bytes that are no text, a NUL, other types
            yield from (value[:-1] + "\udcff", value + "\x00", value.encode(), 7, 7.5)
    elif isinstance(value, int):
        yield from (value + 1000, value - 1000)
        if sqlite:
            yield from (value + 0.5, str(value) + "x", b"%d" % value)
    else:
        yield 7 if number else "x"
    if sqlite and isinstance(value, bytes):
        yield value.decode("ascii", "replace")


def test_a_clean_log_raises_no_alarm(logged: Store) -> None:
    with logged.snapshot() as connection:
        report = verify(Live(connection))
    assert report == Report(ENTRIES, report.root, COVERED, None)


@pytest.mark.parametrize(("table", "column"), [pair for pair in COLUMNS if pair[1] not in ("id", "seq")])
def test_every_change_of_every_column_is_found(tamper: Tamper, table: str, column: str) -> None:
    with tamper() as connection:
        sqlite = connection.dialect.name == "sqlite"
        for key in range(1, ROWS[table] + 1):
            value = fetch(connection, table, key, column)
            for other in changed(value, sqlite, is_number(table, column)):
                put(connection, table, key, column, other)
                stored = fetch(connection, table, key, column)
                if (type(stored), stored) == (type(value), value):
                    continue  # PostgreSQL cuts blanks beyond a column's width: nothing was changed
                fault = found(connection)
                assert fault.seq == ENTRY_OF[table][key], (key, other, fault)
                if table != "audit_log":
                    assert (fault.table, fault.row) == (table, key), (key, other, fault)
            put(connection, table, key, column, value)
        assert verify(Live(connection)).fault is None


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(row=ANY_ROW, data=st.data())
def test_any_byte_changed_is_found(tamper: Tamper, row: tuple[str, int], data: st.DataObject) -> None:
    table, key = row
    with tamper() as connection:
        names = [name for name in names_of(table) if name != KEYS[table]]
        column = data.draw(st.sampled_from(names))
        value = fetch(connection, table, key, column)
        if not isinstance(value, (str, bytes)) or not value:
            return
        raw = value if isinstance(value, bytes) else value.encode()
        at = data.draw(st.integers(0, len(raw) - 1))
        byte = data.draw(st.integers(1, 127).filter(lambda byte: byte != raw[at]))
        other = raw[:at] + bytes([byte]) + raw[at + 1 :]
        put(connection, table, key, column, other if isinstance(value, bytes) else other.decode())
        fault = found(connection)
    assert fault.seq == ENTRY_OF[table][key]
    assert fault.row == (None if table == "audit_log" else key)


@pytest.mark.parametrize("table", KEYS)
def test_every_deletion_is_found(tamper: Tamper, table: str) -> None:
    for key in range(1, ROWS[table] + 1):
        with tamper() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE {KEYS[table]} = {key}"))  # noqa: S608
            fault = found(connection)
        assert fault.seq == ENTRY_OF[table][key]
        assert "missing" in fault.what
        assert fault.row == (None if table == "audit_log" else key)


@pytest.mark.parametrize("table", KEYS)
def test_emptied_tables_are_found(tamper: Tamper, table: str) -> None:
    with tamper() as connection:
        connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        assert found(connection).seq == ENTRY_OF[table][1]


@pytest.mark.parametrize("place", [-(2**40), -1, 0, "next", 2**40])
@pytest.mark.parametrize("table", KEYS)
def test_every_insertion_is_found(tamper: Tamper, table: str, place: int | str) -> None:
    key = ROWS[table] + 1 if place == "next" else place
    names = names_of(table)
    made = {KEYS[table]: str(key), "position": "99", "idempotency_key": "'another'", "label": "'other'"}
    if table == "golden_trials":
        made["task_id"] = "1"
    if table == "registered":
        made["digest"] = "'another'"
    with tamper() as connection:
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(names)}) "  # noqa: S608
                f"SELECT {', '.join(made.get(name, name) for name in names)} FROM {table} "
                f"WHERE {KEYS[table]} = {min(3, ROWS[table])}"
            )
        )
        fault = found(connection)
    if table == "audit_log":
        missing = ENTRIES + 1 if isinstance(key, int) and key > ENTRIES + 1 else key
        assert fault.seq == missing
    else:
        assert (fault.table, fault.row, fault.what) == (table, key, "no entry of the log covers it")


@pytest.mark.parametrize("table", KEYS)
def test_every_renumbering_is_found(tamper: Tamper, table: str) -> None:
    for key in range(1, ROWS[table] + 1):
        with tamper() as connection:
            connection.execute(text(f"UPDATE {table} SET {KEYS[table]} = 77 WHERE {KEYS[table]} = {key}"))  # noqa: S608
            assert found(connection).seq == ENTRY_OF[table][key]


@pytest.mark.parametrize("table", KEYS)
def test_every_swap_of_rows_is_found(tamper: Tamper, table: str) -> None:
    key = KEYS[table]
    for one in range(1, ROWS[table]):
        with tamper() as connection:
            for change in (f"{key} = -1 WHERE {key} = {one}", f"{key} = {one} WHERE {key} = {one + 1}"):
                connection.execute(text(f"UPDATE {table} SET {change}"))  # noqa: S608
            connection.execute(text(f"UPDATE {table} SET {key} = {one + 1} WHERE {key} = -1"))  # noqa: S608
            fault = found(connection)
        assert fault.seq == ENTRY_OF[table][one]


@pytest.mark.parametrize(("table", "column"), [pair for pair in COLUMNS if pair[1] not in ("id", "seq")])
def test_every_swap_of_values_is_found(tamper: Tamper, table: str, column: str) -> None:
    aside = {"position": 999, "idempotency_key": "aside", "label": "aside"}
    with tamper() as connection:
        for one in range(1, ROWS[table]):
            values = [fetch(connection, table, key, column) for key in (one, one + 1)]
            if values[0] == values[1]:
                continue
            for first, second in (reversed(values), values):
                if column in aside:  # unique
                    put(connection, table, one, column, aside[column])
                put(connection, table, one + 1, column, second)
                put(connection, table, one, column, first)
                if first is not values[0]:
                    assert found(connection).seq == ENTRY_OF[table][one]


def test_an_entry_changed_together_with_its_leaf_is_named(tamper: Tamper) -> None:
    for seq in range(1, ENTRIES + 1):
        with tamper() as connection:
            payload = fetch(connection, "audit_log", seq, "payload").replace(b'"v":2', b'"v":2,"x":1')
            put(connection, "audit_log", seq, "payload", payload)
            put(connection, "audit_log", seq, "leaf", leaf_hash(payload))
            fault = found(connection)
        assert fault.seq == seq, fault
        assert "changed together with its leaf" in fault.what


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"7", b'{"v":2}', b'{"v":9}', b"[" * 100_000])
def test_an_entry_that_is_none_is_named(tamper: Tamper, payload: bytes) -> None:
    with tamper() as connection:
        put(connection, "audit_log", 4, "payload", payload)
        put(connection, "audit_log", 4, "leaf", leaf_hash(payload))
        fault = found(connection)
    assert fault.seq == 4
    assert "cannot be read as an entry" in fault.what


def test_a_verdict_changed_together_with_its_leaf_is_found_in_its_batch(tamper: Tamper) -> None:
    from moderator.store.verdicts import VERDICT_COLUMNS, VERDICT_FORM

    for key in range(1, VERDICTS + 1):
        with tamper() as connection:
            put(connection, "verdicts", key, "action", "block")
            row = {name: fetch(connection, "verdicts", key, name) for name in VERDICT_COLUMNS}
            put(connection, "verdicts", key, "leaf", VERDICT_FORM.leaf(row))
            fault = found(connection)
        assert (fault.seq, fault.table) == (ENTRY_OF["verdicts"][key], "verdicts")
        assert "what was sealed" in fault.what


@pytest.mark.parametrize(
    ("change", "seq", "said"),
    [
        ("UPDATE audit_head SET size = size + 1", ENTRIES + 1, "missing: the head counts 13"),
        ("UPDATE audit_head SET size = size - 1", ENTRIES, "the head counts 11"),
        ("UPDATE audit_head SET root = frontier", ENTRIES, "or the head was"),
        ("UPDATE audit_head SET frontier = root", ENTRIES, "or the head was"),
        ("UPDATE audit_head SET id = 2", ENTRIES, "or the head was"),
        ("DELETE FROM audit_head", None, "audit_head has 0 rows"),
        (
            "INSERT INTO audit_head SELECT 2, size, frontier, root FROM audit_head",
            None,
            "audit_head has 2 rows",
        ),
    ],
)
def test_a_changed_head_is_found(tamper: Tamper, change: str, seq: int | None, said: str) -> None:
    with tamper() as connection:
        connection.execute(text(change))
        fault = found(connection)
    assert fault.seq == seq
    assert said in fault.what


def rewritten(connection: Connection, keep: int) -> None:
    """The log cut to ``keep`` entries and its head made anew, by somebody who knows how."""
    connection.execute(text(f"DELETE FROM audit_log WHERE seq > {keep}"))  # noqa: S608
    payloads = connection.execute(text("SELECT payload FROM audit_log ORDER BY seq")).scalars()
    tree = Frontier(leaf_hash(payload) for payload in payloads)
    head = {"size": tree.size, "frontier": tree.dump(), "root": tree.root()}
    connection.execute(text("UPDATE audit_head SET size = :size, frontier = :frontier, root = :root"), head)


def test_a_log_cut_with_all_care_is_found_with_a_checkpoint(tamper: Tamper) -> None:
    from moderator.audit.checkpoint import Checkpoint

    with tamper() as connection:
        checkpoint = Checkpoint("log", ENTRIES, verify(Live(connection)).root)
        assert verify(Live(connection), checkpoint).fault is None
        rewritten(connection, ENTRIES - 1)
        assert verify(Live(connection)).fault is None  # nobody can tell
        fault = verify(Live(connection), checkpoint).fault
    assert fault is not None
    assert (fault.seq, fault.what) == (ENTRIES, "missing: the checkpoint counts 12 entries")


def test_a_log_rewritten_with_all_care_is_found_with_a_checkpoint(tamper: Tamper) -> None:
    from moderator.audit.checkpoint import Checkpoint

    with tamper() as connection:
        tree = Frontier()
        checkpoints = [Checkpoint("log", 0, tree.root())]
        for leaf in connection.execute(text("SELECT leaf FROM audit_log ORDER BY seq")).scalars():
            tree.append(leaf)
            checkpoints.append(Checkpoint("log", tree.size, tree.root()))
        for checkpoint in checkpoints:
            assert verify(Live(connection), checkpoint).fault is None
        payload = fetch(connection, "audit_log", ENTRIES, "payload").replace(b'"scan":2', b'"scan":3')
        put(connection, "audit_log", ENTRIES, "payload", payload)
        put(connection, "audit_log", ENTRIES, "leaf", leaf_hash(payload))
        rewritten(connection, ENTRIES)
        assert verify(Live(connection)).fault is None
        assert verify(Live(connection), checkpoints[-2]).fault is None
        fault = verify(Live(connection), checkpoints[-1]).fault
    assert fault is not None
    assert (fault.seq, fault.what) == (ENTRIES, "the entries up to this one are not those of the checkpoint")
