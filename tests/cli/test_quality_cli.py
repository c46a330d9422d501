"""Golden tasks, agreement, strikes, reporters and exposure, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from moderator.cli.queue import queue
from moderator.errors import QueueError
from moderator.store import Store
from moderator.types import Action, Item
from tests.store.samples import make_verdict, start

EVIL = "evil\u202e\x1b[31m"


@pytest.fixture
def url(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Eight tasks, on posts of two authors, some reported, tasks 1 and 2 graphic; and settings of its own."""
    settings = tmp_path / "moderator.toml"
    settings.write_text("[review]\ngraphic_per_shift = 2\nstrike_days = 30\n")
    monkeypatch.setenv("MODERATOR_CONFIG", str(settings))
    contexts: list[dict[str, Any]] = [
        {"author": "eve"},
        {"author": "eve", "reporter": "mal"},
        {"author": "eve", "reporter": ["mal", "bo"]},
        {"author": EVIL, "reporter": "scan", "reporter_bot": True},
        {"author": EVIL, "reporter": "scan", "reporter_bot": "true"},
        {"reporter": "scan"},
        {"text": '"reporter":"nobody"'},
        {"reporter": ["mal", "mal", "", None]},
    ]
    with Store.open(database_url) as store:
        batch = []
        for number, context in enumerate(contexts):
            verdict = make_verdict("p", Action.REVIEW, 0.9 - number / 10)
            if number < 2:
                verdict.scores["violence"] = 0.7  # type: ignore[index]
            batch.append((number, Item.of(text="x", context=context), f"p{number}", verdict, True))
        store.record(start(store), batch)
    return database_url


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(queue, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def decide(url: str, task: int, action: str, name: str = "ann") -> None:
    run("decide", str(task), "--action", action, "--reviewer", name, "--reason", "x", "--db", url)


def test_strikes(url: str) -> None:
    assert run("strikes", "--db", url).stdout == "no strikes\n"
    for task in (3, 4, 5):
        decide(url, task, "block")
    rows = as_json("strikes", "--db", url)
    assert [(row["id"], row["strikes"], row["tasks"]) for row in rows] == [(EVIL, 2, [4, 5]), ("eve", 1, [3])]
    assert [row["id"] for row in as_json("strikes", "--author", "eve", "--db", url)] == ["eve"]
    assert "\x1b" not in run("strikes", "--db", url).stdout
    shown = as_json("show", "1", "--db", url)
    assert [(each["task"], each["policy_rule"]) for each in shown["strikes"]] == [(3, "hate-review")]
    assert "strikes against the author" in run("show", "1", "--db", url).stdout
    assert as_json("show", "3", "--db", url)["strikes"] == []


def test_a_blind_second_review_shows_other_strikes_only(url: str) -> None:
    decide(url, 2, "block")
    decide(url, 3, "block")
    run("second-review", "3", "--reviewer", "sue", "--reason", "x", "--db", url)
    shown = as_json("show", "3", "--db", url)
    assert (shown["blind"], [each["task"] for each in shown["strikes"]]) == (True, [2])


def test_reporters(url: str) -> None:
    for task, action in ((2, "block"), (3, "allow"), (4, "block")):
        decide(url, task, action)
    rows = as_json("reporters", "--db", url)
    assert [(row["id"], row["bot"], row["reports"], row["blocked"], row["allowed"]) for row in rows] == [
        ("mal", False, 3, 1, 1),
        ("bo", False, 1, 0, 1),
        ("scan", False, 1, 0, 0),
        ("scan", True, 2, 1, 0),
    ]
    assert [row["accuracy"] for row in rows] == [0.5, 0.0, None, 1.0]
    assert "mal" in run("reporters", "--db", url).stdout
    assert as_json("reporters", "--since", "2100-01-01", "--db", url) == []


def test_agreement(url: str) -> None:
    assert "nothing to measure" in run("agreement", "--db", url).stdout
    for task, action in ((5, "block"), (6, "allow")):
        decide(url, task, "block")
        run("second-review", str(task), "--reviewer", "sue", "--reason", "x", "--db", url)
        decide(url, task, action, "bob")
    rows = {row["id"]: row for row in as_json("agreement", "--db", url)}
    assert set(rows) == {
        "agreement.action", "agreement.action.ann", "agreement.action.bob", "agreement.action.ann.bob",
    }  # fmt: skip
    pair = rows["agreement.action.ann.bob"]
    assert (pair["count"], pair["hits"], pair["value"]) == (2, 1, 0.0)
    assert as_json("agreement", "--since", "2100-01-01", "--db", url) == []


def test_golden(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(url, 8, "block")
    made = as_json("golden", "add", "8", "--reviewer", "lea", "--reason", "clear", "--db", url)
    assert [(row["id"], row["action"], row["labels"]) for row in made] == [(8, "block", {})]
    run(
        "golden", "add", "8", "--action", "allow", "--label", "hate=no", "--reviewer", "lea",
        "--reason", EVIL, "--db", url,
    )  # fmt: skip
    (row,) = as_json("golden", "list", "--reviewer", "lea", "--db", url)
    assert (row["action"], row["labels"]) == ("allow", {"hate": False})
    assert "\x1b" not in run("golden", "list", "--reviewer", "lea", "--db", url).stdout
    monkeypatch.setenv("MODERATOR_REVIEW_GOLDEN_SHARE", "1")
    with pytest.raises(QueueError, match="is open; decide it"):
        run("golden", "add", "1", "--action", "allow", "--reviewer", "lea", "--reason", "x", "--db", url)
    assert run("golden", "add", "8", "--label", "hate", "--reviewer", "l", "--reason", "x").exit_code == 2
    run("golden", "add", "8", "--action", "block", "--reviewer", "lea", "--reason", "x", "--db", url)
    (claim,) = as_json("claim", "--reviewer", "bob", "--db", url)
    assert claim["id"] > 8
    decide_it = ("decide", str(claim["id"]), "--action", "block", "--token", "1", "--reviewer", "bob")
    assert run(*decide_it, "--reason", "x", "--db", url).stdout == (
        f"task {claim['id']}: block by bob, overriding review\n"
    )
    rows = {row["id"]: row for row in as_json("agreement", "--db", url)}
    assert (rows["accuracy.action.bob"]["hits"], rows["accuracy.action.bob"]["count"]) == (1, 1)
    stats = {row["id"]: row["count"] for row in as_json("stats", "--db", url)}
    assert stats["reviewers.ann"] == 1
    assert "reviewers.bob" not in stats
    run("golden", "withdraw", "8", "--reviewer", "lea", "--reason", "x", "--db", url)
    assert as_json("golden", "list", "--reviewer", "lea", "--db", url) == []


def test_exposure(url: str) -> None:
    claimed = as_json("claim", "--count", "3", "--reviewer", "ann", "--db", url)
    assert [row["id"] for row in claimed] == [1, 2, 3]
    stats = {row["id"]: row["count"] for row in as_json("stats", "--db", url)}
    assert stats["graphic.ann"] == 2
    for task in (1, 2):
        run("release", str(task), "--token", "1", "--reviewer", "ann", "--db", url)
    as_json("claim", "--count", "9", "--reviewer", "bob", "--db", url)
    run("release", "1", "--token", "2", "--reviewer", "bob", "--db", url)
    with pytest.raises(
        QueueError, match=r"only graphic tasks are waiting: ann has claimed 2 graphic tasks in"
    ):
        run("claim", "--reviewer", "ann", "--db", url)
