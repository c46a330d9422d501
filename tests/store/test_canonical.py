"""Byte forms: exact, injective, and whatever people write comes back as it was."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from moderator.review import ReviewDesk
from moderator.store import Queue, Store
from moderator.store.canonical import (
    canonical_json,
    escape_text,
    jsonable,
    parse_json,
    row_bytes,
    unescape_text,
)
from moderator.store.decisions import DECISION_COLUMNS, DECISION_FORM
from moderator.store.tables import Base, DecisionRow, VerdictRow
from moderator.store.verdicts import VERDICT_COLUMNS, VERDICT_FORM, part_text
from moderator.types import Action, Evidence, Item, RuleMatch, Verdict
from tests.store.samples import start

ANY_TEXT = st.text(st.characters(), max_size=30)  # NUL and lone surrogates included
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
# JSON reads a pair of surrogates as one character: in documents (not in content) they count as that
UNPAIRED = ANY_TEXT.filter(lambda text: parse_json(canonical_json(text)) == text)
VERDICTS = st.builds(
    Verdict,
    item_id=ANY_TEXT,
    action=st.sampled_from(Action),
    scores=st.dictionaries(UNPAIRED, st.floats(0, 1), max_size=3),
    signals=st.dictionaries(UNPAIRED, NUMBERS, max_size=3),
    matches=st.lists(st.builds(RuleMatch, UNPAIRED, st.sampled_from(Action), UNPAIRED), max_size=2).map(
        tuple
    ),
    degraded=st.lists(UNPAIRED, max_size=2).map(tuple),
    evidence=st.lists(
        st.builds(Evidence, UNPAIRED, st.integers(0, 9), st.lists(NUMBERS, max_size=4).map(tuple), UNPAIRED),
        max_size=2,
    ).map(tuple),
    coverage=st.dictionaries(UNPAIRED, st.floats(0, 1), max_size=2),
    content_digests=st.lists(UNPAIRED, max_size=2).map(tuple),
    policy_digest=ANY_TEXT,
    model_digest=ANY_TEXT,
    embedders=st.dictionaries(UNPAIRED, UNPAIRED, max_size=2),
    software=ANY_TEXT,
)
ON_A_DATABASE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(ANY_TEXT)
def test_escaped_text_is_safe_and_comes_back(text: str) -> None:
    escaped = escape_text(text)
    assert "\x00" not in escaped
    escaped.encode("utf-8")
    assert unescape_text(escaped) == text


@given(JSON)
def test_documents_are_canonical(value: Any) -> None:
    data = canonical_json(jsonable(value))
    assert data.isascii()
    assert b"\x00" not in data
    assert canonical_json(parse_json(data)) == data


def test_documents_hold_no_number_that_is_none() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"hate": math.nan})


def test_what_json_lacks_is_kept_as_text() -> None:
    day = datetime.date(2024, 2, 29)
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    given_ = {"n": math.nan, "i": -math.inf, "d": day, "b": b"\xff", 7: {1}, "big": 10**5000, "p": Path("a")}
    kept = jsonable(given_)
    assert kept["n"] == "nan"
    assert kept["i"] == "-inf"
    assert kept["d"] == "2024-02-29"
    assert kept["b"] == {"bytes": "ff"}
    assert kept["7"] == [1]
    assert kept["big"].startswith("0x")
    assert kept["p"] == "a"
    canonical_json(kept)
    canonical_json(jsonable(cyclic))


CELLS = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
)


@given(st.tuples(CELLS, CELLS), st.tuples(CELLS, CELLS))
def test_different_rows_have_different_bytes(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    names = ("a", "b")
    forms = [row_bytes("test", dict(zip(names, row, strict=True)), names) for row in (one, other)]
    same = [repr(cell) for cell in one] == [repr(cell) for cell in other]
    assert (forms[0] == forms[1]) is same


def test_the_boundary_between_columns_counts() -> None:
    names = ("a", "b")
    assert row_bytes("test", {"a": b"x\nb:b1=y", "b": b""}, names) != row_bytes(
        "test", {"a": b"x", "b": b"y"}, names
    )


@pytest.mark.parametrize(
    ("table", "columns"), [(VerdictRow, VERDICT_COLUMNS), (DecisionRow, DECISION_COLUMNS)]
)
def test_every_column_is_in_the_canonical_form(table: type[Base], columns: tuple[str, ...]) -> None:
    assert {*columns, "leaf"} >= set(table.__table__.columns.keys()) >= set(columns)


@ON_A_DATABASE
@given(st.data())
def test_verdicts_and_their_bytes_come_back(store: Store, data: st.DataObject) -> None:
    verdicts = data.draw(st.lists(VERDICTS, min_size=1, max_size=4))
    scan = start(store, data.draw(ANY_TEXT))
    store.record(scan, [(n, None, verdict.item_id, verdict, False) for n, verdict in enumerate(verdicts)])
    assert [verdict for _, verdict in store.verdicts(scan)] == verdicts
    columns = [getattr(VerdictRow, name) for name in VERDICT_COLUMNS]
    with store.reading() as connection:
        for row in connection.execute(select(*columns).where(VerdictRow.scan_id == scan)).mappings():
            assert VERDICT_FORM.row_bytes(row) == VERDICT_FORM.row_bytes(
                {name: row[name] for name in reversed(VERDICT_COLUMNS)}
            )
            for name in VERDICT_COLUMNS:
                value = row[name]
                more: Any = 1 if isinstance(value, int) else " " if isinstance(value, str) else b" "
                assert VERDICT_FORM.row_bytes({**row, name: value + more}) != VERDICT_FORM.row_bytes(row)


@ON_A_DATABASE
@given(text=ANY_TEXT, raw=st.binary(max_size=20), key=ANY_TEXT, value=JSON, name=ANY_TEXT)
def test_content_comes_back_exactly(
    store: Store, text: str, raw: bytes, key: str, value: Any, name: str
) -> None:
    item = Item.of(id=name, text=[text, raw], context={key: value})
    verdict = Verdict(name, Action.REVIEW, {}, degraded=("x",))
    store.record(start(store), [(0, item, name, verdict, False)])
    queue = Queue(store)
    newest = max(queue.list_tasks(limit=1000).tasks, key=lambda task: task.id)
    detail = queue.show(newest.id)
    assert newest.verdict.item_id == name
    assert [part_text(part) for part in detail.parts or ()] == [text, raw]
    assert detail.context == parse_json(canonical_json(jsonable({key: value})))


HOSTILE = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\ud83d\ude00",
    "\\u0000",
    "\u202eevil",
    "'; DROP TABLE x; --",
    "𝕳",
    "%s",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_decisions_keep_hostile_text(store: Store, text: str) -> None:
    store.record(start(store), [(0, None, text, Verdict(text, Action.REVIEW, {}, degraded=("x",)), False)])
    desk = ReviewDesk(store)
    first = desk.decide(1, Action.BLOCK, f"r{text}", f"because{text}", text, idempotency_key=text)
    detail = Queue(store).show(1)
    assert first.decision == detail.decisions[0]
    assert detail.decisions[0].reviewer == f"r{text}"
    assert detail.decisions[0].reason == f"because{text}"
    assert detail.decisions[0].policy_rule == text
    assert desk.decide(1, Action.BLOCK, f"r{text}", f"because{text}", text, idempotency_key=text) == first
    columns = [getattr(DecisionRow, name) for name in DECISION_COLUMNS]
    with store.reading() as connection:
        rows = connection.execute(select(*columns)).mappings().all()
    assert len(rows) == 1
    assert DECISION_FORM.row_bytes(rows[0]).startswith(b"moderator.decision.v1\nid:i1=1\n")
