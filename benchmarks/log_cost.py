"""What the log costs a bulk scan.

Short texts are judged batch by batch with the default model, as a scan does. Each batch is then recorded
twice, with the log and without it (no leaves, no event), into a database each, the order changing by
turns, so that whatever else the machine does meets both alike.

    .venv/bin/python benchmarks/log_cost.py [--batches 40] [--size 64] [--db URL --without URL]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from unittest.mock import patch

from scan_speed import texts

from moderator.pipeline.moderator import Moderator
from moderator.store import Entry, Store, audit_log
from moderator.store.seal import Form
from moderator.types import Item


def recorded(store: Store, scan: int, batch: list[Entry], logged: bool) -> float:
    """Seconds it took to record ``batch``."""
    with ExitStack() as without:
        if not logged:
            without.enter_context(patch.object(audit_log, "append", lambda *_: 0))
            without.enter_context(patch.object(Form, "leaf", lambda *_: b""))
        started = time.perf_counter()
        store.record(scan, batch)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--db", default="", help="Where the log is kept [default: a SQLite file].")
    parser.add_argument("--without", default="", help="Where it is not.")
    arguments = parser.parse_args()
    posts = texts(arguments.batches * arguments.size)
    judged: list[float] = []
    times: dict[bool, list[float]] = {True: [], False: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Moderator.load(device="cpu") as moderator,
        ExitStack() as opened,
    ):
        urls = {
            True: arguments.db or f"sqlite:///{folder}/with.db",
            False: arguments.without or f"sqlite:///{folder}/without.db",
        }
        stores = {logged: opened.enter_context(Store.open(url)) for logged, url in urls.items()}
        scans = {logged: store.start_scan("posts", "", "", "") for logged, store in stores.items()}
        moderator.check(text="warm up")
        for number in range(arguments.batches):
            first = number * arguments.size
            items = [Item.of(id=str(at), text=posts[at]) for at in range(first, first + arguments.size)]
            started = time.perf_counter()
            verdicts = moderator.judge(items)
            judged.append(time.perf_counter() - started)
            batch: list[Entry] = [
                (first + at, item, item.id, verdict, False)
                for at, (item, verdict) in enumerate(zip(items, verdicts, strict=True))
            ]
            for logged in (True, False) if number % 2 else (False, True):
                times[logged].append(recorded(stores[logged], scans[logged], batch, logged))
    medians = {logged: statistics.median(each) for logged, each in times.items()}
    extra = statistics.median(a - b for a, b in zip(times[True], times[False], strict=True))
    whole = statistics.median(judged) + medians[False]
    print(f"batches: {arguments.batches} of {arguments.size} texts; medians of one batch:")
    print(f"judged in {statistics.median(judged) * 1e3:.1f} ms")
    print(f"recorded in {medians[False] * 1e3:.2f} ms without the log, {medians[True] * 1e3:.2f} ms with it")
    print(f"the log costs {extra * 1e3:.2f} ms a batch: {extra / whole:.2%} of the scan")


if __name__ == "__main__":
    main()
