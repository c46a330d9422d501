"""``moderator queue`` over named queues: who sees what, moving, what is overdue; ``policy show``."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from moderator.cli.policy import policy
from moderator.cli.queue import queue
from moderator.errors import ModeratorError
from moderator.review import refusals
from moderator.routing import Route
from moderator.store import Store
from moderator.types import Action, Item, Role
from tests.store.samples import make_verdict, start

POLICY = """name: mine
version: 1
rules:
  - {name: hate-review, when: hate >= 0.5, then: review}
otherwise: allow
on_degraded: review
queues:
  - {name: urgent, when: hate >= 0.9, due: 4h, role: senior, lease: 90m}
  - {name: spam, when: spam >= 0.5, due: 2d}
priority: {reach: views, doubling: 12h}
"""


@pytest.fixture
def filled(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Task 1 in the restricted queue, 2 overdue in spam, 3 in the default queue; sue is a senior."""
    routes = [Route("urgent", timedelta(hours=4), Role.SENIOR), Route("spam", timedelta(hours=-1)), Route()]
    with Store.open(database_url) as store:
        batch = [
            (n, Item.of(text="x"), f"p{n}", make_verdict(f"p{n}", Action.REVIEW, 0.9 - n / 10), False)
            for n in range(3)
        ]
        waiting = iter(routes)
        store.record(start(store), batch, lambda item, verdict: (next(waiting), timedelta(0)))
    (tmp_path / "mine.yaml").write_text(POLICY)
    (tmp_path / "moderator.toml").write_text(
        f'policy = "{tmp_path / "mine.yaml"}"\n[reviewers]\nsue = "senior"\nlea = "lead"\n'
    )
    monkeypatch.setenv("MODERATOR_CONFIG", str(tmp_path / "moderator.toml"))
    monkeypatch.setenv("MODERATOR_DB", database_url)
    return database_url


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(queue, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def listed(*arguments: str) -> list[int]:
    return [row["id"] for row in as_json("list", *arguments)]


@pytest.mark.usefixtures("filled")
def test_lists_show_what_the_viewer_may_see() -> None:
    assert listed() == [2, 3]
    assert listed("--reviewer", "ann") == [2, 3]
    assert listed("--reviewer", "sue") == [1, 2, 3]
    assert listed("--reviewer", "sue", "--queue", "spam") == [2]
    assert listed("--overdue") == [2]
    table = run("list", "--reviewer", "sue").stdout
    assert "urgent" in table
    assert "due" in table
    with pytest.raises(refusals.RestrictedQueueError, match="task 1 is in the queue 'urgent'"):
        run("show", "1")
    assert "queue urgent, due " in run("show", "1", "--reviewer", "sue").stdout
    counts = {row["id"]: row["count"] for row in as_json("stats")}
    assert (
        counts.items() >= {"queues.spam.waiting": 1, "queues.spam.overdue": 1, "tasks.open.review": 2}.items()
    )
    assert "queues.urgent.waiting" not in counts
    assert "queues.urgent.waiting" in run("stats", "--reviewer", "lea").stdout


@pytest.mark.usefixtures("filled")
def test_work_on_queues() -> None:
    assert as_json("next")["id"] == 2
    assert as_json("next", "--queue", "default")["id"] == 3
    assert as_json("next", "--queue", "spam", "--reviewer", "ann")["id"] == 2
    assert [row["id"] for row in as_json("claim", "--queue", "default", "--reviewer", "bob")] == [3]
    with pytest.raises(refusals.RestrictedQueueError, match="takes the role senior; ann is reviewer"):
        run("claim", "--queue", "urgent", "--reviewer", "ann")
    assert run("claim", "1", "--queue", "urgent", "--reviewer", "sue").exit_code == 2


@pytest.mark.usefixtures("filled")
def test_move() -> None:
    why = ("--reason", "threatens somebody")
    done = run("move", "2", "--to", "urgent", "--reviewer", "ann", *why)
    assert done.stdout == "task 2: move by ann, now queued\n"
    detail = as_json("show", "2", "--reviewer", "sue")
    assert detail["queue"] == "urgent"
    assert [event["queue"] for event in detail["events"]] == ["spam", "urgent"]
    assert ", then queued in urgent: threatens somebody" in run("show", "2", "--reviewer", "sue").stdout
    with pytest.raises(ModeratorError, match="the policy has no queue 'urgnt'"):
        run("move", "3", "--to", "urgnt", "--reviewer", "ann", *why)
    with pytest.raises(refusals.RestrictedQueueError):
        run("move", "2", "--to", "spam", "--reviewer", "ann", *why)


@pytest.mark.usefixtures("filled")
def test_close_those_of_a_queue() -> None:
    by = ("--reviewer", "lea", "--reason", "a wave")
    assert "would close 1 tasks" in run("close", "--state", "waiting", "--queue", "spam", *by).stderr
    assert (
        run("close", "--state", "waiting", "--queue", "spam", *by, "--yes", "1").stdout == "closed 1 tasks\n"
    )
    assert run("close", "2", "--queue", "spam", *by).exit_code == 2


def test_policy_show(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(POLICY)
    shown = json.loads(CliRunner().invoke(policy, ["show", str(tmp_path / "mine.yaml"), "--json"]).stdout)
    assert [(row["id"], row["due"], row["role"], row["lease"]) for row in shown["queues"]] == [
        ("urgent", "4h", "senior", "90m"), ("spam", "2d", "reviewer", None),
        ("default", "7d", "reviewer", None),
    ]  # fmt: skip
    assert (shown["priority"]["reach"], shown["priority"]["doubling"]) == ("views", "12h")
    assert "hate >= 0.9" in CliRunner().invoke(policy, ["show", str(tmp_path / "mine.yaml")]).stdout
