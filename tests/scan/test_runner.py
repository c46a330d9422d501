"""The batch runner: stored before written, whatever stops it, and counted for the summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from moderator.errors import SourceError, StoreError
from moderator.scan.runner import Summary, run_scan
from moderator.sources import Record, VerdictWriter, open_sources
from moderator.store import Store
from moderator.types import Action, Content, Item, Verdict
from tests.pipeline.parts import embedder_class, honest, moderator


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store.open(database_url) as opened:
        yield opened


def write(folder: Path, count: int) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{n}", "text": f"words {n}"}) + "\n" for n in range(count)))
    return path


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def stored(store: Store, scan: int = 1) -> list[str]:
    return [verdict.item_id for _, verdict in store.verdicts(scan)]


def state(store: Store, scan: int = 1) -> str:
    with store.reading() as connection:
        return str(connection.execute(text(f"SELECT state FROM scans WHERE id = {scan}")).scalar_one())  # noqa: S608


def audited(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one())


def test_every_batch_is_stored_written_and_told(store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def watch(summary: Summary, batch: Sequence[tuple[Record, Verdict]]) -> None:
        told.append((summary.items, len(batch)))
        assert len(stored(store)) == summary.items

    made = moderator(settings={"batch_size": 4})
    with VerdictWriter(tmp_path / "out.jsonl") as writer:
        summary = run_scan(made, open_sources([write(tmp_path, 10)]), store, writer=writer, watch=watch)
    assert told == [(4, 4), (8, 4), (10, 2)]
    assert summary.items == 10
    assert summary.actions == {"allow": 10}
    assert ids(tmp_path / "out.jsonl") == stored(store) == [f"p{n}" for n in range(10)]
    assert state(store) == "finished"
    assert audited(store) == 5  # started, three batches, finished


def test_stopping_keeps_the_batches_that_were_done(store: Store, tmp_path: Path) -> None:
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return len(calls) == 2

    made = moderator(settings={"batch_size": 3})
    with VerdictWriter(tmp_path / "out.jsonl") as writer:
        summary = run_scan(made, open_sources([write(tmp_path, 20)]), store, writer=writer, stop=stop)
    assert summary.interrupted
    assert summary.items == 6
    assert ids(tmp_path / "out.jsonl") == stored(store) == [f"p{n}" for n in range(6)]
    assert state(store) == "interrupted"


def test_ctrl_c_while_judging_drops_the_batch_in_hand(store: Store, tmp_path: Path) -> None:
    def embed(self: Any, contents: Sequence[Content]) -> list[Any]:
        if any(content.data == "words 7" for content in contents):
            raise KeyboardInterrupt
        return honest(self, contents)

    made = moderator([embedder_class(embed=embed)], settings={"batch_size": 3})
    with VerdictWriter(tmp_path / "out.jsonl") as writer:
        summary = run_scan(made, open_sources([write(tmp_path, 20)]), store, writer=writer)
    assert summary.interrupted
    assert ids(tmp_path / "out.jsonl") == stored(store) == [f"p{n}" for n in range(6)]


def test_a_database_that_goes_away_ends_the_scan_with_its_lines_stored(store: Store, tmp_path: Path) -> None:
    def watch(summary: Summary, batch: Sequence[tuple[Record, Verdict]]) -> None:
        if summary.items == 6:
            with store.writing() as connection:
                connection.execute(text("ALTER TABLE verdicts RENAME TO taken_away"))

    made = moderator(settings={"batch_size": 3})
    with pytest.raises(StoreError), VerdictWriter(tmp_path / "out.jsonl") as writer:
        run_scan(made, open_sources([write(tmp_path, 20)]), store, writer=writer, watch=watch)
    with store.writing() as connection:
        connection.execute(text("ALTER TABLE taken_away RENAME TO verdicts"))
    assert ids(tmp_path / "out.jsonl") == stored(store) == [f"p{n}" for n in range(6)]
    assert state(store) == "failed"


def test_an_input_that_goes_away_ends_the_scan(store: Store, tmp_path: Path) -> None:
    sources = open_sources([write(tmp_path, 3), tmp_path / "in.jsonl"])
    (tmp_path / "in.jsonl").unlink()
    with pytest.raises(SourceError, match=r"in\.jsonl: cannot be read: No such file or directory"):
        run_scan(moderator(), sources, store)
    assert state(store) == "failed"


def test_an_empty_input_is_a_finished_scan(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n \n")
    summary = run_scan(moderator(), open_sources([tmp_path / "in.jsonl"]), store)
    assert (summary.items, summary.rate, summary.interrupted) == (0, 0.0, False)
    assert state(store) == "finished"


def judged(reason: str, item: Item | None = None) -> tuple[Record, Verdict]:
    verdict = Verdict("x", Action.REVIEW, {"hate": 0.6, "spam": 0.4}, degraded=(reason,))
    return Record(0, "in:1", "x", item), verdict


@pytest.mark.parametrize(
    ("reason", "item", "kind"),
    [
        ("no parts", None, "no parts"),
        ("image[12]: empty: no bytes", None, "image: empty: no bytes"),
        ("image[0]: a/b.png: no such file", Item.of(image="a/b.png"), "image: no such file"),
        (
            "record cannot be read: broken JSON: x (character 7)",
            None,
            "record cannot be read: broken JSON: x",
        ),
        ("text[3]: words: failed: ValueError: odd", None, "text: words: failed: ValueError: odd"),
    ],
)
def test_reasons_are_counted_by_kind(reason: str, item: Item | None, kind: str) -> None:
    summary = Summary()
    summary.add(*judged(reason, item))
    summary.add(*judged(reason, item))
    assert summary.degraded == {kind: 2}
    assert summary.labels == {"hate": {"review": 2}}


def test_content_cannot_fill_the_summary_with_reasons_of_its_own() -> None:
    summary = Summary()
    for number in range(1000):
        summary.add(*judged(f"text[0]: words: failed: ValueError: {number}"))
    assert len(summary.degraded) == 201
    assert summary.degraded["other reasons"] == 800
    assert summary.degraded.total() == 1000
