"""Verdict files appear whole, hold valid JSON for any string, and keep what was done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moderator.errors import SourceError
from moderator.sources import VerdictWriter, verdict_line
from moderator.types import Action, Evidence, RuleMatch, Verdict

VERDICT = Verdict(
    "id \ud800 ü\n",
    Action.REVIEW,
    {"hate": 0.123456789, "spam": 1.0},
    signals={"slurs": 0.5, "odd": float("nan")},
    matches=(RuleMatch("hate-review", Action.REVIEW, "why"),),
    degraded=("image[0]: not an image",),
    evidence=(Evidence("lexicon", 1, (3.0, 7.0), "word"),),
    coverage={"text[0]": 1 / 3},
    policy_digest="p",
    model_digest="m",
)


def test_a_line_holds_everything() -> None:
    line = verdict_line(VERDICT)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "id": "id \ud800 ü\n",
        "action": "review",
        "scores": {"hate": 0.123457, "spam": 1.0},
        "signals": {"slurs": 0.5, "odd": None},
        "matches": [{"rule": "hate-review", "action": "review", "why": "why"}],
        "degraded": ["image[0]: not an image"],
        "evidence": [{"source": "lexicon", "part": 1, "span": [3.0, 7.0], "detail": "word"}],
        "coverage": {"text[0]": 0.333333},
        "model_digest": "m",
        "policy_digest": "p",
    }


def test_the_file_appears_at_the_end_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with VerdictWriter(path) as writer:
        writer.write(VERDICT)
        writer.write(VERDICT)
        assert path.read_text() == "old"
    assert writer.count == 2
    assert len(path.read_text().splitlines()) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_scan_still_writes_a_file(tmp_path: Path) -> None:
    with VerdictWriter(tmp_path / "out.jsonl"):
        pass
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_what_was_done(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(error), VerdictWriter(path) as writer:
        writer.write(VERDICT)
        raise error
    assert len(path.read_text().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_the_first_verdict_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError), VerdictWriter(path):
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with VerdictWriter("-") as writer:
        writer.write(VERDICT)
    assert json.loads(capsys.readouterr().out)["action"] == "review"


def test_devices_and_links_stay_what_they_are(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "real.jsonl"
    link.symlink_to(target)
    for place in ("/dev/null", link):
        with VerdictWriter(place) as writer:
            writer.write(VERDICT)
    assert Path("/dev/null").is_char_device()
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 1


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"), VerdictWriter(tmp_path):
        pass
    with pytest.raises(SourceError, match="cannot be written"), VerdictWriter(tmp_path / "no" / "out"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_is_said() -> None:
    with pytest.raises(SourceError, match="No space"), VerdictWriter("/dev/full") as writer:
        writer.write(VERDICT)
