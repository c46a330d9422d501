"""What other processes do in the tests of concurrency: ``(url, number of the process, how much)``."""

from __future__ import annotations

import sys
from itertools import count

from moderator.store import Queue, Store
from moderator.store.audit_log import append
from moderator.types import Action
from tests.store.samples import make_batch, start


def append_events(url: str, number: int, count: int) -> None:
    with Store.open(url) as store:
        for index in range(count):
            with store.writing() as connection:
                append(connection, "test", index, {"worker": number})


def record_scan(url: str, number: int, count: int) -> None:
    with Store.open(url) as store:
        scan = start(store, f"source {number}")
        for first in range(0, count, 20):
            store.record(scan, make_batch(range(first, first + 20), (Action.ALLOW, Action.REVIEW)))
        store.finish_scan(scan, "finished")


def record_until_killed(url: str, size: int) -> None:
    with Store.open(url) as store:
        scan = start(store)
        for batch in count():
            store.record(scan, make_batch(range(batch * size, (batch + 1) * size), (Action.REVIEW,)))
            sys.stdout.write(f"{batch}\n")
            sys.stdout.flush()


def first_use(url: str, number: int, count: int) -> None:
    with Store.open(url) as store:
        Queue(store).stats()
        start(store)


if __name__ == "__main__":
    record_until_killed(sys.argv[1], int(sys.argv[2]))
