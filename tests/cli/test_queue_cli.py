"""``moderator queue`` and ``moderator db``, as people and scripts use them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from moderator.cli.db import db
from moderator.cli.queue import queue
from moderator.cli.terminal import visible
from moderator.errors import QueueError, SettingsError
from moderator.store import Entry, Store
from moderator.types import Action, Evidence, Item, RuleMatch, Verdict

EVIL = "evil\u202e\x1b[31m\ud800"


@pytest.fixture
def filled(database_url: str) -> str:
    """A database with three tasks: plain, hostile, and a record that could not be read."""

    def entry(position: int, item: Item | None, name: str, verdict: Verdict) -> Entry:
        return (position, item, name, verdict, verdict.action is Action.BLOCK)

    def verdict(name: str, action: Action, scores: dict[str, float], *degraded: str) -> Verdict:
        return Verdict(
            name,
            action,
            scores,
            matches=() if degraded else (RuleMatch("hate-review", action, "Hateful content"),),
            degraded=degraded,
            evidence=(Evidence("lexicon", 0, (0.0, 4.0), "slur"),),
            content_digests=("ab" * 32,),
        )

    plain = Item.of(text="fine", context={"surface": "kids"})
    hostile = Item.of(text=f"x{EVIL}\n\x00", image=b"\x89PNG")
    with Store.open(database_url) as store:
        scan = store.start_scan("inbox", "cd", "ef", "moderator 0.1.0")
        batch = [
            entry(0, plain, "p0", verdict("p0", Action.REVIEW, {"hate": 0.6})),
            entry(1, hostile, EVIL, verdict(EVIL, Action.BLOCK, {"hate": 0.9})),
            entry(2, None, "a.jsonl:3", verdict("a.jsonl:3", Action.REVIEW, {}, "broken JSON")),
        ]
        store.record(scan, batch)
    return database_url


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(queue, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_list(filled: str) -> None:
    rows = as_json("list", "--db", filled)
    assert [row["id"] for row in rows] == [2, 1, 3]
    assert rows[0]["item"] == EVIL
    assert rows[1]["top_label"] == "hate"
    assert rows[2]["reasons"] == ["not fully judged: broken JSON"]
    table = run("list", "--db", filled).stdout
    assert "hate 0.90" in table
    assert "Hateful" in table
    assert "\x1b" not in table


def test_list_filters_and_continues(filled: str) -> None:
    first = run("list", "--db", filled, "--limit", "2", "--json")
    cursor = first.stderr.split()[-1]
    assert [row["id"] for row in as_json("list", "--db", filled, "--limit", "2", "--cursor", cursor)] == [3]
    assert [row["id"] for row in as_json("list", "--db", filled, "--action", "block")] == [2]
    assert as_json("list", "--db", filled, "--state", "decided") == []
    assert run("list", "--db", filled, "--state", "decided").stdout == "no tasks\n"


def test_show_is_safe_to_print(filled: str) -> None:
    shown = run("show", "2", "--db", filled).stdout
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"text: xevil\u202e\x1b[31m\ud800\n\x00" in shown
    assert "image: handed in as bytes, not kept" in shown
    assert "hate         0.900 ###########################" in shown
    assert "hate-review: Hateful content" in shown


def test_show_as_json_is_complete(filled: str) -> None:
    detail = as_json("show", "1", "--db", filled)
    assert detail["context"] == {"surface": "kids"}
    assert detail["parts"][0]["text"] == "fine"
    assert detail["scores"] == {"hate": 0.6}
    assert detail["matches"] == [{"rule": "hate-review", "action": "review", "why": "Hateful content"}]
    assert detail["evidence"] == [{"source": "lexicon", "part": 0, "span": [0.0, 4.0], "detail": "slur"}]


def test_show_a_record_that_could_not_be_read(filled: str) -> None:
    shown = run("show", "3", "--db", filled).stdout
    assert "(the record could not be read)" in shown
    assert "not fully judged: broken JSON" in shown


def test_work_the_queue_to_its_end(filled: str) -> None:
    for expected, action in ((2, "allow"), (1, "block"), (3, "allow")):
        assert as_json("next", "--db", filled)["id"] == expected
        who = ("--reviewer", "ann", "--reason", "seen", "--policy-rule", "r1")
        done = run("decide", str(expected), "--action", action, *who, "--db", filled)
        assert f"task {expected}: {action} by ann" in done.stdout
    assert run("next", "--db", filled).stdout == "the queue is empty\n"
    assert as_json("next", "--db", filled) is None
    assert "allow by ann: seen [r1]" in run("show", "3", "--db", filled).stdout
    counts = {row["id"]: row["count"] for row in as_json("stats", "--db", filled)}
    assert counts["reviewers.ann"] == 3
    assert counts["overrides"] == 3
    assert counts["decisions.block.allow"] == 1
    assert "reviewers.ann" in run("stats", "--db", filled).stdout


def test_decide_refuses(filled: str) -> None:
    with pytest.raises(QueueError, match="needs a reason"):
        run("decide", "1", "--action", "allow", "--reviewer", "ann", "--reason", " ", "--db", filled)
    with pytest.raises(QueueError, match="no task 9"):
        run("decide", "9", "--action", "allow", "--reviewer", "ann", "--reason", "x", "--db", filled)
    assert run("decide", "1", "--action", "review", "--reviewer", "a", "--reason", "x").exit_code == 2
    assert run("decide", "1", "--action", "allow", "--reason", "x").exit_code == 2


def test_claim_and_work_under_the_token(filled: str) -> None:
    claims = as_json("claim", "--reviewer", "ann", "--count", "2", "--db", filled)
    assert [(claim["id"], claim["token"], claim["reviewer"]) for claim in claims] == [
        (2, 1, "ann"),
        (1, 1, "ann"),
    ]
    ann = ("--reviewer", "ann", "--token", "1", "--db", filled)
    renewed = as_json("renew", "2", *ann, "--lease", "3600")[0]
    assert renewed["until"] > claims[0]["until"]
    assert "claimed by ann until" in run("show", "2", "--db", filled).stdout
    assert [row["id"] for row in as_json("list", "--db", filled)] == [3]
    assert [row["reviewer"] for row in as_json("list", "--state", "claimed", "--db", filled)] == [
        "ann",
        "ann",
    ]
    decided = as_json("decide", "2", "--action", "block", "--reason", "clear", "--label", "hate=yes", *ann)
    assert (decided["id"], decided["act"], decided["state"]) == (2, "decide", "decided")
    assert decided["decision"]["labels"] == {"hate": True}
    assert decided["decision"]["policy_rule"] == "hate-review"
    assert run("skip", "1", "--reason", "tired", *ann).stdout == "task 1: skip by ann, now queued\n"
    assert as_json("next", "--reviewer", "ann", "--db", filled)["id"] == 3
    assert run("release", "3", *ann).stdout == "task 3: release by ann, now queued\n"
    assert run("claim", "1", "--reviewer", "bob", "--db", filled).stdout.split()[4:7] == ["1", "2", "bob"]
    done = run("escalate", "1", "--reviewer", "bob", "--token", "2", "--reason", "law", "--db", filled)
    assert done.stdout == "task 1: escalate by bob, now escalated\n"
    assert run("claim", "--reviewer", "eve", "--count", "9", "--db", filled).exit_code == 0
    assert run("claim", "--reviewer", "eve", "--db", filled).stdout == "no task is waiting\n"


def test_appeal_and_what_follows(filled: str) -> None:
    def act(name: str, task: int, *more: str) -> Any:
        return as_json(name, str(task), "--reason", "why", "--db", filled, *more)

    first = act("decide", 2, "--action", "block", "--reviewer", "ann", "--key", "k")
    assert act("decide", 2, "--action", "block", "--reviewer", "ann", "--key", "k") == first
    assert act("appeal", 2, "--by", "an author")["state"] == "appealed"
    assert "by an author: why (unanswered)" in run("show", "2", "--db", filled).stdout
    answered = act("reverse", 2, "--reviewer", "bob", "--policy-rule", "satire")
    assert (answered["state"], answered["decision"]["action"]) == ("decided", "allow")
    act("appeal", 2, "--by", "a reader")
    assert act("uphold", 2, "--reviewer", "eve")["state"] == "closed"
    assert act("reopen", 2, "--reviewer", "lea")["state"] == "queued"
    act("decide", 2, "--action", "allow", "--reviewer", "lea")
    assert act("second-review", 2, "--reviewer", "lea")["state"] == "queued"
    shown = run("show", "2", "--db", filled).stdout
    assert "second review: what others decided is not shown" in shown
    assert "an author" not in shown
    whole = as_json("show", "2", "--reveal", "--db", filled)
    assert [appeal["outcome"] for appeal in whole["appeals"]] == ["reversed", "upheld"]
    assert [event["act"] for event in whole["events"] if event["act"] != "claim"] == [
        "decide", "appeal", "reverse", "appeal", "uphold", "reopen", "decide", "second review",
    ]  # fmt: skip


def test_close_many_takes_their_number(filled: str) -> None:
    lea = ("--reviewer", "lea", "--reason", "duplicates", "--db", filled)
    asked = run("close", "--state", "waiting", "--action", "review", *lea)
    assert (asked.exit_code, "this would close 2 tasks; to do it, add --yes 2" in asked.stderr) == (2, True)
    with pytest.raises(QueueError, match="2 tasks would be closed, not 3"):
        run("close", "--state", "waiting", "--action", "review", "--yes", "3", *lea)
    closed = run("close", "--state", "waiting", "--action", "review", "--yes", "2", *lea)
    assert closed.stdout == "closed 2 tasks\n"
    assert as_json("close", "2", "--yes", "1", *lea)[0]["state"] == "closed"
    assert run("close", *lea).exit_code == 2
    assert run("close", "1", "--action", "block", *lea).exit_code == 2


def test_roles_and_rules_come_from_the_settings(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moderator.toml").write_text('[reviewers]\nlea = "lead"\n[review]\nlease_seconds = 7200\n')
    with pytest.raises(QueueError, match="takes the role lead; ann is reviewer"):
        run("close", "1", "--yes", "1", "--reviewer", "ann", "--reason", "x", "--db", filled)
    run("close", "1", "--yes", "1", "--reviewer", "lea", "--reason", "x", "--db", filled)
    for wrong, said in (
        ('[reviewers]\nlea = "boss"', "reviewers.lea: must be reviewer, senior, lead, got 'boss'"),
        ("[review]\nsecond_review_share = 1.5", "must be a share from 0 to 1"),
        ("[review]\nlease_seconds = 0", "must be above 0"),
        ("reviewers = 3", r"\[reviewers\] must be a table"),
    ):
        (tmp_path / "moderator.toml").write_text(wrong)
        with pytest.raises(SettingsError, match=said):
            run("claim", "--reviewer", "lea", "--db", filled)


def test_a_rule_that_the_verdicts_policy_lacks_is_refused(database_url: str) -> None:
    source = Path(__file__).parents[2] / "rules" / "default.yaml"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    with Store.open(database_url) as store:
        scan = store.start_scan("inbox", digest, "ef", "moderator 0.1.0")
        verdict = Verdict("p", Action.REVIEW, {"hate": 0.6}, degraded=("cut off",), policy_digest=digest)
        store.record(scan, [(0, Item.of(text="x"), "p", verdict, False)])
    who = ("1", "--action", "block", "--reviewer", "ann", "--reason", "x", "--db", database_url)
    with pytest.raises(QueueError, match=r"has no rule 'mine'; it has .*hate-block.*on_degraded"):
        run("decide", *who, "--policy-rule", "mine")
    assert as_json("decide", *who, "--policy-rule", "hate-block")["decision"]["policy_rule"] == "hate-block"


def test_db_upgrade_and_check(database_url: str) -> None:
    runner = CliRunner()
    assert runner.invoke(db, ["check", "--db", database_url]).exit_code == 1
    assert "created" in runner.invoke(db, ["upgrade", "--db", database_url]).stdout
    assert "already" in runner.invoke(db, ["upgrade", "--db", database_url]).stdout
    good = runner.invoke(db, ["check", "--db", database_url])
    assert (good.exit_code, "as expected" in good.stdout) == (0, True)
    with Store.open(database_url) as store, store.writing() as connection:
        connection.execute(text("DROP INDEX ix_decisions_task_id"))
    bad = runner.invoke(db, ["check", "--db", database_url, "--json"])
    assert bad.exit_code == 1
    assert "ix_decisions_task_id" in json.loads(bad.stdout)[0]["problem"]


def test_checking_a_missing_file_does_not_create_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(db, ["check", "--db", f"sqlite:///{tmp_path / 'x.db'}"])
    assert (result.exit_code, "there is no file" in result.stdout) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_the_default_database_comes_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_DB", "sqlite:///mine.db")
    assert as_json("list") == []
    assert (tmp_path / "mine.db").is_file()
    (tmp_path / "moderator.toml").write_text("db = 3")
    with pytest.raises(SettingsError):
        run("list")


def test_errors_are_one_line_without_traceback(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", "from moderator.cli import main; main()", "queue", "show", "5"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "error: there is no task 5; `moderator queue list` shows those that are open\n"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("你好 é", "你好 é"),
        ("a\u200bb\u2066c\u2028d", r"a\u200bb\u2066c\u2028d"),
        ("\x9b31m", r"\x9b31m"),
        ("\U000e0041", r"\U000e0041"),
        ("👩\u200d🚀 👩🏽\u200d🚒 🏳️\u200d🌈", "👩\u200d🚀 👩🏽\u200d🚒 🏳️\u200d🌈"),
        ("a\u200db \u200d🚀 🚀\u200d 🚀\u202e🚀", r"a\u200db \u200d🚀 🚀\u200d 🚀\u202e🚀"),
    ],
)
def test_visible(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_visible_cuts_long_text() -> None:
    assert visible("1234\x00678", 5) == r"1234\x00… (8 characters)"
