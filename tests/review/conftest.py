"""A store with tasks in it, on each database, and a desk where roles count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moderator.review import ReviewDesk
from moderator.store import Queue, Store
from moderator.types import Action, Item, Role
from tests.store.samples import make_verdict, start

ROLES = {"ann": Role.REVIEWER, "bob": Role.REVIEWER, "sue": Role.SENIOR, "sam": Role.SENIOR, "lea": Role.LEAD}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Six tasks: 2 and 5 the machine would block, 5 is the most urgent, then 2, 3, 1, 4, 6."""
    with Store.open(database_url) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(store)


@pytest.fixture
def desk(store: Store) -> ReviewDesk:
    return ReviewDesk(store, roles=ROLES)


def fill(store: Store) -> None:
    asked = [
        (Action.REVIEW, 0.5),
        (Action.BLOCK, 0.9),
        (Action.REVIEW, 0.7),
        (Action.REVIEW, 0.5),
        (Action.BLOCK, 0.95),
        (Action.REVIEW, 0.0),
    ]
    batch = [
        (
            position,
            Item.of(text=f"text {position}"),
            f"p{position}",
            make_verdict(f"p{position}", *each),
            True,
        )
        for position, each in enumerate(asked)
    ]
    store.record(start(store), batch)
