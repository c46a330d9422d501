"""CSV and Parquet: the same columns, the same records, damage contained to its row."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moderator.errors import SourceError
from moderator.settings import Limits
from moderator.sources import Record, open_sources
from moderator.types import Item, Modality


def item(record: Record) -> Item:
    assert record.item is not None, record.problem
    return record.item


def csv_records(tmp_path: Path, data: bytes, limits: Limits | None = None) -> list[Record]:
    path = tmp_path / "items.csv"
    path.write_bytes(data)
    return list(open_sources([path], limits))


def parquet(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_csv_columns(tmp_path: Path) -> None:
    first, second, third = csv_records(
        tmp_path,
        b"\xef\xbb\xbfid,text,image,context.surface,note\r\n"
        b'1,"hello, ""you""\r\nthere",p.png,kids,x\r\n'
        b"\r\n"
        b",second,,,\r\n"
        b"3,,,,\r\n",
    )
    assert first.id == "1"
    assert dict(item(first).context) == {"surface": "kids"}
    assert [part.value for part in item(first).parts] == ['hello, "you"\r\nthere', tmp_path / "p.png"]
    assert first.locator == f"{tmp_path}/items.csv:2"
    assert second.id == second.locator == f"{tmp_path}/items.csv:5"
    assert [part.modality for part in item(second).parts] == [Modality.TEXT]
    assert item(second).context == {}
    assert item(third).parts == ()


def test_csv_damage_stays_in_its_row(tmp_path: Path) -> None:
    found = csv_records(
        tmp_path,
        b"id,text\n1,good\n2,caf\xe9\n3,too,many\n4\n5," + b"x" * 500 + b"\n6,nul \x00 here\n7,good\n",
        Limits(max_bytes=200),
    )
    assert [record.id for record in found if record.item] == ["1", "6", "7"]
    problems = [record.problem for record in found if record.problem]
    assert [words in problem for words, problem in zip(
        ("not UTF-8", "3 cells", "1 cells", "max_bytes"), problems, strict=True
    )] == [True] * 4  # fmt: skip
    assert [record.position for record in found] == list(range(7))
    assert [record.locator.rsplit(":", 1)[1] for record in found] == ["2", "3", "4", "5", "6", "7", "8"]


def test_long_csv_cells_are_read(tmp_path: Path) -> None:
    (record,) = csv_records(tmp_path, b"text\n" + b"word " * 60_000 + b"\n")
    assert len(item(record).parts[0].value) == 300_000


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"name,body\na,b\n", "no column is named text"), (b"text,text\na,b\n", "occurs twice")],
)
def test_csv_headers_that_do_not_fit(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        csv_records(tmp_path, data)


def test_parquet_columns(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        {
            "id": pa.array([1, None, 3]),
            "text": pa.array([["a", "b"], ["c"], None]),
            "image": pa.array([{"bytes": b"xyz", "path": "p"}, {"bytes": None, "path": "p.png"}, None]),
            "audio": pa.array([b"sound", None, None]),
            "context.day": pa.array([datetime.date(2024, 1, 2), None, None]),
            "context": pa.array([{"surface": "kids"}, None, None]),
            "embedding": pa.array([[0.5], [0.5], [0.5]]),
        },
    )
    sources = open_sources([path])
    assert sources.total == 3
    first, second, third = sources
    assert first.id == "1"
    assert dict(item(first).context) == {"surface": "kids", "day": "2024-01-02"}
    assert [part.value for part in item(first).parts] == ["a", "b", b"xyz", b"sound"]
    assert second.id == second.locator == f"{path}:2"
    assert [part.value for part in item(second).parts] == ["c", tmp_path / "p.png"]
    assert item(third).parts == ()


def test_parquet_text_that_is_not_utf8_spoils_only_its_row(tmp_path: Path) -> None:
    strings = pa.array([b"good", b"caf\xe9", b"good"], pa.binary()).view(pa.string())
    found = list(open_sources([parquet(tmp_path, {"text": strings})]))
    assert [record.problem for record in found] == ["", "text: not UTF-8", ""]


def test_parquet_wrong_types(tmp_path: Path) -> None:
    found = list(open_sources([parquet(tmp_path, {"text": [1, 2], "id": [0.5, 1.5]})]))
    assert [record.item for record in found] == [None, None]


def test_many_rows_stream_in_order(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"text": [str(number) for number in range(2000)]}, row_group_size=300)
    found = list(open_sources([path]))
    assert [item(record).parts[0].value for record in found] == [str(number) for number in range(2000)]
    assert [record.position for record in found] == list(range(2000))


def test_a_damaged_parquet_ends_in_one_record_that_says_so(tmp_path: Path) -> None:
    text = [f"row {number} " * 20 for number in range(1000)]
    path = parquet(tmp_path, {"text": text}, row_group_size=256, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(data)
    found = list(open_sources([path]))
    assert found[0].item is not None
    assert "damaged" in found[-1].problem
    assert sum(bool(record.problem) for record in found) == 1


def test_no_parquet_at_all(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        open_sources([path])


def test_misspelt_columns_send_the_rows_that_use_them_to_review(tmp_path: Path) -> None:
    rows = {
        "text": ["a", "b", "c", "d"],
        "Images": ["p.png", "", "", ""],
        "Context.surface": ["", "", "kids", ""],
        "content": ["x", "x", "x", "x"],
    }
    lines = [",".join(rows), *(",".join(cells) for cells in zip(*rows.values(), strict=True))]
    for found in (
        csv_records(tmp_path, "\n".join(lines).encode()),
        list(open_sources([parquet(tmp_path, rows)])),
    ):
        assert [record.problem for record in found] == [
            "unknown key 'Images'; did you mean 'image'?",
            "",
            "unknown key 'Context'; did you mean 'context'?",
            "",
        ]
