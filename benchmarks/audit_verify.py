"""How fast a log is verified, and how much memory that takes, whatever its length.

Two logs are made and verified in one process each: one of decisions, an entry and a sealed row each, and
one of scan batches of 64 verdicts. CPU seconds of one core count; peak memory is the process's.

    .venv/bin/python benchmarks/audit_verify.py [--events 1000000] [--verdicts 200000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.store import Store
from moderator.store.bulk import insert_rows
from moderator.store.canonical import canonical_json
from moderator.store.decisions import DECISION_FORM
from moderator.store.merkle import Frontier, leaf_hash
from moderator.store.seal import Seal
from moderator.store.tables import AuditRow, Base, DecisionRow, VerdictRow
from moderator.store.verdicts import VERDICT_FORM, verdict_columns
from moderator.types import Action, Verdict

_AT = 1_700_000_000_000_000
_BATCH = 64
_PAGE = 10_000
LABELS = ("toxicity", "profanity", "harassment", "hate", "violence", "sexual", "self_harm", "illicit", "spam")


def decision(key: int) -> dict[str, Any]:
    return {
        "id": key,
        "task_id": key,
        "action": "block" if key % 3 else "allow",
        "reviewer": f"reviewer-{key % 40}",
        "reason": "Insults a person by name; see the second sentence.",
        "policy_rule": "harassment-review",
        "idempotency_key": None,
        "created_at": _AT + key,
    }


def verdicts(first: int, last: int) -> list[dict[str, Any]]:
    made = []
    for key in range(first, last + 1):
        scores = {label: ((key * 7919 + rank * 104729) % 10007) / 10007 for rank, label in enumerate(LABELS)}
        verdict = Verdict(
            item_id=str(key),
            action=Action.ALLOW,
            scores=scores,
            signals={"lexicon_hate": 0.0, "hash_match": 0.0},
            content_digests=(f"{key:064x}",),
            policy_digest="cd" * 32,
            model_digest="ef" * 32,
            embedders={"text-minilm": "1:" + "a" * 64, "text-lexical": "1:" + "b" * 64},
            software="moderator 0.1.0",
        )
        columns = verdict_columns(verdict)
        row = {"id": key, "scan_id": 1, "position": key, "item_id": key, "created_at": _AT + key, **columns}
        made.append({**row, "leaf": VERDICT_FORM.leaf(row)})
    return made


class Writer:
    """Writes the log as ``audit_log.append`` does, without a statement for each entry."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tree = Frontier()
        self._last = b""
        self._rows: dict[type[Base], list[Mapping[str, Any]]] = {
            AuditRow: [],
            DecisionRow: [],
            VerdictRow: [],
        }

    def add(
        self, kind: str, data: Mapping[str, Any], seal: Seal, model: type[Base], rows: Sequence[Any]
    ) -> None:
        seq = self._tree.size + 1
        own = {"v": 2, "seq": seq, "kind": kind, "at": _AT + seq, "prev": self._last.hex()}
        payload = canonical_json({**data, **own, "seals": [seal.said()]})
        self._last = leaf_hash(payload)
        self._tree.append(self._last)
        entry = {"seq": seq, "kind": kind, "created_at": _AT + seq, "payload": payload, "leaf": self._last}
        self._rows[AuditRow].append(entry)
        self._rows[model].extend(rows)
        if len(self._rows[model]) >= _PAGE:
            self.flush()

    def flush(self) -> None:
        for model, rows in self._rows.items():
            insert_rows(self._connection, model, rows)
            rows.clear()

    def finish(self) -> None:
        self.flush()
        raw: Any = self._connection.connection.driver_connection
        head = (self._tree.size, self._tree.dump(), self._tree.root())
        raw.execute("DROP TRIGGER audit_head_no_return")  # the head of many entries at once
        raw.execute("UPDATE audit_head SET size = ?, frontier = ?, root = ?", head)


def entries(kind: str, count: int) -> Iterator[tuple[str, Mapping[str, Any], Seal, type[Base], list[Any]]]:
    if kind == "decisions":
        for key in range(1, count + 1):
            row = decision(key)
            seal = Seal.over(DECISION_FORM, [key], [DECISION_FORM.leaf(row)])
            said = {"decision": key, "task": key, "action": row["action"]}
            yield "decision", said, seal, DecisionRow, [row]
        return
    for first in range(1, count + 1, _BATCH):
        rows = verdicts(first, min(first + _BATCH - 1, count))
        keys = [row["id"] for row in rows]
        seal = Seal.over(VERDICT_FORM, keys, [row["leaf"] for row in rows])
        yield "verdicts", {"scan": 1, "tasks": None}, seal, VerdictRow, rows


def make(url: str, kind: str, count: int) -> None:
    with Store.open(url) as store, store.writing() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        raw: Any = connection.connection.driver_connection
        raw.commit()
        raw.execute("PRAGMA foreign_keys=OFF")  # tasks and items are not part of what is verified
        raw.execute("BEGIN IMMEDIATE")
        writer = Writer(connection)
        for each in entries(kind, count):
            writer.add(*each)
        writer.finish()


def measure(url: str) -> None:
    with Store.open(url, migrate=False) as store, store.snapshot() as connection:
        started, spent = time.perf_counter(), time.process_time()
        report = verify(Live(connection))
        seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    assert report.fault is None, report.fault  # noqa: S101
    rows = sum(report.rows.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{report.entries:,} entries over {rows:,} rows: {cpu:.1f} s of CPU ({seconds:.1f} s on the clock), "
        f"{report.entries / cpu:,.0f} entries/s, {rows / cpu:,.0f} rows/s, peak {peak:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--verdicts", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="Where the logs are made [default: a temporary folder].")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for kind, count in (("decisions", arguments.events), ("verdicts", arguments.verdicts)):
            for share in (10, 1):  # a tenth first: memory must not grow
                url = f"sqlite:///{folder}/{kind}-{share}.db"
                make(url, kind, count // share)
                subprocess.run([sys.executable, __file__, "--measure", url], check=True)
                Path(f"{folder}/{kind}-{share}.db").unlink()


if __name__ == "__main__":
    main()
