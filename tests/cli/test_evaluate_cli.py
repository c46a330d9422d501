"""``moderator evaluate`` on labelled texts and media manifests."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner, Result

from moderator.cli.evaluate import evaluate
from moderator.errors import ModeratorError
from tests.media.files import encoded, quadrants
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model


def run(*arguments: object) -> Result:
    given = [str(each) for each in (*arguments, "--model", small_model(), "--device", "cpu")]
    return CliRunner().invoke(evaluate, given)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Spam of two sources, one row without a known label, one that cannot be scored; compressed."""
    rows = [
        {"dataset": source, "text": text, "labels": {"spam": int(text in HARMFUL["spam"])}, "lang": "en"}
        for source in ("mail", "forum")
        for text in (*HARMFUL["spam"], *BENIGN[:8])
    ]
    rows.append({"dataset": "mail", "text": "of no known label", "labels": {"rudeness": 1}, "lang": "en"})
    rows.append({"dataset": "mail", "text": " ", "labels": {"spam": 1}, "lang": "en"})
    path = tmp_path / "texts.jsonl.zst"
    path.write_bytes(zstandard.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def test_figures_per_source_and_over_all(texts: Path) -> None:
    result = run(texts, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["id"] for row in rows] == ["forum/spam", "mail/spam", "all sources/spam"]
    assert [row["rows"] for row in rows] == [12, 12, 24]
    assert {row["auroc"] for row in rows} == {1.0}
    assert "1 rows could not be scored and are left out" in result.stderr
    table = run(texts, "--source", "forum", "--threshold", "0.999")
    assert "forum" in table.stdout
    assert "mail" not in table.stdout
    assert "1.000" in table.stdout


def test_what_each_embedder_brings(texts: Path, tmp_path: Path) -> None:
    rows = json.loads(run(texts, "--show", "ablation", "--json").stdout)
    assert [row["id"] for row in rows] == ["text-minilm/spam", "text-lexical/spam"]
    assert {row["auroc"] for row in rows} == {1.0} and {row["rows"] for row in rows} == {24}
    # the small model reads spam in the n-grams alone
    assert rows[1]["auroc_without"] < 1.0
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(quadrants(), "PNG"))
    manifest = tmp_path / "media.jsonl"
    lines = [{"path": "picture.png", "dataset": "d", "labels": {"violence": at}} for at in (0, 1)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    done = run(manifest, "--modality", "image", "--show", "ablation", "--json")
    assert {"image-timm/violence", "ocr/violence"} >= {row["id"] for row in json.loads(done.stdout)}


def test_limit_split_and_nothing_left(texts: Path) -> None:
    assert [row["rows"] for row in json.loads(run(texts, "--limit", "5", "--json").stdout)][-1] <= 10
    whole, part = (
        json.loads(run(texts, "--split", split, "--json").stdout)[-1]["rows"] for split in ("all", "train")
    )
    assert part <= whole == 24
    assert run(texts, "--source", "nowhere").stdout == "no labelled rows\n"


def test_pictures_of_a_manifest(tmp_path: Path) -> None:
    lines = []
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(encoded(quadrants(20 + number), "PNG"))
        row = {"path": f"{number}.png", "dataset": "squares", "labels": {"violence": number % 2}}
        lines.append(json.dumps(row) + "\n")
    (tmp_path / "media.jsonl").write_text("".join(lines))
    rows = json.loads(run(tmp_path / "media.jsonl", "--modality", "image", "--limit", "4", "--json").stdout)
    assert [(row["id"], row["rows"], row["positives"]) for row in rows] == [("squares/violence", 4, 2)]
    assert 0 <= rows[0]["auroc"] <= 1


def test_what_is_no_labelled_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "x"}\n')
    result = run(tmp_path / "bad.jsonl")
    assert isinstance(result.exception, ModeratorError)
    assert str(result.exception).startswith(f"{tmp_path}/bad.jsonl:1: not a labelled text: ")
    assert run(tmp_path / "gone.jsonl").exit_code == 2


def test_false_alarms_and_evasions(tmp_path: Path) -> None:
    harmful = [f"{text} {number}" for number in range(8) for text in HARMFUL["toxicity"]]
    harmless = [f"{text}, said the old woman {number}" for number in range(3) for text in BENIGN[:6]]
    rows = [
        {"dataset": "forum", "text": text, "labels": {"toxicity": int(text in harmful)}, "lang": "en"}
        for text in (*harmful, *harmless)
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    alarms = json.loads(run(path, "--show", "false-alarms", "--json").stdout)
    assert {"en/woman"} <= {row["id"] for row in alarms}
    assert all(0 <= row["rate"] <= 1 and row["rows"] >= 10 for row in alarms)
    evasions = json.loads(run(path, "--show", "evasions", "--json").stdout)
    assert {row["evasion"] for row in evasions} >= {"leetspeak", "spacing", "zero_width", "typos"}
    assert all(
        row["lost"] == pytest.approx(100 * (row["clean"] - row["evaded"]), abs=0.1) for row in evasions
    )
    # normalisation undoes what cannot be seen
    assert [row["lost"] for row in evasions if row["evasion"] == "zero_width"] == [0.0]


def test_the_report_is_one_page_and_hides_what_people_wrote(texts: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run(texts, "--report", page, "--threshold", "0.9999")
    assert result.exit_code == 0 and f"report in {page}" in result.stderr
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    assert "<script" not in html and "http" not in html
    assert html.count("<svg") == 2  # one label: precision over recall, reliability
    assert "spam: missed" in html
    for text in HARMFUL["spam"]:
        if text in html:
            assert f'<span class="hidden" tabindex="0">{text}</span>' in html
    parser = HTMLParser()
    parser.feed(html)
    parser.close()


def test_evasions_are_for_texts(texts: Path) -> None:
    assert run(texts, "--modality", "image", "--show", "evasions").exit_code == 2


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "hello", "labels": {"spam": 1}}\n')
    failure = run(file).exception
    assert isinstance(failure, ModeratorError)
    assert str(failure) == f"{file}:1: not a labelled text: no key 'dataset'"
