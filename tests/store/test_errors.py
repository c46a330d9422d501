"""What goes wrong outside is said in one sentence, with the way out and without the password."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from moderator.errors import StoreError
from moderator.review import ReviewDesk
from moderator.store import Queue, Store
from moderator.store.engine import parse_url, shown
from moderator.types import Action
from tests.store.samples import make_batch, start


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "cannot be read; write sqlite:///"),
        ("", "cannot be read"),
        ("mysql://u:hush@h/x", "'mysql' are not supported"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file; check that its folder exists"),
        ("postgresql://u:hush@127.0.0.1:1/x", "connection.* check that the server runs"),
        ("postgresql://127.0.0.1:1/x?user=u&password=hush", "check that the server runs"),
    ],
)
def test_a_database_that_cannot_be_opened(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as raised:
        Store.open(url)
    assert "hush" not in str(raised.value)


def test_an_unknown_postgresql_database(postgresql_server: str) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist; check the name'):
        Store.open(postgresql_server.replace("/postgres?", "/nowhere?"))


def test_plain_postgresql_urls_mean_psycopg() -> None:
    for plain in (
        "postgresql://ann:hush@h/x",
        "postgres://ann:hush@h/x",
        "postgresql+psycopg://ann:hush@h/x",
    ):
        url = parse_url(plain)
        assert url.drivername == "postgresql+psycopg"
        assert shown(url) == "postgresql+psycopg://ann:***@h/x"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is text, and rather more of it than a header has" * 100)
    with pytest.raises(StoreError, match="file is not a database; the file is something else"):
        Store.open(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_read_only_file_is_read_and_refuses_writes(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with Store.open(f"sqlite:///{file}") as store:
        store.record(start(store), make_batch(range(2), (Action.REVIEW,)))
    read_only = f"sqlite:///file:{file}?mode=ro&uri=true"
    with Store.open(read_only) as store:
        assert Queue(store).stats().open == 2
        for act in (lambda: start(store), lambda: ReviewDesk(store).decide(1, Action.ALLOW, "ann", "fine")):
            with pytest.raises(StoreError, match="read-only; make it writable or give another --db"):
                act()


def test_a_read_only_file_that_must_be_migrated(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").close()
    with pytest.raises(StoreError, match="read-only; make it writable"):
        Store.open(f"sqlite:///file:{tmp_path / 'x.db'}?mode=ro&uri=true")


def test_a_read_only_server(new_postgresql: Callable[[], str]) -> None:
    database_url = new_postgresql()
    with Store.open(database_url):
        pass
    with (
        Store.open(f"{database_url}&options=-c%20default_transaction_read_only%3Don") as store,
        pytest.raises(StoreError, match="the server or the role is read-only"),
    ):
        start(store)


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}") as store:

        @event.listens_for(store._engine, "checkout")
        def _limit(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute("PRAGMA max_page_count=120")

        scan = start(store)
        kept = 0
        with pytest.raises(StoreError, match="disk is full; free some space"):
            for batch in range(100):
                store.record(scan, make_batch(range(batch * 50, batch * 50 + 50)))
                kept += 50
        assert kept
        assert len(list(store.verdicts(scan))) == kept


def test_a_writer_that_holds_the_file_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.store.engine.BUSY_SECONDS", 0.05)
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}") as first, Store.open(first.url) as second:
        with first.writing(), pytest.raises(StoreError, match="database is locked; another command"):
            start(second)
        start(second)


def test_a_failed_transaction_leaves_the_store_usable(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing():
        raise ZeroDivisionError
    assert start(store) == 1
