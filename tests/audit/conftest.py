"""A store with a log of every kind of entry, and its rows changed as somebody with all rights would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from moderator.review import ReviewDesk
from moderator.review.golden_desk import GoldenDesk
from moderator.settings import Review
from moderator.store import Store
from moderator.store.tables import APPEND_ONLY
from moderator.types import Action
from tests.store.samples import make_batch, start

Tamper = Callable[[], AbstractContextManager[Connection]]

ENTRIES, VERDICTS, DECISIONS, EVENTS, LABELS, GOLDEN, TRIALS, REGISTERED = 12, 8, 3, 7, 3, 2, 1, 2
POLICY = b"name: x"
COVERED = {
    "verdicts": VERDICTS,
    "decisions": DECISIONS,
    "review_events": EVENTS,
    "label_corrections": LABELS,
    "golden_items": GOLDEN,
    "golden_trials": TRIALS,
    "registered": REGISTERED,
}
"""Table → its rows, which the log covers."""


def fill(store: Store, *, golden: bool = False) -> None:
    """9 entries: start, 3 verdicts, 1 verdict, decision, 4 verdicts, decision, decision, end, start.

    ``golden``: 12, before the end a golden task, a claim of a copy of it, and its withdrawal. Each decision
    is two events, a claim and the decision; the second says something of three labels.
    """
    digest = hashlib.sha256(POLICY).hexdigest()
    scan = store.start_scan(
        "inbox", digest, "ef" * 32, "moderator 0.1.0", policy=POLICY, model={"labels": ["hate"]}
    )
    desk = ReviewDesk(store)
    store.record(scan, make_batch(range(3), (Action.REVIEW, Action.ALLOW)))
    store.record(scan, make_batch([3], (Action.REVIEW,)))
    desk.decide(1, Action.BLOCK, "ann", "clear", "hate-review", idempotency_key="k1")
    store.record(scan, make_batch(range(4, 8), (Action.REVIEW,)))
    desk.decide(2, Action.ALLOW, "bob", "satire", labels={"hate": False, "spam": True, "sexual": False})
    desk.decide(3, Action.ALLOW, "ann", "fine")
    if golden:
        GoldenDesk(store).add(2, "lea", "clear")
        ReviewDesk(store, terms=Review(golden_share=1.0)).claim("cy")
        GoldenDesk(store).withdraw(2, "lea", "not so clear")
    store.finish_scan(scan, "finished")
    start(store)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A filled store of each kind, for a module whose tests leave it as it was."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}"
    else:
        make: Callable[[], str] = request.getfixturevalue("lasting_postgresql")
        url = make()
    with Store.open(url) as store:
        fill(store, golden=True)
        yield store


class _Undo(Exception):  # noqa: N818
    pass


@pytest.fixture
def tamper(logged: Store) -> Tamper:
    """A transaction without any guard, all of which is undone at its end."""

    @contextmanager
    def tampering() -> Iterator[Connection]:
        with suppress(_Undo), logged.writing() as connection:
            raw: Any = connection.connection.driver_connection
            if connection.dialect.name == "sqlite":
                raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
                connection.execute(text("PRAGMA defer_foreign_keys=ON"))
                for table in APPEND_ONLY:
                    for act in ("update", "delete", "replace"):
                        connection.execute(text(f"DROP TRIGGER {table}_no_{act}"))
                connection.execute(text("DROP TRIGGER audit_head_no_return"))
                connection.execute(text("DROP TRIGGER audit_head_no_delete"))
            else:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            try:
                yield connection
            finally:
                if connection.dialect.name == "sqlite":
                    raw.text_factory = str
            raise _Undo

    return tampering


@pytest.fixture
def export_file(logged: Store, tmp_path: Path) -> Path:
    """The store's export."""
    from moderator.audit.source import Live, export

    path = tmp_path / "log.jsonl"
    with logged.snapshot() as connection, path.open("wb") as file:
        export(Live(connection), file)
    return path
