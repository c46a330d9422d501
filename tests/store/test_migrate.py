"""The schema: one head, the same as the tables, up and down again, refused where it is unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import QueueError, StoreError
from moderator.review import ReviewDesk
from moderator.review.golden_desk import GoldenDesk
from moderator.settings import Review
from moderator.store import Queue, Store, migrate
from moderator.store.engine import make_engine, parse_url
from moderator.store.tables import Base
from moderator.types import Action
from tests.store.samples import make_batch, start


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(parse_url(database_url))
    yield made
    made.dispose()


def test_the_newest_migration_is_the_one_the_tables_are_at() -> None:
    with migrate._config() as config:
        assert ScriptDirectory.from_config(config).get_heads() == [migrate.head()]


def test_up_down_up(engine: Engine) -> None:
    assert migrate.current(engine) is None
    assert migrate.check(engine) != []
    for _ in range(2):
        migrate.upgrade(engine)
        assert migrate.current(engine) == migrate.head()
        assert migrate.check(engine) == []
        migrate.downgrade(engine, "base")
        assert migrate.current(engine) is None
        assert set(inspect(engine).get_table_names()) <= {"alembic_version"}


def test_down_with_rows_in_it(engine: Engine, database_url: str) -> None:
    with Store.open(database_url) as store:
        store.record(start(store), make_batch(range(3)))
    migrate.downgrade(engine, "base")
    with Store.open(database_url) as store:
        assert start(store) == 1


def test_what_was_decided_before_there_was_a_desk_stays(engine: Engine, database_url: str) -> None:
    migrate.upgrade(engine, "v0001")
    rows = {
        "scans": "1, 's', 'finished', 1, 2, '', '', '', :doc",
        "items": "1, 'a', NULL, NULL",
        "verdicts": "1, 1, 0, 1, 'block', 1, '', '', '', :list, :doc, :doc, :doc, :list, :list, :doc, :list",
        "review_tasks": "1, 1, 'decided', 'block', 5, 1, 7",
        "decisions": "1, 1, 'allow', 'ann', 'fine', '', 'k', 7",
    }
    with engine.begin() as connection:
        for table, values in rows.items():
            insert = text(f"INSERT INTO {table} VALUES ({values})")  # noqa: S608
            connection.execute(insert, {"doc": b"{}", "list": b"[]"})
    with Store.open(database_url) as store:
        task = Queue(store).show(1)
        assert (task.task.state, task.task.stage, task.task.token) == ("decided", "review", 0)
        assert task.decisions[0].reviewer == "ann"
        desk = ReviewDesk(store, terms=Review(appeal_days=365_000))
        with pytest.raises(QueueError, match="was used for another request"):
            desk.decide(1, Action.BLOCK, "bob", "no", idempotency_key="k")
        desk.appeal(1, "a reader", "not fine")
        desk.claim_task(1, "bob")
    migrate.downgrade(engine, "v0001")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM review_tasks")).scalars().all() == ["decided"]


def test_tasks_stay_when_a_verdict_may_have_copies_of_its_own(engine: Engine, database_url: str) -> None:
    """SQLite builds the table of tasks anew for it: rows, indexes and what refers to it must be the same."""

    def indexes() -> dict[str, Any]:
        with engine.connect() as connection:
            sqlite = engine.dialect.name == "sqlite"
            query = (
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'review_tasks'"
                if sqlite
                else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'review_tasks'"
            )
            newer = "verdict_id", "ix_review_tasks_priority", "ix_review_tasks_opened"
            rows = connection.execute(text(query)).all()
            return {name: sql for name, sql in rows if not any(each in str(name) for each in newer)}

    def tasks() -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(text("SELECT * FROM review_tasks ORDER BY id")).all())

    with Store.open(database_url) as store:
        store.record(start(store), make_batch(range(20), (Action.REVIEW,)))
        desk = ReviewDesk(store)
        desk.decide(1, Action.BLOCK, "ann", "x", labels={"hate": True})
        desk.claim("bob", 3)
        desk.appeal(1, "the author", "no")
    before, known = tasks(), indexes()
    for revision in ("v0004", "head"):
        if revision == "head":
            migrate.upgrade(engine)
        else:
            migrate.downgrade(engine, revision)
        assert (tasks(), {name: sql for name, sql in indexes().items() if name in known}) == (before, known)
    assert migrate.check(engine) == []
    with Store.open(database_url) as store:
        ReviewDesk(store).uphold(1, "sue", "clear")
        GoldenDesk(store).add(1, "lea", "clear")
        (copy,) = ReviewDesk(store, terms=Review(golden_share=1.0)).claim("cy")
        with store.snapshot() as connection:
            assert verify(Live(connection)).fault is None
    with pytest.raises(RuntimeError, match="1 tasks are golden ones"):
        migrate.downgrade(engine, "v0004")
    assert migrate.current(engine) == migrate.head()
    assert copy.task_id in [row.id for row in tasks()]


def test_upgrade_again_changes_nothing(engine: Engine) -> None:
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    assert migrate.check(engine) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE items ADD COLUMN extra INTEGER", "extra"),
        ("DROP INDEX ix_review_tasks_urgency", "ix_review_tasks_urgency"),
        ("TRIGGER", "verdicts: its triggers against edits are missing"),
    ],
)
def test_check_names_what_differs(engine: Engine, change: str, said: str) -> None:
    migrate.upgrade(engine)
    if change == "TRIGGER":
        sqlite = engine.dialect.name == "sqlite"
        change = "DROP TRIGGER verdicts_no_update" if sqlite else "DROP TRIGGER verdicts_no_edit ON verdicts"
    with engine.begin() as connection:
        connection.execute(text(change))
    found = migrate.check(engine)
    assert len(found) == 1
    assert said in found[0]


def test_tables_of_others_are_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE somebody_elses (id INTEGER)"))
    migrate.upgrade(engine)
    assert migrate.check(engine) == []


def test_a_newer_schema_is_refused_and_left_alone(engine: Engine, database_url: str) -> None:
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(StoreError, match="schema 'v9999', which this software"):
        Store.open(database_url)
    with pytest.raises(StoreError, match="schema 'v9999', which this software"):
        migrate.upgrade(engine)


def test_without_leave_to_migrate_the_way_out_is_named(database_url: str) -> None:
    with pytest.raises(StoreError, match="has not been set up; run `moderator db upgrade`"):
        Store.open(database_url, migrate=False)


def test_all_tables_of_the_contract_exist(engine: Engine) -> None:
    migrate.upgrade(engine)
    tables = set(inspect(engine).get_table_names())
    assert tables >= {"scans", "items", "verdicts", "review_tasks", "decisions", "audit_log"}
    assert tables == {*Base.metadata.tables, "alembic_version"}
