"""The desk driven at random, step by step against a plain model of it, on each database.

Leases run out when the model's clock says so: it is the database's clock as the desk reads it, replaced.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import QueueError
from moderator.review import ReviewDesk
from moderator.routing import Route
from moderator.settings import Review
from moderator.store import Queue, Store, clock
from moderator.store.audit_log import events
from moderator.store.canonical import parse_json
from moderator.store.history import EVENT_FORM
from moderator.store.seal import seals_of
from moderator.store.tables import AppealRow, DecisionRow, ReviewEventRow, TaskRow
from moderator.types import Action, Stage
from tests.review.conftest import ROLES
from tests.store.samples import make_batch, start

URGENCY = (2, 1)
NAMES = st.sampled_from(["ann", "sue", "lea"])
ABLE = st.sampled_from(["sue", "lea", "lea"])  # mostly in a role that may
TASKS = st.integers(1, 2)
ACTIONS = st.sampled_from([Action.ALLOW, Action.BLOCK])
RANK = {"ann": 0, "bob": 0, "sue": 1, "sam": 1, "lea": 2}
LEASE = 100.0
DAY = 86_400.0
QUEUES = {"default": ("ann", 2 * DAY), "short": ("ann", 1000.0), "senior": ("sue", DAY)}
"""Queue → who has its role, and seconds there are to decide."""


def route_of(queue: str) -> Route:
    who, due = QUEUES[queue]
    return Route(queue, timedelta(seconds=due), ROLES[who])


@dataclass
class Task:
    """What a plain reading of docs/review.md says of one task."""

    state: str = "open"
    stage: str = "review"
    holder: str = ""
    token: int = 0
    until: float = 0.0
    action: Action | None = None
    decided_at: float = 0.0
    queue: str = "default"
    due: float = 0.0
    deciders: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)

    def lapse(self, now: float) -> None:
        if self.state == "claimed" and now >= self.until:
            self.put_back()

    def put_back(self) -> None:
        waits = {"review": "queued", "second": "queued", "escalation": "escalated", "appeal": "appealed"}
        self.state, self.holder = waits[self.stage], ""

    def admits(self, name: str) -> bool:
        return RANK[name] >= RANK[QUEUES[self.queue][0]]

    def asked_anew(self, now: float) -> None:
        self.due = now + QUEUES[self.queue][1]

    def may_claim(self, name: str) -> bool:
        if not self.admits(name):
            return False
        if self.state not in ("open", "queued", "escalated", "appealed"):
            return False
        if self.stage in ("escalation", "appeal") and RANK[name] < 1:
            return False
        return self.stage == "review" or name not in self.deciders

    def claim(self, name: str, now: float) -> None:
        self.state, self.holder, self.token, self.until = "claimed", name, self.token + 1, now + LEASE

    def held(self, name: str, token: int, now: float) -> bool:
        return self.state == "claimed" and self.holder == name and self.token == token and now < self.until


class Desk(RuleBasedStateMachine):
    """Each rule does one act on both and compares the answers; refused acts must change nothing."""

    new_url: Callable[[], str]

    @initialize()
    def open(self) -> None:
        self.now = 1_000_000.0
        self.clock = clock.database_now
        clock.database_now = lambda connection: int(self.now * 1_000_000)
        self.store = Store.open(type(self).new_url())
        batch = make_batch((1, 2), (Action.REVIEW,))  # few, to meet often
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock, "now", lambda: int(self.now * 1_000_000))
            heads = itertools.count(1)  # the second is the more urgent
            self.store.record(
                start(self.store), batch, lambda *_: (route_of("default"), timedelta(seconds=next(heads)))
            )
        terms = Review(lease_seconds=LEASE, appeal_days=1, appeal_answer_days=0.5)
        self.desk = ReviewDesk(self.store, roles=ROLES, terms=terms, route_of=route_of)
        self.tasks = {number: Task() for number in URGENCY}
        for task in self.tasks.values():
            task.asked_anew(self.now)
        self.decisions = self.appeals = 0
        self.keys = itertools.count()
        self.done: list[tuple[Callable[[], object], object]] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            clock.database_now = self.clock
            with self.store.snapshot() as connection:
                assert verify(Live(connection)).fault is None
            self.store.close()

    def attempt(self, allowed: bool, act: Callable[[], object]) -> bool:
        """Do it; whether it was done, which must be what the model says."""
        try:
            act()
        except QueueError as error:
            assert not allowed, error
            return False
        assert allowed
        return True

    def take(self, task: Task, name: str, token: int | None, stages: set[str]) -> bool:
        """Whether the model lets ``name`` act, under the token or by claiming at once; if so, claimed."""
        if token is not None:
            return task.held(name, token, self.now) and task.stage in stages
        task.lapse(self.now)
        if task.stage in stages and task.may_claim(name):
            task.claim(name, self.now)
            return True
        return False

    @rule(seconds=st.sampled_from([1.0, 40.0, 100.0, 50_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=NAMES, count=st.integers(1, 2))
    def claim(self, name: str, count: int) -> None:
        expected: list[tuple[int, int]] = []
        overdue = [number for number in URGENCY if self.now >= self.tasks[number].due]
        overdue.sort(key=lambda number: (self.tasks[number].due, number))
        for number in [*overdue, *(each for each in URGENCY if each not in overdue)]:
            task = self.tasks[number]
            lapsed = task.state == "claimed" and self.now >= task.until
            before = task.state, task.holder
            task.lapse(self.now)
            if len(expected) < count and task.may_claim(name) and name not in task.skipped:
                task.claim(name, self.now)
                expected.append((number, task.token))
            elif lapsed:
                task.state, task.holder = before
        claims = self.desk.claim(name, count)
        assert [(claim.task_id, claim.token) for claim in claims] == expected

    @rule(number=TASKS, name=NAMES)
    def claim_task(self, number: int, name: str) -> None:
        task = self.tasks[number]
        lapsed = task.state == "claimed" and self.now >= task.until
        before = task.state, task.holder
        task.lapse(self.now)
        if self.attempt(task.may_claim(name), lambda: self.desk.claim_task(number, name)):
            task.claim(name, self.now)
        elif lapsed:
            task.state, task.holder = before

    @rule(number=TASKS, name=NAMES, behind=st.sampled_from([0, 0, 0, 1]))
    def renew(self, number: int, name: str, behind: int) -> None:
        task = self.tasks[number]
        name, token = task.holder or name, task.token - behind
        if self.attempt(task.held(name, token, self.now), lambda: self.desk.renew(number, name, token)):
            task.until = self.now + LEASE

    @rule(number=TASKS, name=NAMES, behind=st.sampled_from([0, 0, 0, 1]))
    def release(self, number: int, name: str, behind: int) -> None:
        task = self.tasks[number]
        name, token = task.holder or name, task.token - behind
        if self.attempt(task.held(name, token, self.now), lambda: self.desk.release(number, name, token)):
            task.put_back()

    @rule(number=TASKS, name=NAMES, held=st.booleans(), kind=st.sampled_from(["skip", "escalate"]))
    def hand_on(self, number: int, name: str, held: bool, kind: str) -> None:
        task, token, name = self.who(number, name, held)
        stages = {"review"} if kind == "escalate" else {stage.value for stage in Stage}
        before = vars(task).copy()
        if self.attempt(
            self.take(task, name, token, stages),
            lambda: getattr(self.desk, kind)(number, name, "why", token=token),
        ):
            if kind == "skip":
                task.skipped.add(name)
                task.put_back()
            else:
                task.state, task.stage, task.holder = "escalated", "escalation", ""
        else:
            vars(task).update(before)

    @rule(number=TASKS, name=NAMES, held=st.booleans(), to=st.sampled_from(sorted(QUEUES)))
    def move(self, number: int, name: str, held: bool, to: str) -> None:
        task, token, name = self.who(number, name, held)
        before = vars(task).copy()
        if self.attempt(
            self.take(task, name, token, {stage.value for stage in Stage}),
            lambda: self.desk.move(number, to, name, "why", token=token),
        ):
            task.queue = to
            task.asked_anew(self.now)
            task.put_back()
        else:
            vars(task).update(before)

    @rule(number=TASKS, name=NAMES, held=st.booleans(), action=ACTIONS)
    def decide(self, number: int, name: str, held: bool, action: Action) -> None:
        task, token, name = self.who(number, name, held)
        before = vars(task).copy()
        allowed = self.take(task, name, token, {"review", "escalation", "second"})
        key = f"k{next(self.keys)}"

        def act() -> object:
            receipt = self.desk.decide(number, action, name, "why", token=token, idempotency_key=key)
            self.done.append((act, receipt))
            return receipt

        if self.attempt(allowed, act):
            self.decided(task, name, action)
        else:
            vars(task).update(before)

    @rule(number=TASKS, name=ABLE, held=st.booleans(), kind=st.sampled_from(["uphold", "reverse"]))
    def answer(self, number: int, name: str, held: bool, kind: str) -> None:
        task, token, name = self.who(number, name, held)
        before = vars(task).copy()
        if self.attempt(
            self.take(task, name, token, {"appeal"}),
            lambda: getattr(self.desk, kind)(number, name, "why", token=token),
        ):
            other = Action.ALLOW if task.action is Action.BLOCK else Action.BLOCK
            self.decided(task, name, other if kind == "reverse" else task.action)
            if kind == "uphold":
                task.state = "closed"
        else:
            vars(task).update(before)

    @rule(number=TASKS, name=ABLE)
    def second_review(self, number: int, name: str) -> None:
        task = self.tasks[number]
        if self.attempt(
            task.state == "decided" and RANK[name] >= 1 and task.admits(name),
            lambda: self.desk.second_review(number, name, "why"),
        ):
            task.state, task.stage = "queued", "second"
            task.asked_anew(self.now)

    @rule(number=TASKS)
    def appeal(self, number: int) -> None:
        task = self.tasks[number]
        allowed = task.state == "decided" or (task.stage == "second" and task.state in ("queued", "claimed"))
        allowed = allowed and self.now <= task.decided_at + DAY
        if self.attempt(allowed, lambda: self.desk.appeal(number, "the author", "why")):
            task.state, task.stage, task.holder = "appealed", "appeal", ""
            task.due = self.now + DAY / 2
            self.appeals += 1

    @rule(number=TASKS, name=ABLE)
    def reopen(self, number: int, name: str) -> None:
        task = self.tasks[number]
        allowed = task.state in ("decided", "closed") and RANK[name] == 2
        if self.attempt(allowed, lambda: self.desk.reopen(number, name, "why")):
            task.state = "queued"
            task.asked_anew(self.now)

    @rule(numbers=st.sets(TASKS, min_size=1), name=ABLE)
    def close(self, numbers: set[int], name: str) -> None:
        def waits(task: Task) -> bool:
            lapsed = task.state == "claimed" and self.now >= task.until
            back = "appealed" if task.stage == "appeal" else "queued"
            return (back if lapsed else task.state) in ("open", "queued", "escalated")

        allowed = RANK[name] == 2 and all(waits(self.tasks[number]) for number in numbers)
        if self.attempt(allowed, lambda: self.desk.close(numbers, name, "why", confirm=len(numbers))):
            for number in numbers:
                task = self.tasks[number]
                task.state, task.stage, task.holder = "decided" if task.action else "closed", "review", ""

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.done:
            act, receipt = data.draw(st.sampled_from(self.done))
            made = len(self.done)
            assert act() == receipt
            del self.done[made:]

    @invariant()
    def the_database_says_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        stored = {task.id: task for task in Queue(self.store).list_tasks(state=None).tasks}
        for number, task in self.tasks.items():
            found = stored[number]
            assert (found.state, found.stage) == (task.state, task.stage)
            assert (found.reviewer or "", found.token) == (task.holder, task.token)
            assert (found.queue, found.due_at.timestamp()) == (task.queue, task.due)
        with self.store.reading() as connection:
            count = {
                table: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (DecisionRow, AppealRow, ReviewEventRow)
            }
            logged = list(events(connection))
            in_force = select(TaskRow.id, DecisionRow.action).join(
                DecisionRow, TaskRow.decision_id == DecisionRow.id
            )
            standing = {row.id: row.action for row in connection.execute(in_force)}
        assert standing == {number: task.action for number, task in self.tasks.items() if task.action}
        assert (count[DecisionRow], count[AppealRow]) == (self.decisions, self.appeals)
        assert [event.seq for event in logged] == list(range(1, len(logged) + 1))
        assert sum(event.kind == "decision" for event in logged) == self.decisions
        seals = [seal for event in logged for seal in seals_of(parse_json(event.payload))]
        spans = [(seal.first, seal.last) for seal in seals if seal.form == EVENT_FORM.name]
        numbers = [number for first, last in spans for number in range(first, last + 1)]
        assert numbers == list(range(1, count[ReviewEventRow] + 1))

    def who(self, number: int, name: str, held: bool) -> tuple[Task, int | None, str]:
        """The task, and the holder with the token, or anybody without one."""
        task = self.tasks[number]
        return (task, task.token, task.holder or name) if held else (task, None, name)

    def decided(self, task: Task, name: str, action: Action | None) -> None:
        differs = task.stage == "second" and action is not task.action
        task.deciders.add(name)
        task.holder = ""
        self.decisions += 1
        if differs:
            task.state, task.stage = "escalated", "escalation"
        else:
            task.state, task.stage, task.action, task.decided_at = "decided", "review", action, self.now


def test_the_desk_does_what_the_model_says(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    if kind == "postgresql":
        machine = type(
            "OnPostgreSQL", (Desk,), {"new_url": staticmethod(request.getfixturevalue("new_postgresql"))}
        )
        examples = 20
    else:

        def new_file() -> str:
            return f"sqlite:///{tempfile.mkdtemp(dir=tmp_path)}/store.db"

        machine = type("OnSQLite", (Desk,), {"new_url": staticmethod(new_file)})
        examples = 60
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
