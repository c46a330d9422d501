"""Finding tasks: what is found is what a look at every task would find, page by page, in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from moderator.errors import QueueError
from moderator.review import ReviewDesk
from moderator.store import Filter, Queue, Store, migrate
from moderator.store.engine import make_engine, parse_url
from moderator.store.facets import forget_words, reason_of
from moderator.store.queue import Task
from moderator.store.tables import FacetRow, ScoreRow
from moderator.store.words import words_asked, words_of
from moderator.types import Action, Item, Verdict
from tests.store.samples import make_verdict

TEXTS = ("加微信领红包", "Kill the process", "你好世界 hello", "meet me at noon", "加油！微笑", "fuuck off")
REASONS = ("image[0]: cannot be decoded", "text-minilm: took 61.2 s, allowed are 60 s")
SOURCES = ("inbox", "forum.jsonl")
WORDS = ("微信", "hello", "微", "process kill", "加微信", "noon 微信")


def entry(position: int) -> Any:
    verdict = make_verdict(
        f"post-{position}", (Action.REVIEW, Action.BLOCK)[position % 2], position % 50 / 50
    )
    degraded = (REASONS[position % 2],) if position % 7 == 0 else ()
    fields = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
    fields |= {"degraded": degraded, "policy_digest": ("cd", "ce")[position % 3 == 0] * 32}
    image: Any = {"image": b"x"} if position % 5 == 0 else {}
    item = None if position % 11 == 10 else Item.of(id="x", text=TEXTS[position % len(TEXTS)], **image)
    return position, item, f"post-{position}", Verdict(**fields), True


def fill(store: Store, count: int = 120) -> dict[int, tuple[Any, str]]:
    """Task number → its entry and the source of its scan."""
    made: dict[int, tuple[Any, str]] = {}
    for number, source in enumerate(SOURCES):
        for policy in ("cd", "ce"):
            scan = store.start_scan(source, policy * 32, "ef" * 32, "moderator 0.1.0")
            batch = [
                entry(position)
                for position in range(count)
                if position % 2 == number and entry(position)[3].policy_digest == policy * 32
            ]
            before = len(made)
            store.record(scan, batch)
            made.update({before + 1 + at: (each, source) for at, each in enumerate(batch)})
    return made


@pytest.fixture
def store(database_url: str) -> Any:
    with Store.open(database_url, words=True) as opened:
        yield opened


def fits(task: Task, told: tuple[Any, str], wanted: Filter, decided: dict[int, str]) -> bool:
    """The same, asked of one task."""
    (_, item, _, verdict, _), source = told
    texts = [] if item is None else [str(part.value) for part in item.parts if part.modality == "text"]
    words = {word for text in texts for word in words_of(text)}
    score = verdict.scores[wanted.label] if wanted.label else 0.0
    least = wanted.least if wanted.least is not None else 0.5 if wanted.most is None else 0.0
    if wanted.order == "score":
        least = max(least, 0.05)
    return all(
        (
            wanted.label is None or round(least * 1e6) <= round(score * 1e6),
            wanted.most is None or round(score * 1e6) <= round(wanted.most * 1e6) or score < 0.05,
            wanted.modality is None or (item and any(p.modality == wanted.modality for p in item.parts)),
            wanted.language is None or any((t[0] in "加你") == (wanted.language == "zh") for t in texts),
            wanted.source is None or source == wanted.source,
            wanted.policy is None or verdict.policy_digest.startswith(wanted.policy),
            wanted.reviewer is None or decided.get(task.id) == wanted.reviewer,
            wanted.action is None or task.action is wanted.action,
            wanted.state is None or task.state == wanted.state,
            wanted.queue is None or task.queue == wanted.queue,
            wanted.degraded is None
            or any(wanted.degraded in ("any", reason_of(each)) for each in verdict.degraded),
            wanted.words is None or set(words_asked(wanted.words)) <= words,
        )
    )


def key_of(task: Task, wanted: Filter) -> Any:
    if wanted.order == "score":
        return -round(task.verdict.scores[wanted.label or ""] * 1e6), -task.id
    opened = task.opened_at
    return {
        "urgency": (-task.priority, task.id),
        "newest": (datetime.max.replace(tzinfo=UTC) - opened, -task.id),
        "oldest": (opened, task.id),
    }[wanted.order]


def pages(queue: Queue, wanted: Filter, limit: int) -> list[int]:
    ids: list[int] = []
    cursor = None
    while True:
        page = queue.query(wanted, limit=limit, cursor=cursor)
        ids += [task.id for task in page.tasks]
        if (cursor := page.cursor) is None:
            return ids


filters = st.builds(
    Filter,
    label=st.sampled_from(["toxicity", "hate"]),
    least=st.none() | st.just(0.0) | st.floats(0.05, 1),
    most=st.none() | st.floats(0.05, 1),
    modality=st.none() | st.sampled_from(["text", "image", "audio"]),
    language=st.none() | st.sampled_from(["zh", "other"]),
    source=st.none() | st.sampled_from([*SOURCES, "elsewhere"]),
    policy=st.none() | st.sampled_from(["cd", "ce" * 32, "ff"]),
    reviewer=st.none() | st.sampled_from(["ann", "bob"]),
    action=st.none() | st.sampled_from([Action.REVIEW, Action.BLOCK]),
    state=st.none() | st.sampled_from(["open", "decided"]),
    queue=st.none() | st.sampled_from(["default", "spam"]),
    degraded=st.none() | st.sampled_from(["any", "image[#]", "text-minilm"]),
    words=st.none() | st.sampled_from(WORDS),
    order=st.sampled_from(["urgency", "newest", "oldest", "score"]),
)
single = st.sampled_from(
    [
        Filter(**{name: value})  # type: ignore[arg-type]
        for name, value in (
            *(("words", word) for word in WORDS),
            ("language", "zh"),
            ("degraded", "any"),
            ("modality", "image"),
            ("source", "inbox"),
            ("policy", "ce"),
            ("reviewer", "ann"),
            ("label", "hate"),
        )
    ]
)


@pytest.mark.parametrize("few", [0, 30, 2000])
def test_what_is_found_is_what_a_look_at_all_finds(
    store: Store, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way is taken: ``few`` decides from when on tasks are sorted."""
    monkeypatch.setattr("moderator.store.query._FEW", few)
    told = fill(store)
    decided = dict.fromkeys(range(1, 40), "ann") | dict.fromkeys(range(40, 50), "bob")
    desk = ReviewDesk(store)
    for number, name in decided.items():
        desk.decide(number, Action.BLOCK, name, "x")
    queue = Queue(store)
    everything = queue.query(Filter(), limit=1000).tasks
    assert len(everything) == len(told)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(filters | single, st.integers(1, 40))
    def check(wanted: Filter, limit: int) -> None:
        fitting = [task for task in everything if fits(task, told[task.id], wanted, decided)]
        fitting.sort(key=lambda task: key_of(task, wanted))
        assert pages(queue, wanted, limit) == [task.id for task in fitting]

    check()


def test_pages_neither_repeat_nor_skip_what_was_there(store: Store) -> None:
    told = fill(store, 60)
    queue = Queue(store)
    wanted = Filter(language="zh")
    first = queue.query(wanted, limit=5)
    before = [task.id for task in queue.query(wanted, limit=100).tasks]
    fill(store, 60)  # the same again, while somebody turns pages
    ids = [task.id for task in first.tasks]
    cursor = first.cursor
    while cursor:
        page = queue.query(wanted, limit=7, cursor=cursor)
        ids += [task.id for task in page.tasks]
        cursor = page.cursor
    assert [number for number in ids if number <= len(told)] == before
    assert len(set(ids)) == len(ids)


def test_times_are_of_the_opening(store: Store) -> None:
    fill(store, 20)
    queue = Queue(store)
    now = datetime.now(UTC)
    assert not queue.query(Filter(since=now + timedelta(hours=1))).tasks
    assert (
        len(queue.query(Filter(until=now + timedelta(hours=1), since=now - timedelta(hours=1))).tasks) == 20
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Filter(least=0.5), "a range of scores is of a label: name one"),
        (Filter(order="score"), "the order by score is that of a label: name one"),
        (Filter(label="hate", most=1.5), "most: a score is from 0 to 1, got 1.5"),
        (Filter(label="hate", most=0.01), "most: scores below 0.05 are not kept to find by, got 0.01"),
        (Filter(words="!?"), "'!?' holds no word to look for"),
        (Filter(state="lost"), "unknown task state 'lost'"),
        (Filter(policy="c"), "several digests of a policy begin with 'c'"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(store: Store, wanted: Filter, said: str) -> None:
    fill(store, 20)
    with pytest.raises(QueueError) as refused:
        Queue(store).query(wanted)
    assert said in str(refused.value)


def test_a_cursor_is_that_of_its_search(store: Store) -> None:
    fill(store, 20)
    queue = Queue(store)
    cursor = queue.query(Filter(language="zh"), limit=2).cursor
    with pytest.raises(QueueError, match="the cursor belongs to another search"):
        queue.query(Filter(language="other"), cursor=cursor)
    for bad in ("", "x", "bnVsbA=="):
        with pytest.raises(QueueError, match="is not a cursor"):
            queue.query(Filter(), cursor=bad)


def test_words_are_kept_where_the_setting_says_so(database_url: str) -> None:
    with Store.open(database_url) as plain:
        fill(plain, 20)
        assert not Queue(plain).query(Filter(words="微信")).tasks
        assert Queue(plain).query(Filter(language="zh")).tasks


def test_words_are_forgotten(store: Store) -> None:
    fill(store, 20)
    queue = Queue(store)
    found = queue.query(Filter(words="微信")).tasks
    with store.writing() as connection:
        forget_words(connection, [found[0].id])  # as many items as tasks here, in the same order
    assert [task.id for task in queue.query(Filter(words="微信")).tasks] == [task.id for task in found[1:]]
    assert found[0].id in [task.id for task in queue.query(Filter(language="zh")).tasks]


def test_tasks_of_older_databases_get_what_they_are_found_by(database_url: str) -> None:
    def rows(opened: Store) -> tuple[set[Any], set[Any]]:
        with opened.reading() as connection:
            facets = connection.execute(select(FacetRow.facet, FacetRow.rank, FacetRow.task_id)).all()
            scores = connection.execute(select(ScoreRow.label, ScoreRow.score, ScoreRow.task_id)).all()
        kept = {tuple(row) for row in facets if not row.facet.startswith(("language=", "word="))}
        return kept, {tuple(row) for row in scores}

    with Store.open(database_url) as opened:
        fill(opened, 40)
        scan = opened.start_scan("C:\\posts\n" + "long " * 40, "cd" * 32, "ef" * 32, "moderator 0.1.0")
        opened.record(scan, [entry(0)])
        before = rows(opened)
    engine = make_engine(parse_url(database_url))
    migrate.downgrade(engine, "v0005")
    migrate.upgrade(engine)
    engine.dispose()
    with Store.open(database_url) as opened:
        assert rows(opened) == before
    assert len(before[0]) > 150


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_a_text_is_found_by_its_parts(before: str, middle: str, after: str) -> None:
    words = set(words_of(f"{before} {middle} {after}"))
    assert set(words_of(middle)) <= words
    whole = words_of(middle)
    assert set(words_asked(middle)) <= set(whole)
    assert len(set(whole)) == len(whole)


def test_chinese_is_found_by_characters_and_pairs() -> None:
    assert words_of("加微信 Now!") == ["加", "微", "信", "加微", "微信", "now"]
    assert words_asked("加微信 now") == ["加微", "微信", "now"]
    assert words_asked("微") == ["微"]
    assert len(words_of(" ".join(f"w{number}" for number in range(1000)))) == 400
