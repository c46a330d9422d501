"""Real processes at once: no lost number, no error, no half batch."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.store import Queue, Store
from moderator.store.audit_log import events
from moderator.store.migrate import check
from moderator.store.tables import AuditRow, ItemRow, ScanRow, TaskRow, VerdictRow
from tests.store import workers

ROOT = Path(__file__).parents[2]


def run_together(work: Callable[[str, int, int], None], url: str, processes: int, count: int) -> None:
    # forked from a clean server that has the imports done, so that all start at the same moment
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.store.workers"])
    started = [context.Process(target=work, args=(url, number, count)) for number in range(processes)]
    for each in started:
        each.start()
    for each in started:
        each.join(300)
    assert [each.exitcode for each in started] == [0] * processes


def test_events_of_sixteen_processes_are_numbered_without_gap(database_url: str) -> None:
    run_together(workers.append_events, database_url, 16, 200)
    with Store.open(database_url) as store, store.snapshot() as connection:
        logged = list(events(connection))
        report = verify(Live(connection))
    assert [event.seq for event in logged] == list(range(1, 3201))
    assert [sum(event.data["worker"] == number for event in logged) for number in range(16)] == [200] * 16
    assert (report.entries, report.fault) == (3200, None)


def test_two_scans_write_at_once(database_url: str) -> None:
    run_together(workers.record_scan, database_url, 2, 200)
    with Store.open(database_url) as store:
        for scan in (1, 2):
            assert [position for position, _ in store.verdicts(scan)] == list(range(200))
        with store.reading() as connection:
            for column, count in (
                (VerdictRow.id, 400),
                (ItemRow.id, 400),
                (TaskRow.id, 200),
                (AuditRow.seq, 24),
            ):
                assert list(connection.execute(select(column).order_by(column)).scalars()) == [
                    *range(1, count + 1)
                ]
            assert set(connection.execute(select(ScanRow.state)).scalars()) == {"finished"}


def test_first_use_by_four_processes_at_once(database_url: str) -> None:
    run_together(workers.first_use, database_url, 4, 0)
    with Store.open(database_url, migrate=False) as store:
        assert check(store._engine) == []
        with store.reading() as connection:
            assert list(connection.execute(select(ScanRow.id).order_by(ScanRow.id)).scalars()) == [1, 2, 3, 4]


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.031])
def test_a_killed_writer_leaves_whole_batches(database_url: str, delay: float) -> None:
    size = 100
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.workers", database_url, str(size)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    time.sleep(delay)
    writer.kill()
    acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    writer.wait(timeout=30)
    writer.stdout.close()
    with Store.open(database_url) as store:
        positions = [position for position, _ in store.verdicts(1)]
        with store.reading() as connection:
            sealed = [event for event in events(connection) if event.kind == "verdicts"]
        assert len(positions) % size == 0
        assert positions == list(range(len(positions)))
        assert acknowledged + 1 <= len(sealed) == len(positions) // size
        assert Queue(store).stats().open == len(positions)
