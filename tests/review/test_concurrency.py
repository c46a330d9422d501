"""Sixteen reviewers at once: no task is claimed twice, each is decided once.

``MODERATOR_TEST_TASKS`` says how many tasks; the bar is 1,000.
"""

from __future__ import annotations

import os
from collections import Counter

from sqlalchemy import select

from moderator.store import Store
from moderator.store.audit_log import events
from moderator.store.tables import DecisionRow, ReviewEventRow, TaskRow
from moderator.types import Action
from tests.review import workers
from tests.store.samples import make_batch, start
from tests.store.test_concurrency import run_together

TASKS = int(os.environ.get("MODERATOR_TEST_TASKS", "1000"))
PROCESSES = 16


def test_sixteen_reviewers_share_the_queue(database_url: str) -> None:
    with Store.open(database_url) as store:
        store.record(start(store), make_batch(range(TASKS), (Action.REVIEW,)))
    run_together(workers.work_the_queue, database_url, PROCESSES, 3)
    with Store.open(database_url) as store, store.reading() as connection:
        decided = list(connection.execute(select(DecisionRow.task_id)).scalars())
        columns = (ReviewEventRow.task_id, ReviewEventRow.act, ReviewEventRow.claim_token)
        acts = connection.execute(select(*columns).order_by(ReviewEventRow.id)).all()
        states = set(connection.execute(select(TaskRow.state)).scalars())
        logged = [event.seq for event in events(connection)]
    assert sorted(decided) == list(range(1, TASKS + 1))
    claimed = Counter((act.task_id, act.claim_token) for act in acts if act.act == "claim")
    assert set(claimed.values()) == {1}
    # a task is claimed again only after it has been given back
    held: set[int] = set()
    for act in acts:
        assert (act.task_id in held) is (act.act != "claim")
        held ^= {act.task_id}
    assert not held
    assert states == {"decided"}
    assert logged == list(range(1, len(logged) + 1))
