"""Erasure: the content is gone from every byte of the files, the log still verifies; holds win."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import QueueError, StoreError
from moderator.review import ReviewDesk
from moderator.review.erasure import Erasure
from moderator.review.refusals import HeldError, MissingReasonError, WrongRoleError
from moderator.store import Filter, Queue, Store
from moderator.store.audit_log import events
from moderator.store.tables import ItemRow
from moderator.types import Action, Item, Role
from tests.store.samples import make_verdict, start

SECRET = "zanzibarquagga"  # noqa: S105 - a word to look for


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store.open(database_url, words=True) as opened:
        yield opened


def fill(store: Store, action: Action = Action.REVIEW) -> None:
    """Six posts, three of each author."""
    batch = []
    for at in range(6):
        author = ("eve", "mallory")[at % 2]
        words = f"{SECRET}{author} and other words {at}"
        item = Item.of(
            id=f"{SECRET}id{at}", text=words, context={"author": f"{author}", "note": SECRET + author}
        )
        batch.append((at, item, f"{SECRET}{author}{at}", make_verdict("x", action), False))
    store.record(start(store), batch)


def stands(store: Store) -> None:
    with store.snapshot() as connection:
        assert verify(Live(connection)).fault is None


def kinds(store: Store) -> list[str]:
    with store.reading() as connection:
        return [event.kind for event in events(connection)]


def test_an_author_is_erased_and_the_log_stands(store: Store) -> None:
    fill(store)
    desk = ReviewDesk(store)
    desk.decide(1, Action.BLOCK, "ann", "clear")
    desk.appeal(1, f"{SECRET}eve", f"{SECRET}eve says no")
    queue = Queue(store)
    assert len(queue.query(Filter(words=f"{SECRET}eve")).tasks) == 3
    assert Erasure(store).erase("lea", "asked for it", author="eve") == 3
    assert not queue.query(Filter(words=f"{SECRET}eve")).tasks
    assert len(queue.query(Filter(words=f"{SECRET}mallory")).tasks) == 3
    shown = queue.show(1)
    assert (shown.task.verdict.item_id, shown.context, shown.parts) == ("(erased)", None, None)
    assert [(each.filed_by, each.statement) for each in shown.appeals] == [("(erased)", "(erased)")]
    assert shown.task.verdict.action is Action.REVIEW
    assert queue.show(2).context == {"author": "mallory", "note": f"{SECRET}mallory"}
    desk.reverse(1, "sue", "a song after all")  # what was decided can still be answered
    assert "erased" in kinds(store)
    assert Erasure(store).erase("lea", "again", author="eve") == 0
    stands(store)


def test_no_byte_of_it_is_left_in_the_files(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'moderator.db'}", words=True) as store:
        for _ in range(40):  # several pages, and a write-ahead log that was begun anew
            fill(store)
        desk = ReviewDesk(store)
        desk.decide(1, Action.BLOCK, "ann", "clear")
        desk.appeal(1, f"{SECRET}eve", f"{SECRET}eve says no")
        erasure = Erasure(store)
        erasure.release(erasure.hold("lea", "x", item=f"{SECRET}eve0"), "lea", "done")
        needle = f"{SECRET}eve".encode()

        def holds_it() -> list[str]:
            return [path.name for path in sorted(tmp_path.iterdir()) if needle in path.read_bytes()]

        assert holds_it()
        erasure.erase("lea", "asked for it", author="eve")
        erasure.erase("lea", "asked for it", item=f"{SECRET}eve0")
        assert holds_it() == []
        assert any(f"{SECRET}mallory".encode() in path.read_bytes() for path in tmp_path.iterdir())
        stands(store)


def test_a_log_that_cannot_be_emptied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.store.engine.BUSY_SECONDS", 0.2)
    with Store.open(f"sqlite:///{tmp_path / 'moderator.db'}") as store:
        fill(store)
        with store.snapshot() as connection:
            connection.execute(select(ItemRow.id)).all()
            with pytest.raises(StoreError, match="erased, but the write-ahead log beside the database"):
                Erasure(store).erase("lea", "asked for it", author="eve")
        assert Erasure(store).erase("lea", "asked for it", author="eve") == 0
        assert all(f"{SECRET}eve".encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_hold_wins_over_erasure_and_retention(store: Store) -> None:
    fill(store, Action.BLOCK)
    erasure = Erasure(store)
    number = erasure.hold("lea", "a court asked", author="eve")
    assert [(each.id, each.author, each.placed_by) for each in erasure.holds()] == [(number, "eve", "lea")]
    with pytest.raises(
        HeldError, match=f"under legal hold {number}; `moderator audit release {number}` lifts it"
    ):
        erasure.erase("lea", "asked for it", author="eve")
    held = erasure.hold("lea", "another", item=f"{SECRET}mallory1")
    assert erasure.retain({Action.BLOCK: timedelta(0)}) == {Action.BLOCK: 2}
    with store.reading() as connection:
        left = connection.execute(select(ItemRow.id).where(ItemRow.parts.is_not(None))).scalars().all()
    assert left == [1, 2, 3, 5]
    erasure.release(number, "lea", "the court is done")
    with pytest.raises(QueueError, match=f"there is no hold {number} in force"):
        erasure.release(number, "lea", "again")
    assert erasure.erase("lea", "asked for it", author="eve") == 3
    assert [each.id for each in erasure.holds()] == [held]
    assert {"hold_placed", "hold_released", "erased", "expired"} <= set(kinds(store))
    stands(store)


def test_retention_goes_by_action_and_age_and_spares_open_tasks(store: Store) -> None:
    fill(store, Action.REVIEW)
    fill(store, Action.ALLOW)
    erasure = Erasure(store)
    for number in (1, 2):
        ReviewDesk(store).decide(number, Action.ALLOW, "ann", "fine")
    assert erasure.retain({Action.ALLOW: timedelta(days=1)}) == {Action.ALLOW: 0}
    ages = {Action.ALLOW: timedelta(0), Action.REVIEW: timedelta(0)}
    assert erasure.retain(ages, dry_run=True) == {Action.ALLOW: 6, Action.REVIEW: 2}
    assert erasure.retain(ages) == {Action.ALLOW: 6, Action.REVIEW: 2}
    assert erasure.retain(ages) == {Action.ALLOW: 0, Action.REVIEW: 0}
    with store.reading() as connection:
        counted = connection.execute(text("SELECT count(*) FROM verdicts")).scalar_one()
    assert counted == 12
    stands(store)


def test_who_may_and_why(store: Store) -> None:
    fill(store)
    erasure = Erasure(store, roles={"lea": Role.LEAD, "sue": Role.SENIOR})
    for name in ("sue", "ann"):
        with pytest.raises(WrongRoleError, match=f"this takes the role lead; {name} is "):
            erasure.erase(name, "asked", author="eve")
    with pytest.raises(MissingReasonError):
        erasure.hold("lea", " ", author="eve")
    for named in ({}, {"author": "eve", "item": "x"}):
        with pytest.raises(QueueError, match="name an author or the id of an item, one of them"):
            erasure.erase("lea", "asked", **named)
    assert erasure.erase("lea", "asked", item=f"{SECRET}eve0") == 1
    assert erasure.erase("lea", "asked", author="eve") == 2
