"""The log as it is written: whole whatever is done, never edited, and closed once it is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from moderator.audit.checkpoint import Checkpoint
from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import StoreError
from moderator.review import ReviewDesk
from moderator.review.erasure import Erasure
from moderator.store import Queue, Store
from moderator.store.audit_log import append, events, head
from moderator.types import Action
from tests.store.samples import make_batch, start
from tests.store.test_canonical import ON_A_DATABASE

ACTS = st.lists(
    st.tuples(st.sampled_from(["batch", "decide", "start", "finish"]), st.integers(1, 70)), max_size=12
)


@pytest.fixture
def store(database_url: str) -> Any:
    with Store.open(database_url) as opened:
        yield opened


@ON_A_DATABASE
@given(ACTS)
def test_the_log_verifies_whatever_is_done(store: Store, acts: list[tuple[str, int]]) -> None:
    queue = Queue(store)
    scan, position = start(store), 0
    with store.snapshot() as connection:
        tree = head(connection)
    kept = Checkpoint("log", tree.size, tree.root())
    for act, number in acts:
        if act == "batch":
            store.record(scan, make_batch(range(position, position + number), (Action.REVIEW, Action.ALLOW)))
            position += number
        elif act == "decide" and (task := queue.next_task()) is not None:
            ReviewDesk(store).decide(
                task.task.id, Action.ALLOW if number % 2 else Action.BLOCK, "ann", f"reason {number}"
            )
        elif act == "finish":
            store.finish_scan(scan, "interrupted")
            scan, position = start(store), 0
        else:
            start(store)
    with store.snapshot() as connection:
        report = verify(Live(connection), kept)
        counts = [connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in report.rows]  # noqa: S608
    assert report.fault is None
    assert list(report.rows.values()) == counts


def test_a_failed_writer_leaves_no_trace(store: Store) -> None:
    start(store)
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        append(connection, "test", 1, {})
        raise ZeroDivisionError
    with store.snapshot() as connection:
        assert verify(Live(connection)).entries == len(list(events(connection))) == 1


def test_an_event_cannot_speak_for_the_log(store: Store) -> None:
    with pytest.raises(ValueError, match="cannot say prev, seq of its own"), store.writing() as connection:
        append(connection, "test", 1, {"seq": 7, "prev": ""})


@pytest.mark.parametrize("table", ["verdicts", "decisions", "audit_log"])
def test_rows_are_never_replaced(store: Store, table: str) -> None:
    store.record(start(store), make_batch([0], (Action.REVIEW,)))
    ReviewDesk(store).decide(1, Action.ALLOW, "ann", "fine")
    with store.reading() as connection:
        sqlite = connection.dialect.name == "sqlite"
    key = "seq" if table == "audit_log" else "id"
    replace = (
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"  # noqa: S608
        if sqlite
        else f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET created_at = 0"  # noqa: S608
    )
    with pytest.raises(StoreError, match=f"rows of {table} are never edited"), store.writing() as connection:
        connection.execute(text(replace))


@pytest.mark.parametrize(
    "change",
    ["UPDATE audit_head SET size = 0", "UPDATE audit_head SET root = frontier", "DELETE FROM audit_head"],
)
def test_the_head_only_moves_on(store: Store, change: str) -> None:
    start(store)
    with pytest.raises(StoreError, match="the head of the log only moves on"), store.writing() as connection:
        connection.execute(text(change))


def cut(store: Store, table: str, change: str) -> None:
    with store.writing() as connection:
        guard = f"{table}_no_delete" if connection.dialect.name == "sqlite" else f"{table}_no_edit"
        if table == "audit_head":
            guard = "audit_head_no_delete" if connection.dialect.name == "sqlite" else "audit_head_no_return"
        on = "" if connection.dialect.name == "sqlite" else f" ON {table}"
        connection.execute(text(f"DROP TRIGGER {guard}{on}"))
        connection.execute(text(change))


def test_a_log_without_its_end_takes_no_more(store: Store) -> None:
    start(store)
    start(store)
    cut(store, "audit_log", "DELETE FROM audit_log WHERE seq = 2")
    with pytest.raises(
        StoreError, match="the log lacks entry 2 and takes no more; run `moderator audit verify`"
    ):
        start(store)


def test_a_log_without_head_takes_no_more(store: Store) -> None:
    cut(store, "audit_head", "DELETE FROM audit_head")
    with pytest.raises(StoreError, match="the log lacks its head and takes no more"):
        start(store)


def test_a_log_with_a_foreign_entry_takes_no_more(store: Store) -> None:
    start(store)
    with store.writing() as connection:
        connection.execute(
            text("INSERT INTO audit_log SELECT 2, kind, created_at, payload, leaf FROM audit_log")
        )
    with pytest.raises(StoreError, match="run `moderator audit verify`"):
        start(store)


def test_verifying_sees_one_moment(store: Store) -> None:
    """Batches written while it reads are not half seen."""
    scan = start(store)
    store.record(scan, make_batch(range(10)))
    with store.snapshot() as connection:
        live = Live(connection)
        heads = list(live.rows("audit_head"))
        store.record(scan, make_batch(range(10, 20)))
        report = verify(live)
    assert heads[0]["size"] == report.entries == 2
    assert report.fault is None


def grants() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    block = page.split("```sql\n")[1].split("```")[0]
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def test_a_role_with_the_documented_rights_writes_and_cannot_edit(
    new_postgresql: Callable[[], str],
) -> None:
    url = new_postgresql()
    with Store.open(url) as owner, owner.writing() as connection:
        for role in ("moderator_eraser", "moderator_writer", "moderator_auditor"):
            connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
        for statement in grants():
            connection.execute(text(statement))
    writer = url + "&options=-c%20role%3Dmoderator_writer"
    with Store.open(writer) as store:
        scan = start(store)
        store.record(scan, make_batch(range(5), (Action.REVIEW,)))
        ReviewDesk(store).decide(1, Action.BLOCK, "ann", "clear")
        store.finish_scan(scan, "finished")
        for table in ("verdicts", "decisions", "audit_log", "items"):
            column = "external_id" if table == "items" else "created_at"
            for act in (
                f"UPDATE {table} SET {column} = NULL",  # noqa: S608
                f"DELETE FROM {table}",  # noqa: S608
                f"TRUNCATE {table} CASCADE",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table} CASCADE",
            ):
                with (
                    pytest.raises(StoreError, match=r"permission denied|must be owner"),
                    store.writing() as connection,
                ):
                    connection.execute(text(act))
        for act in (
            "DELETE FROM audit_head",
            "UPDATE audit_head SET id = 2",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(StoreError, match="permission denied"), store.writing() as connection:
                connection.execute(text(act))
    with Store.open(url + "&options=-c%20role%3Dmoderator_eraser") as store:
        erasure = Erasure(store)
        erasure.release(erasure.hold("lea", "a court asked", author="eve"), "lea", "done")
        assert erasure.erase("lea", "asked for it", item="post-1") == 1
    with Store.open(url + "&options=-c%20role%3Dmoderator_auditor", migrate=False) as store:
        with store.snapshot() as connection:
            report = verify(Live(connection))
        with pytest.raises(StoreError, match="permission denied"):
            start(store)
    assert (report.entries, report.fault) == (7, None)
    with Store.open(url) as owner, owner.writing() as connection:
        for role in ("moderator_eraser", "moderator_writer", "moderator_auditor"):
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
