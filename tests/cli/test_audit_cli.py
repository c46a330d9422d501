"""``moderator audit``, as people and scripts use it."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from moderator.cli.audit import audit
from moderator.errors import AuditError, StoreError
from moderator.store import Store
from moderator.store.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.audit.conftest import fill
from tests.store.samples import start


@pytest.fixture
def filled(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    with Store.open(database_url) as store:
        fill(store)
    yield database_url


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(audit, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def said(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, code=code).stdout)


def change(url: str, table: str, statement: str) -> None:
    """Run ``statement`` past every guard, references between tables included."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            raw.executescript(f"DROP TRIGGER {table}_no_update; DROP TRIGGER {table}_no_delete; {statement}")
        return
    with Store.open(url) as store, store.writing() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(statement))


def test_the_log_newest_first(filled: str) -> None:
    rows = said("log", "--db", filled, "--json")
    assert [row["id"] for row in rows] == list(range(9, 0, -1))
    assert rows[1] == {**rows[1], "kind": "scan_finished", "data": {"scan": 1, "state": "finished"}}
    assert {"id", "kind", "at", "data"} == set(rows[0])
    page = run("log", "--db", filled, "--json", "--limit", "4")
    assert [row["id"] for row in json.loads(page.stdout)] == [9, 8, 7, 6]
    assert page.stderr == "more: --before 6\n"
    assert [row["id"] for row in said("log", "--db", filled, "--json", "--before", "3")] == [2, 1]
    assert [row["id"] for row in said("log", "--db", filled, "--json", "--kind", "decision")] == [7, 6, 4]
    assert "decision 3" in run("log", "--db", filled).stdout


def test_a_clean_log(filled: str) -> None:
    shown = run("verify", "--db", filled).stdout
    assert shown.startswith(
        "nothing was changed: 9 entries over 8 verdicts, 3 decisions, 6 review events, "
        "3 label corrections, 0 golden items, 0 golden trials, 2 registered; root "
    )
    report = said("verify", "--db", filled, "--json")
    assert report == {
        "ok": True,
        "entries": 9,
        "rows": {
            "verdicts": 8,
            "decisions": 3,
            "review_events": 6,
            "label_corrections": 3,
            "golden_items": 0,
            "golden_trials": 0,
            "registered": 2,
        },
        "root": shown.split()[-1],
        "checkpoint": None,
        "fault": None,
    }


@pytest.mark.parametrize(
    ("table", "statement", "expected"),
    [
        (
            "audit_log",
            "UPDATE audit_log SET kind = 'x' WHERE seq = 4",
            "entry 4: its number, kind or time is not what its payload says",
        ),
        ("audit_log", "DELETE FROM audit_log WHERE seq = 9", "entry 9: missing: the head counts 9 entries"),
        (
            "verdicts",
            "UPDATE verdicts SET action = 'block' WHERE id = 6",
            "entry 5: verdicts row 6: not what its leaf was made of",
        ),
        ("decisions", "DELETE FROM decisions WHERE id = 2", "entry 6: decisions row 2: missing"),
        (
            "decisions",
            "UPDATE decisions SET id = 9 WHERE id = 3",
            "entry 7: decisions row 3: missing",
        ),
    ],
)
def test_the_first_bad_entry_is_named(filled: str, table: str, statement: str, expected: str) -> None:
    change(filled, table, statement)
    assert run("verify", "--db", filled, code=1).stdout == f"changed: {expected}\n"
    fault = said("verify", "--db", filled, "--json", code=1)["fault"]
    assert expected.startswith(f"entry {fault['seq']}: ")
    run("export", "--db", filled, "--output", "log.jsonl")
    assert run("verify", "--export", "log.jsonl", code=1).stdout == f"changed: {expected}\n"


def test_checkpoints(filled: str) -> None:
    made = run("key", "--name", "example.com/mod").stdout
    assert stat.S_IMODE(Path("moderator-audit.key").stat().st_mode) == 0o600
    assert Path("moderator-audit.pub").read_text().strip() in made
    assert "PRIVATE" not in made
    run("checkpoint", "--db", filled, "--output", "then.note")
    assert run("checkpoint", "--db", filled).stdout_bytes == Path("then.note").read_bytes()
    with Store.open(filled) as store:
        start(store)
    assert run("verify", "--db", filled, "--checkpoint", "then.note").stdout.endswith(
        "it begins with the 9 entries of the checkpoint\n"
    )
    assert said("verify", "--db", filled, "--checkpoint", "then.note", "--json")["checkpoint"] == 9
    run("export", "--db", filled, "--output", "log.jsonl")
    run("verify", "--export", "log.jsonl", "--checkpoint", "then.note", "--key", "moderator-audit.key")


def test_a_log_begun_anew_is_not_the_one_of_the_checkpoint(filled: str, tmp_path: Path) -> None:
    run("key", "--name", "example.com/mod")
    run("checkpoint", "--db", filled, "--output", "then.note")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with Store.open(other) as store:
        fill(store)
    expected = "changed: entry 9: the entries up to this one are not those of the checkpoint\n"
    assert run("verify", "--db", other, "--checkpoint", "then.note", code=1).stdout == expected


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda note: note.replace("\n9\n", "\n8\n"), "was changed"),
        (lambda note: note.partition("\n\n")[0], "not a signed note"),
        (lambda note: "", "not a signed note"),
    ],
)
def test_a_checkpoint_that_was_changed(filled: str, spoil: Any, expected: str) -> None:
    run("key", "--name", "example.com/mod")
    run("checkpoint", "--db", filled, "--output", "then.note")
    note = Path("then.note")
    note.write_text(spoil(note.read_text()))
    with pytest.raises(AuditError, match=f"then.note: .*{expected}"):
        run("verify", "--db", filled, "--checkpoint", "then.note")


def test_keys_and_files_that_are_not_there(filled: str) -> None:
    with pytest.raises(
        AuditError, match=r"make one with `moderator audit key --output moderator-audit\.key`"
    ):
        run("checkpoint", "--db", filled)
    with pytest.raises(AuditError, match=r"moderator-audit\.pub: cannot be read.*--key FILE"):
        run("verify", "--db", filled, "--checkpoint", "then.note")
    run("key", "--name", "example.com/mod")
    with pytest.raises(AuditError, match=r"then\.note: cannot be read: No such file"):
        run("verify", "--db", filled, "--checkpoint", "then.note")
    with pytest.raises(AuditError, match="exists and is not overwritten; give another --output"):
        run("key", "--name", "example.com/mod")
    with pytest.raises(AuditError, match=r"nowhere/x\.note: cannot be written: No such file"):
        run("checkpoint", "--db", filled, "--output", "nowhere/x.note")
    run("verify", "--db", filled, "--key", "moderator-audit.pub", code=2)
    run("verify", "--db", filled, "--export", "log.jsonl", code=2)


def test_another_key_is_refused(filled: str) -> None:
    run("key", "--name", "example.com/mod")
    run("key", "--name", "example.com/mod", "--output", "new.key")
    run("checkpoint", "--db", filled, "--key", "new.key", "--output", "then.note")
    with pytest.raises(AuditError, match="signed by none of the keys given"):
        run("verify", "--db", filled, "--checkpoint", "then.note")
    run("verify", "--db", filled, "--checkpoint", "then.note", "--key", "new.pub")


def test_proofs_can_be_checked_from_what_is_printed(filled: str) -> None:
    proof = said("proof", "6", "--of", "verdict", "--from", "3", "--db", filled)

    def included(part: dict[str, Any]) -> bytes:
        data = base64.b64decode(part["bytes"])
        path = [bytes.fromhex(each) for each in part["path"]]
        assert leaf_hash(data).hex() == part["leaf"]
        root = bytes.fromhex(part["root"])
        verify_inclusion(part["index"], part["size"], leaf_hash(data), path, root)
        return data

    assert b"\nid:i1=6\n" in included(proof["verdict"])
    (seal,) = json.loads(included(proof["entry"]))["seals"]
    assert seal["root"] == proof["verdict"]["root"]
    grown = proof["growth"]
    roots = bytes.fromhex(grown["from_root"]), bytes.fromhex(grown["root"])
    verify_consistency(grown["from"], grown["size"], *roots, [bytes.fromhex(each) for each in grown["path"]])
    assert grown["root"] == proof["entry"]["root"] == said("verify", "--db", filled, "--json")["root"]
    assert said("proof", "4", "--db", filled)["entry"]["seq"] == 4
    assert said("proof", "2", "--of", "decision", "--db", filled)["entry"]["seq"] == 6
    with pytest.raises(AuditError, match="the log has no entry 10; it has 9"):
        run("proof", "10", "--db", filled)


def test_an_export_goes_to_standard_output(filled: str) -> None:
    shown = run("export", "--db", filled).stdout
    assert run("export", "--db", filled, "--output", "log.jsonl").stdout == "32 rows in log.jsonl\n"
    assert Path("log.jsonl").read_text() == shown
    assert "nothing was changed: 9 entries" in run("verify", "--export", "log.jsonl").stdout


def test_a_database_that_is_not_there_is_not_found_whole(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the database has not been set up"):
        run("verify", "--db", f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()


def test_neither_torch_nor_plugins_are_loaded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with Store.open(url) as store:
        fill(store)
    code = (
        "import sys; from moderator.cli import main\n"
        "sys.argv = ['moderator', 'audit', 'verify', '--db', sys.argv[1]]\n"
        "try:\n    main()\n"
        "except SystemExit as exit_:\n    assert exit_.code == 0, exit_.code\n"
        "heavy = {'torch', 'transformers', 'timm', 'PIL', 'pluggy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "nothing was changed: 9 entries" in done.stdout
