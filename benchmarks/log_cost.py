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


def recorded(store: Store, scan: int, batch: list[Entry], logged: bool) -> tuple[float, float]:
    """Seconds it took to record ``batch``: on the clock, and of CPU."""
    with ExitStack() as without:
        if not logged:
            without.enter_context(patch.object(audit_log, "append", lambda *_: 0))
            without.enter_context(patch.object(Form, "leaf", lambda *_: b""))
        started, spent = time.perf_counter(), time.process_time()
        store.record(scan, batch)
        return time.perf_counter() - started, time.process_time() - spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--db", default="", help="Where the log is kept [default: a SQLite file].")
    parser.add_argument("--without", default="", help="Where it is not.")
    arguments = parser.parse_args()
    posts = texts(arguments.batches * arguments.size)
    judged: list[float] = []
    times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
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
    whole = statistics.median(judged)
    print(
        f"{arguments.batches} batches of {arguments.size} texts, judged in {whole * 1e3:.0f} ms each (median)"
    )
    for kind, name in enumerate(("on the clock", "of CPU")):
        with_log, without = ([each[kind] for each in times[logged]] for logged in (True, False))
        extra = statistics.median(a - b for a, b in zip(with_log, without, strict=True))
        print(
            f"recorded in {statistics.median(without) * 1e3:.2f} ms {name} without the log, "
            f"{statistics.median(with_log) * 1e3:.2f} ms with it: {extra * 1e3:+.2f} ms, "
            f"{extra / (whole + statistics.median(without)):+.2%} of the scan"
        )


if __name__ == "__main__":
    main()
