"""A database of the first schema, rows in it, becomes a log with leaves and heads, and back, and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from moderator.audit.proof import prove_entry, prove_row
from moderator.audit.source import Live
from moderator.audit.verify import Fault, verify
from moderator.errors import AuditError
from moderator.review import ReviewDesk
from moderator.store import Store, migrate
from moderator.store.canonical import canonical_json, row_bytes
from moderator.store.engine import make_engine, parse_url
from moderator.store.verdicts import verdict_columns
from moderator.types import Action
from tests.store.samples import make_batch, make_verdict, start

AT = 1_700_000_000_000_000
VERDICT = (
    "id", "scan_id", "position", "item_id", "action", "created_at", "policy_digest", "model_digest",
    "software", "content_digests", "embedders", "scores", "signals", "matches", "degraded", "coverage",
    "evidence",
)  # fmt: skip
DECISION = (
    "id", "task_id", "action", "reviewer", "reason", "policy_rule", "idempotency_key", "created_at"
)  # fmt: skip
LATER = {
    "verdicts": {"leaf"},
    "audit_log": {"leaf"},
    "review_tasks": {
        *("stage", "reviewer", "claim_token", "lease_until", "decision_id"),
        *("queue", "due_at", "due", "role", "needs", "lease", "priority"),
    },
}
"""Table → columns that came with the tree, with claims and with queues; those count priority anew."""
NONE_YET = {"golden_items": 0, "golden_trials": 0, "registered": 0}
OLD_TABLES = ("scans", "items", "verdicts", "review_tasks", "decisions", "audit_log")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(parse_url(database_url))
    yield made
    made.dispose()


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)  # noqa: S608


def old_digest(rows: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(row).digest() for row in rows)).hexdigest()


def fill_as_the_first_version_did(connection: Connection) -> None:
    """A scan of two batches, three verdicts and two, and a decision, as version 1 of the log wrote them."""
    digests = {"policy_digest": "cd" * 32, "model_digest": "ef" * 32, "software": "moderator 0.1.0"}
    seq = 0

    def log(kind: str, data: dict[str, Any]) -> None:
        nonlocal seq
        seq += 1
        payload = canonical_json({**data, "v": 1, "seq": seq, "kind": kind, "at": AT + seq})
        row = {"seq": seq, "kind": kind, "created_at": AT + seq, "payload": payload}
        insert(connection, "audit_log", row)

    scan = {"id": 1, "source": "inbox", "state": "running", "started_at": AT + 1, "options": b"{}", **digests}
    insert(connection, "scans", scan)
    log("scan_started", {"scan": 1, **digests})
    for keys in ((1, 2, 3), (4, 5)):
        rows = []
        for key in keys:
            insert(connection, "items", {"id": key, "external_id": f"post-{key}"})
            columns = verdict_columns(make_verdict(f"post-{key}", Action.REVIEW, key / 10))
            own = {"id": key, "scan_id": 1, "position": key - 1, "item_id": key, "created_at": AT + seq + 1}
            insert(connection, "verdicts", {**own, **columns})
            rows.append(row_bytes("moderator.verdict.v1", {**own, **columns}, VERDICT))
            task = {"id": key, "verdict_id": key, "state": "open", "action": "review", "priority": 1}
            insert(connection, "review_tasks", {**task, "opened_at": AT + seq + 1})
        said = {"first": keys[0], "last": keys[-1], "rows": old_digest(rows), "tasks": [keys[0], keys[-1]]}
        log("verdicts", {"scan": 1, **said})
    decision = dict.fromkeys(DECISION, "x") | {
        "id": 1, "task_id": 2, "action": "allow", "created_at": AT + seq + 1, "idempotency_key": None,
    }  # fmt: skip
    insert(connection, "decisions", decision)
    decided = {"at": AT + seq + 1, "id": 2}
    connection.execute(
        text("UPDATE review_tasks SET state = 'decided', decided_at = :at WHERE id = :id"), decided
    )
    row = old_digest([row_bytes("moderator.decision.v1", decision, DECISION)])
    log("decision", {"decision": 1, "task": 2, "action": "allow", "row": row})


def contents(connection: Connection, tables: tuple[str, ...]) -> dict[str, list[Any]]:
    return {
        table: [
            {name: value for name, value in row.items() if name not in LATER.get(table, ())}
            for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).mappings()  # noqa: S608
        ]
        for table in tables
    }


@pytest.fixture
def old(engine: Engine) -> dict[str, list[Any]]:
    """What the database of the first schema holds."""
    migrate.upgrade(engine, "v0001")
    with engine.begin() as connection:
        fill_as_the_first_version_did(connection)
        return contents(connection, OLD_TABLES)


def test_old_rows_stay_and_get_their_leaves(
    engine: Engine, database_url: str, old: dict[str, list[Any]]
) -> None:
    with Store.open(database_url) as store:
        with store.snapshot() as connection:
            assert contents(connection, OLD_TABLES) == old
            report = verify(Live(connection))
            assert (report.entries, dict(report.rows), report.fault) == (
                4,
                {"verdicts": 5, "decisions": 1, "review_events": 0, "label_corrections": 0, **NONE_YET},
                None,
            )
            assert prove_entry(connection, 2).size == 4
            with pytest.raises(AuditError, match=r"before the log had trees; entry 2 seals rows 1 to 3"):
                prove_row(connection, "verdicts", 2)
        store.record(1, make_batch(range(10, 14), (Action.REVIEW,)))
        ReviewDesk(store).decide(4, Action.BLOCK, "ann", "clear")
        store.finish_scan(1, "finished")
        with store.snapshot() as connection:
            report = verify(Live(connection))
            assert (report.entries, dict(report.rows), report.fault) == (
                7,
                {"verdicts": 9, "decisions": 2, "review_events": 2, "label_corrections": 0, **NONE_YET},
                None,
            )
            assert prove_row(connection, "verdicts", 7)[0] == 5
    assert migrate.check(engine) == []


@pytest.mark.parametrize(
    ("change", "seq", "row"),
    [
        ("UPDATE verdicts SET action = 'allow' WHERE id = 5", 3, None),
        ("UPDATE decisions SET reason = 'y'", 4, 1),
        ("UPDATE audit_log SET kind = 'x' WHERE seq = 3", 3, None),
    ],
)
def test_what_was_changed_before_the_upgrade_is_found(
    engine: Engine, database_url: str, old: dict[str, list[Any]], change: str, seq: int, row: int | None
) -> None:
    """The leaves are made of what is there, but old entries had their hashes already."""
    table = change.split()[1]
    sqlite = engine.dialect.name == "sqlite"
    guard = f"{table}_no_update" if sqlite else f"{table}_no_edit ON {table}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER {guard}"))
        connection.execute(text(change))
        if not sqlite:
            connection.execute(
                text(
                    f"CREATE TRIGGER {table}_no_edit BEFORE UPDATE OR DELETE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION moderator_refuse_edit()"
                )
            )
    with Store.open(database_url) as store, store.snapshot() as connection:
        fault = verify(Live(connection)).fault
    assert fault is not None
    assert (fault.seq, fault.row) == (seq, row)


@pytest.mark.parametrize("decided", [False, True])
def test_down_and_up_again_with_entries_of_both_versions(
    engine: Engine, database_url: str, old: dict[str, list[Any]], decided: bool
) -> None:
    """What reviewers did is in tables the first version lacks: it is lost on the way down, and seen."""
    with Store.open(database_url) as store:
        scan = start(store)
        store.record(scan, make_batch(range(3), (Action.REVIEW,)))
        if decided:
            ReviewDesk(store).decide(3, Action.BLOCK, "ann", "clear")
        with store.snapshot() as connection:
            before = contents(connection, (*OLD_TABLES, "audit_head"))
            root = verify(Live(connection)).root
    migrate.downgrade(engine, "v0001")
    with engine.begin() as connection:
        assert contents(connection, OLD_TABLES) == {table: before[table] for table in OLD_TABLES}
        for table in ("verdicts", "audit_log"):
            assert "leaf" not in connection.execute(text(f"SELECT * FROM {table}")).keys()  # noqa: S608, SIM118
    migrate.upgrade(engine)
    assert migrate.check(engine) == []
    with Store.open(database_url) as store, store.snapshot() as connection:
        assert contents(connection, (*OLD_TABLES, "audit_head")) == before
        report = verify(Live(connection))
        if decided:
            assert report.fault == Fault("missing", 7, "review_events", 1)
        else:
            assert (report.entries, report.root, report.fault) == (6, root, None)


def test_many_old_rows(engine: Engine, database_url: str) -> None:
    """More than the migration holds at once."""
    migrate.upgrade(engine, "v0001")
    with engine.begin() as connection:
        for seq in range(1, 2502):
            payload = canonical_json({"v": 1, "seq": seq, "kind": "test", "at": AT})
            insert(
                connection, "audit_log", {"seq": seq, "kind": "test", "created_at": AT, "payload": payload}
            )
    with Store.open(database_url) as store:
        start(store)
        with store.snapshot() as connection:
            report = verify(Live(connection))
    assert (report.entries, report.fault) == (2502, None)
