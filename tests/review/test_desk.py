"""The desk on a real database: what each act writes and, above all, what refused ones do not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, text

from moderator.audit.verify import FORMS
from moderator.errors import QueueError
from moderator.review import Receipt, ReviewDesk, refusals
from moderator.settings import Review
from moderator.store import Queue, Store, clock
from moderator.store.audit_log import Event, events
from moderator.store.canonical import parse_json
from moderator.store.seal import seals_of
from moderator.store.tables import Base, DecisionRow
from moderator.types import Action, Role, Stage, State
from tests.review.conftest import ROLES


def rows_of(store: Store) -> dict[str, Any]:
    """Everything in the database."""
    with store.reading() as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in Base.metadata.sorted_tables
        }


@contextmanager
def writes_nothing(store: Store) -> Iterator[None]:
    before = rows_of(store)
    yield
    assert rows_of(store) == before


def test_claims_take_the_most_urgent_and_nobody_elses(desk: ReviewDesk, queue: Queue) -> None:
    assert [claim.task_id for claim in desk.claim("ann", 2)] == [5, 2]
    assert [claim.task_id for claim in desk.claim("bob", 3)] == [3, 1, 4]
    assert [claim.task_id for claim in desk.claim("ann", 3)] == [6]
    assert desk.claim("bob") == []
    assert {task.state for task in queue.list_tasks(state=None).tasks} == {State.CLAIMED}
    task = queue.show(5).task
    assert (task.reviewer, task.token, task.stage) == ("ann", 1, Stage.REVIEW)


def test_a_claim_is_worked_under_its_token(desk: ReviewDesk, queue: Queue) -> None:
    claim = desk.claim("ann")[0]
    renewed = desk.renew(claim.task_id, "ann", claim.token, lease_seconds=3600)
    assert renewed.token == claim.token
    assert (renewed.until - claim.until).total_seconds() > 2900
    receipt = desk.decide(5, Action.ALLOW, "ann", "satire", token=claim.token, labels={"hate": False})
    assert (receipt.state, receipt.act, receipt.reviewer) == (State.DECIDED, "decide", "ann")
    detail = queue.show(5)
    assert detail.decisions == (receipt.decision,)
    assert detail.decisions[0].labels == {"hate": False}
    assert [event.act for event in detail.events] == ["claim", "renew", "decide"]
    assert detail.task.reviewer is None
    assert detail.task.decided_at == receipt.at


def test_release_skip_and_escalate(desk: ReviewDesk, queue: Queue) -> None:
    claim = desk.claim_task(5, "ann")
    assert desk.release(5, "ann", claim.token).state is State.QUEUED
    assert desk.claim("ann")[0].task_id == 5
    assert desk.skip(5, "ann", "I know the author", token=2).state is State.QUEUED
    assert desk.claim("ann")[0].task_id == 2
    assert desk.claim("bob")[0].task_id == 5
    assert desk.escalate(5, "bob", "a lawyer should see it", token=3).state is State.ESCALATED
    assert [task.id for task in queue.list_tasks().tasks] == [3, 1, 4, 6]
    assert desk.claim("bob")[0].task_id == 3
    assert desk.claim("sue")[0].task_id == 5
    assert desk.release(5, "sue", 4).state is State.ESCALATED
    assert desk.decide(5, Action.BLOCK, "sam", "a threat").state is State.DECIDED
    assert [event.reason for event in queue.show(5).events if event.reason] == [
        "I know the author",
        "a lawyer should see it",
        "a threat",
    ]


def test_an_appeal_is_answered_by_another(desk: ReviewDesk, queue: Queue, store: Store) -> None:
    desk.decide(5, Action.BLOCK, "sue", "a threat", "threats")
    assert desk.appeal(5, "the author", "it is a song").state is State.APPEALED
    with (
        writes_nothing(store),
        pytest.raises(refusals.WrongRoleError, match="claim an appeal takes the role senior; ann"),
    ):
        desk.uphold(5, "ann", "no song")
    with (
        writes_nothing(store),
        pytest.raises(refusals.SameReviewerError, match="sue has decided on it already"),
    ):
        desk.uphold(5, "sue", "no song")
    assert desk.claim("sue")[0].task_id == 2
    claim = desk.claim("sam")[0]
    assert claim.task_id == 5
    receipt = desk.reverse(5, "sam", "a song", token=claim.token)
    assert receipt.state is State.DECIDED
    assert receipt.decision is not None
    assert (receipt.decision.action, receipt.decision.policy_rule) == (Action.ALLOW, "threats")
    detail = queue.show(5)
    assert [decision.action for decision in detail.decisions] == [Action.BLOCK, Action.ALLOW]
    appeal = detail.appeals[0]
    assert (appeal.filed_by, appeal.statement, appeal.outcome) == ("the author", "it is a song", "reversed")
    assert appeal.answered_at == receipt.at
    assert [event.act for event in detail.events if event.act != "claim"] == ["decide", "appeal", "reverse"]
    desk.appeal(5, "a reader", "not a song")
    assert desk.uphold(5, "lea", "it is").state is State.CLOSED
    with (
        writes_nothing(store),
        pytest.raises(refusals.WrongStateError, match="task 5 is closed; to appeal takes"),
    ):
        desk.appeal(5, "a reader", "again")
    assert queue.show(5).appeals[1].outcome == "upheld"
    assert queue.show(5).decisions[2].action is Action.ALLOW


def test_what_an_author_says_is_in_the_appeal_alone(desk: ReviewDesk, store: Store) -> None:
    desk.decide(5, Action.BLOCK, "ann", "a threat")
    desk.appeal(5, "Jo Doe", "I am Jo Doe", idempotency_key="k")
    found = {name: rows for name, rows in rows_of(store).items() if "Jo Doe" in repr(rows)}
    assert set(found) == {"appeals"}


def test_an_appeal_that_comes_too_late(store: Store) -> None:
    desk = ReviewDesk(store, terms=Review(appeal_days=0.05 / 86400))
    desk.decide(5, Action.BLOCK, "ann", "a threat")
    time.sleep(0.06)
    with (
        writes_nothing(store),
        pytest.raises(refusals.AppealExpiredError, match="the time to appeal ended at"),
    ):
        desk.appeal(5, "the author", "it is a song")


def test_a_second_review_is_blind_and_by_another(desk: ReviewDesk, queue: Queue) -> None:
    desk.decide(5, Action.BLOCK, "ann", "a threat")
    with pytest.raises(refusals.WrongRoleError):
        desk.second_review(5, "bob", "unsure")
    assert desk.second_review(5, "sue", "unsure").state is State.QUEUED
    assert desk.claim("ann")[0].task_id == 2
    assert desk.claim("bob")[0].task_id == 5
    blind = queue.show(5)
    assert (blind.blind, blind.decisions, blind.events) == (True, (), ())
    assert len(queue.show(5, reveal=True).decisions) == 1
    receipt = desk.decide(5, Action.ALLOW, "bob", "a song", token=2)
    assert receipt.state is State.ESCALATED
    assert desk.decide(5, Action.ALLOW, "sue", "a song indeed").state is State.DECIDED
    assert len(queue.show(5).decisions) == 3


def test_two_who_agree(desk: ReviewDesk, queue: Queue) -> None:
    desk.decide(5, Action.BLOCK, "ann", "a threat")
    desk.second_review(5, "sue", "unsure")
    assert desk.decide(5, Action.BLOCK, "bob", "a threat").state is State.DECIDED
    desk.second_review(5, "sue", "still unsure")
    assert desk.appeal(5, "the author", "no").state is State.APPEALED
    assert queue.show(5).blind is False


def test_a_share_of_decisions_is_drawn_for_a_second_review(store: Store) -> None:
    numbers = iter([0.09, 0.1, 0.5])
    desk = ReviewDesk(store, terms=Review(second_review_share=0.1), draw=lambda: next(numbers))
    receipts = [desk.decide(task, Action.BLOCK, "ann", "clear") for task in (1, 2, 3)]
    assert {receipt.state for receipt in receipts} == {State.DECIDED}  # who decides is not told
    states = {task.id: (task.state, task.stage) for task in Queue(store).list_tasks(state=None).tasks}
    assert states[1] == (State.QUEUED, Stage.SECOND)
    assert states[2] == states[3] == (State.DECIDED, Stage.REVIEW)
    desk.decide(1, Action.BLOCK, "bob", "clear")
    assert [event.reason for event in Queue(store).show(1).events if event.act == "second review"] == [
        "sample"
    ]


def test_reopen_and_close(desk: ReviewDesk, queue: Queue, store: Store) -> None:
    desk.decide(5, Action.BLOCK, "ann", "a threat")
    assert desk.reopen(5, "lea", "new facts").state is State.QUEUED
    desk.claim_task(2, "ann")
    with writes_nothing(store):
        with pytest.raises(refusals.WrongCountError, match="3 tasks would be closed, not 4"):
            desk.close([1, 3, 4], "lea", "duplicates", confirm=4)
        with pytest.raises(refusals.WrongStateError, match="task 2 is claimed"):
            desk.close([1, 2, 3], "lea", "duplicates", confirm=3)
        with pytest.raises(refusals.NoSuchTaskError, match="there is no task 99;"):
            desk.close([1, 99], "lea", "duplicates", confirm=2)
        with pytest.raises(refusals.WrongRoleError):
            desk.close([1], "sue", "duplicates", confirm=1)
        with pytest.raises(refusals.MissingReasonError):
            desk.close([1], "lea", " ", confirm=1)
        assert desk.close([], "lea", "duplicates", confirm=0) == []
    receipts = desk.close([4, 1, 3, 3], "lea", "duplicates", confirm=3)
    assert [(receipt.task_id, receipt.state) for receipt in receipts] == [
        (n, State.CLOSED) for n in (1, 3, 4)
    ]
    assert desk.close([5], "lea", "settled", confirm=1)[0].state is State.DECIDED
    assert queue.stats().waiting == 1
    assert desk.reopen(1, "lea", "not a duplicate").state is State.QUEUED


def test_a_stalled_reviewer_comes_too_late(desk: ReviewDesk, store: Store) -> None:
    stalled = desk.claim("ann", lease_seconds=0.05)[0]
    time.sleep(0.06)
    with writes_nothing(store), pytest.raises(refusals.LeaseExpiredError, match="ann's lease ran out at"):
        desk.decide(5, Action.ALLOW, "ann", "fine", token=stalled.token)
    taken = desk.claim("bob")[0]
    assert (taken.task_id, taken.token) == (5, 2)
    acts = (
        lambda: desk.decide(5, Action.ALLOW, "ann", "fine", token=1, idempotency_key="late"),
        lambda: desk.renew(5, "ann", 1),
        lambda: desk.release(5, "ann", 1),
        lambda: desk.skip(5, "ann", "why", token=1),
        lambda: desk.escalate(5, "ann", "why", token=1),
    )
    for _ in range(2):  # while bob has it, and when he has decided
        for act in acts:
            with (
                writes_nothing(store),
                pytest.raises(refusals.StaleClaimError, match=r"ann's claim 1 is not"),
            ):
                act()
        if Queue(store).show(5).task.state is State.CLAIMED:
            desk.decide(5, Action.BLOCK, "bob", "a threat", token=2)
    assert [decision.reviewer for decision in Queue(store).show(5).decisions] == ["bob"]


def test_leases_are_on_the_databases_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_year() -> int:
        return time.time_ns() // 1000 + 365 * 86_400_000_000

    ahead = ReviewDesk(store)
    ahead.claim("ann", lease_seconds=0.2)
    monkeypatch.setattr(clock, "now", in_a_year)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(refusals.AlreadyClaimedError):
        ahead.claim_task(5, "bob")
    time.sleep(0.25)
    claim = ahead.claim_task(5, "bob")
    with store.reading() as connection:
        now = clock.database_now(connection)
    assert abs(now - time.time_ns() // 1000) < 5_000_000
    assert 590_000_000 < clock.stored(claim.until) - now <= 600_000_000


def test_a_repeated_submit_gives_the_same_answer_and_one_row(desk: ReviewDesk, store: Store) -> None:
    def do(key: str) -> list[Receipt]:
        return [
            desk.skip(1, "ann", "tired", idempotency_key=f"s{key}"),
            desk.decide(
                5, Action.BLOCK, "ann", "a threat", labels={"violence": True}, idempotency_key=f"d{key}"
            ),
            desk.second_review(5, "sue", "unsure", idempotency_key=f"2{key}"),
            desk.appeal(5, "the author", "it is a song", idempotency_key=f"a{key}"),
            desk.reverse(5, "sue", "it is", idempotency_key=f"r{key}"),
            desk.reopen(5, "lea", "new facts", idempotency_key=f"o{key}"),
            desk.escalate(5, "ann", "unsure", idempotency_key=f"e{key}"),
        ]

    first = do("")
    with writes_nothing(store):
        assert do("") == first
        for key in "sd2aroe":
            with pytest.raises(
                refusals.KeyReusedError, match=r"was used for another request, on task [15]; give"
            ):
                desk.decide(6, Action.ALLOW, "ann", "fine", idempotency_key=key)
        with pytest.raises(refusals.KeyReusedError):
            desk.appeal(5, "the author", "other words", idempotency_key="a")
        with pytest.raises(refusals.KeyReusedError):
            desk.decide(5, Action.BLOCK, "ann", "a threat", labels={"hate": True}, idempotency_key="d")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"action": Action.REVIEW}, refusals.WrongActionError, "allow or block, not review"),
        ({"reviewer": " "}, refusals.MissingNameError, "task 5: this needs a reviewer; the name is blank"),
        ({"reason": "\n\t"}, refusals.MissingReasonError, "a decision needs a reason"),
        ({"policy_rule": " "}, refusals.MissingRuleError, "the policy rule is blank; name the one"),
        (
            {"policy_rule": "no-such"},
            refusals.UnknownRuleError,
            "no rule 'no-such'; it has hate-review, on_degraded",
        ),
        ({"labels": {"rude": True}}, refusals.UnknownLabelError, "no label 'rude'; use toxicity, profanity"),
        ({"reviewer": "a" * 201}, refusals.TooLongError, "the reviewer is longer than 200 characters"),
        ({"reason": "a" * 10_001}, refusals.TooLongError, "the reason is longer than 10000"),
        ({"policy_rule": "a" * 201}, refusals.TooLongError, "the policy rule is longer"),
        ({"idempotency_key": "a" * 201}, refusals.TooLongError, "the idempotency key is longer"),
        ({"task_id": 99}, refusals.NoSuchTaskError, "there is no task 99; `moderator queue list`"),
        ({"task_id": 10**30}, refusals.NoSuchTaskError, "there is no task 1000"),
        ({"token": 0}, refusals.WrongStateError, "task 5 is open; to decide takes one that is claimed"),
    ],
)
def test_an_incomplete_decision_is_refused(
    store: Store, given: dict[str, Any], error: type[QueueError], said: str
) -> None:
    desk = ReviewDesk(store, rules_of=lambda digest: ["spam-block", "hate-review"])
    whole = {"task_id": 5, "action": Action.ALLOW, "reviewer": "ann", "reason": "fine"}
    with writes_nothing(store), pytest.raises(error, match=said):
        desk.decide(**{**whole, **given})


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
def test_a_lease_has_a_sensible_length(desk: ReviewDesk, store: Store, seconds: float) -> None:
    with (
        writes_nothing(store),
        pytest.raises(refusals.WrongLeaseError, match="above 0 and at most 86400 seconds"),
    ):
        desk.claim("ann", lease_seconds=seconds)
    with pytest.raises(refusals.WrongCountError):
        desk.claim("ann", 0)


def test_the_rule_a_decision_rests_on(store: Store) -> None:
    desk = ReviewDesk(store, rules_of=lambda digest: ["spam-block"] if digest == "cd" * 32 else None)
    rules = [
        receipt.decision.policy_rule
        for task, rule in ((1, None), (2, "spam-block"), (3, "otherwise"), (4, "hate-review"))
        if (receipt := desk.decide(task, Action.BLOCK, "ann", "clear", rule)).decision
    ]
    assert rules == ["hate-review", "spam-block", "otherwise", "hate-review"]


def test_without_roles_everybody_is_a_lead_and_with_them_others_are_reviewers(store: Store) -> None:
    assert ReviewDesk(store).close([6], "anybody", "why", confirm=1)[0].state is State.CLOSED
    with pytest.raises(refusals.WrongRoleError, match="takes the role lead; eve is reviewer"):
        ReviewDesk(store, roles={}).close([4], "eve", "why", confirm=1)
    assert all(Role.LEAD.covers(role) for role in ROLES.values())


def test_a_second_decision_is_refused_naming_the_first(desk: ReviewDesk, store: Store) -> None:
    desk.decide(1, Action.ALLOW, "ann", "fine")
    with (
        writes_nothing(store),
        pytest.raises(
            refusals.AlreadyDecidedError, match=r"task 1 was already decided: allow by ann at \d{4}-.* UTC"
        ),
    ):
        desk.decide(1, Action.BLOCK, "bob", "no")


def sealed(entry: Event) -> dict[str, tuple[int, int]]:
    """Table → the rows of it that an entry seals."""
    seals = seals_of(parse_json(entry.payload))
    return {FORMS[seal.form].table: (seal.first, seal.last) for seal in seals}


def test_the_log_has_one_entry_an_act(desk: ReviewDesk, store: Store) -> None:
    desk.claim("ann", 2)
    desk.decide(5, Action.BLOCK, "ann", "clear", token=1, labels={"hate": True})
    desk.decide(3, Action.BLOCK, "ann", "clear")
    with store.reading() as connection:
        claimed, decided, at_once = list(events(connection))[-3:]
    assert claimed.kind == "review"
    assert claimed.data.items() >= {"acts": ["claim"], "tasks": [2, 5]}.items()
    assert sealed(claimed) == {"review_events": (1, 2)}
    assert (decided.kind, at_once.kind) == ("decision", "decision")
    said = {"decision": 1, "task": 5, "action": "block", "acts": ["decide"]}
    assert decided.data.items() >= said.items()
    assert sealed(decided) == {"review_events": (3, 3), "decisions": (1, 1), "label_corrections": (1, 1)}
    assert at_once.data.items() >= {"acts": ["claim", "decide"]}.items()
    assert sealed(at_once) == {"review_events": (4, 5), "decisions": (2, 2)}


@pytest.mark.parametrize("table", ["review_events", "label_corrections"])
def test_what_was_done_is_never_edited(desk: ReviewDesk, store: Store, table: str) -> None:
    desk.decide(5, Action.BLOCK, "ann", "clear", labels={"hate": True})
    changes = ["UPDATE {} SET id = 9", "DELETE FROM {}"]
    if "sqlite" in store.url:
        changes.append("INSERT OR REPLACE INTO {0} SELECT * FROM {0}")
    for change in changes:
        with (
            writes_nothing(store),
            pytest.raises(Exception, match="are never edited or deleted"),
            store.writing() as connection,
        ):
            connection.execute(text(change.format(table)))


def test_one_of_sixteen_reviewers_wins(store: Store) -> None:
    desk = ReviewDesk(store)

    def attempt(number: int) -> Receipt | str:
        try:
            return desk.decide(1, Action.ALLOW, f"reviewer-{number}", "fine")
        except QueueError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attempt, range(16)))
    won = [answer for answer in answers if isinstance(answer, Receipt)]
    assert len(won) == 1
    lost = [answer for answer in answers if isinstance(answer, str)]
    assert all(f"already decided: allow by {won[0].reviewer}" in answer for answer in lost)
    with store.reading() as connection:
        assert len(list(connection.execute(select(DecisionRow.id)))) == 1
