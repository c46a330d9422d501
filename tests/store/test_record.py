"""Batches: whole, numbered without gaps, sealed by the log, and read back as they were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from moderator.errors import StoreError
from moderator.store import Store
from moderator.store.audit_log import events
from moderator.store.canonical import canonical_json, parse_json
from moderator.store.merkle import Frontier
from moderator.store.seal import seals_of
from moderator.store.tables import AuditRow, ItemRow, ScanRow, TaskRow, VerdictRow
from moderator.store.verdicts import VERDICT_COLUMNS, VERDICT_FORM
from moderator.types import Action, Item, Verdict
from tests.store.samples import make_batch, make_verdict, start


def test_verdicts_come_back_as_they_were(store: Store) -> None:
    batch = make_batch(range(5), (Action.ALLOW, Action.REVIEW, Action.BLOCK))
    scan = start(store)
    store.record(scan, batch[:3])
    store.record(scan, batch[3:])
    assert list(store.verdicts(scan)) == [(position, verdict) for position, _, _, verdict, _ in batch]


def test_more_verdicts_than_a_page(store: Store) -> None:
    scan = start(store)
    store.record(scan, make_batch(range(2001)))
    assert [position for position, _ in store.verdicts(scan)] == list(range(2001))


def test_keys_and_events_are_dense(store: Store) -> None:
    first, second = start(store), start(store)
    for index in range(4):
        store.record(first, make_batch(range(index * 3, index * 3 + 3), (Action.REVIEW, Action.ALLOW)))
        store.record(second, make_batch(range(index * 2, index * 2 + 2)))
    store.finish_scan(first, "finished")
    with store.reading() as connection:
        for column, count in (
            (ScanRow.id, 2),
            (ItemRow.id, 20),
            (VerdictRow.id, 20),
            (TaskRow.id, 6),
            (AuditRow.seq, 11),
        ):
            assert list(connection.execute(select(column).order_by(column)).scalars()) == list(
                range(1, count + 1)
            )
        kinds = [event.kind for event in events(connection)]
    assert kinds == ["scan_started"] * 2 + ["verdicts"] * 8 + ["scan_finished"]


def test_the_log_seals_every_verdict_row(store: Store) -> None:
    scan = start(store)
    store.record(scan, make_batch(range(3), (Action.REVIEW,)))
    store.record(scan, make_batch(range(3, 10), (Action.ALLOW,)))
    columns = [getattr(VerdictRow, name) for name in (*VERDICT_COLUMNS, "leaf")]
    with store.reading() as connection:
        batches = [event for event in events(connection, after=1) if event.kind == "verdicts"]
        seals = [seal for event in batches for seal in seals_of(parse_json(event.payload))]
        for seal in seals:
            between = VerdictRow.id.between(seal.first, seal.last)
            rows = (
                connection.execute(select(*columns).where(between).order_by(VerdictRow.id)).mappings().all()
            )
            assert [row["leaf"] for row in rows] == [VERDICT_FORM.leaf(row) for row in rows]
            assert seal.root == Frontier(row["leaf"] for row in rows).root()
    assert [(seal.form, seal.first, seal.last) for seal in seals] == [
        ("moderator.verdict.v1", 1, 3),
        ("moderator.verdict.v1", 4, 10),
    ]
    assert [each.data["tasks"] for each in batches] == [[1, 3], None]


def test_the_log_holds_exact_bytes_and_columns_that_repeat_them(store: Store) -> None:
    store.finish_scan(start(store), "interrupted")
    with store.reading() as connection:
        for row in connection.execute(select(AuditRow.__table__)).mappings():
            said = parse_json(row["payload"])
            assert canonical_json(said) == row["payload"]
            assert (said["seq"], said["kind"], said["at"]) == (row["seq"], row["kind"], row["created_at"])


def test_review_always_opens_a_task_and_block_where_asked(store: Store) -> None:
    asked = {Action.ALLOW: False, Action.REVIEW: False, Action.BLOCK: True}
    batch = [
        (index, Item.of(text="x"), str(index), make_verdict(str(index), action), opens)
        for index, (action, opens) in enumerate([*asked.items(), (Action.BLOCK, False)])
    ]
    store.record(start(store), batch)
    with store.reading() as connection:
        assert list(connection.execute(select(TaskRow.verdict_id)).scalars()) == [2, 3]


def test_a_record_that_could_not_be_read_is_kept(store: Store) -> None:
    verdict = Verdict("a.jsonl:3", Action.REVIEW, {}, degraded=("a.jsonl:3: broken JSON",))
    scan = start(store)
    store.record(scan, [(0, None, "a.jsonl:3", verdict, False)])
    assert list(store.verdicts(scan)) == [(0, verdict)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_and_nothing_written(store: Store, number: float) -> None:
    scan = start(store)
    bad = Verdict("p1", Action.ALLOW, {"hate": number})
    with pytest.raises(StoreError, match=r"'p1'.*hate is"):
        store.record(scan, [*make_batch([0]), (1, None, "p1", bad, False)])
    assert list(store.verdicts(scan)) == []


def test_a_position_is_recorded_once(store: Store) -> None:
    scan = start(store)
    store.record(scan, make_batch([0, 1]))
    with pytest.raises(StoreError, match="position"):
        store.record(scan, make_batch([2, 1]))
    assert [position for position, _ in store.verdicts(scan)] == [0, 1]


def test_same_external_id_at_two_positions(store: Store) -> None:
    scan = start(store)
    store.record(scan, [(index, None, "same", make_verdict("same"), False) for index in range(2)])
    assert [verdict.item_id for _, verdict in store.verdicts(scan)] == ["same", "same"]


def test_a_scan_that_is_not_running_takes_no_more(store: Store) -> None:
    with pytest.raises(StoreError, match="no scan 7"):
        store.record(7, make_batch([0]))
    scan = start(store)
    store.finish_scan(scan, "finished")
    with pytest.raises(StoreError, match="already finished"):
        store.record(scan, make_batch([0]))
    with pytest.raises(StoreError, match="already finished"):
        store.finish_scan(scan, "failed")


def test_an_empty_batch_writes_nothing(store: Store) -> None:
    scan = start(store)
    store.record(scan, [])
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(AuditRow)).scalar() == 1


@pytest.mark.parametrize("table", ["verdicts", "decisions", "audit_log"])
@pytest.mark.parametrize("act", ["UPDATE {} SET created_at = 0", "DELETE FROM {}"])
def test_rows_are_never_edited(store: Store, table: str, act: str) -> None:
    from moderator.review import ReviewDesk

    store.record(start(store), make_batch([0], (Action.REVIEW,)))
    ReviewDesk(store).decide(1, Action.ALLOW, "ann", "fine")
    with pytest.raises(StoreError, match=f"rows of {table} are never edited"), store.writing() as connection:
        connection.execute(text(act.format(table)))


def test_bytes_in_files_are_not_copied_but_named(store: Store, tmp_path: Path) -> None:
    item = Item.of(id="x", text=["a", b"b", b"\xff"], image=[tmp_path / "cat.png", b"\x89PNG"])
    store.record(start(store), [(0, item, "x", make_verdict("x", Action.REVIEW), False)])
    with store.reading() as connection:
        parts = parse_json(connection.execute(select(ItemRow.parts)).scalar_one() or b"")
    assert [part["modality"] for part in parts] == ["text", "text", "text", "image", "image"]
    assert parts[0] == {"modality": "text", "digest": "ab" * 32, "text": "a", "given": "str"}
    assert parts[3]["path"] == str(tmp_path / "cat.png")
    assert parts[4] == {"modality": "image", "digest": "", "inline": "bytes", "size": 4}
