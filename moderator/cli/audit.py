"""``moderator audit``: what the log says, whether it is whole, and proofs of it for others."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from moderator.cli.audit_dsa import dsa
from moderator.cli.audit_erase import ERASING
from moderator.cli.audit_replay import replay
from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.terminal import echo_json, visible
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.audit.checkpoint import Checkpoint
    from moderator.audit.verify import Report
    from moderator.store import Store

_SECRET = Path("moderator-audit.key")
_PUBLIC = Path("moderator-audit.pub")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """Verify, sign, prove and export the log."""


audit.add_command(dsa)
for command in (replay, *ERASING):
    audit.add_command(command)


@audit.command()
@click.option("--kind", metavar="KIND", help="Only entries of this kind: verdicts, decision, scan_started, …")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(1, 2**63 - 1), metavar="SEQ", help="Continue below this entry.")
@db_option
@json_option
def log(kind: str | None, limit: int, before: int | None, db: str | None, as_json: bool) -> None:
    """List entries of the log, newest first."""
    from moderator.store.audit_log import newest

    with _store(db) as store, store.reading() as connection:
        events = newest(connection, limit + 1, before=before, kind=kind)
    rows: list[dict[str, Any]] = [
        {"id": event.seq, "kind": event.kind, "at": event.at.isoformat(), "data": event.data}
        for event in events[:limit]
    ]
    if as_json:
        echo_json(rows)
    else:
        shown = [{**row, "at": row["at"][:19].replace("T", " "), "data": _brief(row["data"])} for row in rows]
        print_rows(shown, ("id", "at", "kind", "data"), as_json=False, empty="no entries")
    if len(events) > limit:
        click.echo(f"more: --before {events[limit - 1].seq}", err=True)


@audit.command()
@click.option("--checkpoint", "note", type=_FILE, help="A checkpoint kept elsewhere, to compare with.")
@click.option("--key", type=_FILE, help=f"The key that signed it [default: {_PUBLIC}].")
@click.option("--export", "exported", type=_FILE, help="Verify this export instead of a database.")
@db_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    note: Path | None,
    key: Path | None,
    exported: Path | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Recompute the log and all it covers. Exit code 1, with the first bad entry, if anything was changed.

    Without a checkpoint a log that was cut or rewritten as a whole cannot be told from a true one.
    """
    from moderator.audit.source import Exported, Live
    from moderator.audit.verify import verify as recompute

    if key is not None and note is None:
        raise click.UsageError("--key is for --checkpoint FILE")
    if exported is not None and db is not None:
        raise click.UsageError("give --export or --db, not both")
    checkpoint = None if note is None else _checkpoint(note, key or _PUBLIC)
    if exported is not None:
        report = recompute(Exported(exported), checkpoint)
    else:
        with _store(db) as store, store.snapshot() as connection:
            report = recompute(Live(connection), checkpoint)
    if as_json:
        echo_json(_report(report, checkpoint))
    elif report.fault is not None:
        click.echo(f"changed: {visible(str(report.fault))}")
    else:
        rows = ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in report.rows.items())
        click.echo(f"nothing was changed: {report.entries} entries over {rows}; root {report.root.hex()}")
        if checkpoint is not None:
            click.echo(f"it begins with the {checkpoint.size} entries of the checkpoint")
    if report.fault is not None:
        context.exit(1)


@audit.command()
@click.option(
    "--name", required=True, metavar="NAME", help="What others know the log by: example.com/moderator."
)
@click.option("--output", type=_FILE, default=_SECRET, show_default=True, help="The private key.")
def key(name: str, output: Path) -> None:
    """Make a key that signs checkpoints. Its public half goes beside it, ending in .pub."""
    from moderator.audit.notes import SecretKey

    made = SecretKey.generate(name)
    _create(output, made.reveal(), 0o600)
    _create(output.with_suffix(".pub"), str(made.public), 0o644)
    click.echo(f"private key in {output}: keep it from others")
    click.echo(f"public key in {output.with_suffix('.pub')}: {made.public}")


@audit.command()
@click.option("--key", type=_FILE, default=_SECRET, show_default=True, help="The private key.")
@click.option("--output", type=_FILE, help="Write to this file instead of standard output.")
@db_option
def checkpoint(key: Path, output: Path | None, db: str | None) -> None:
    """Sign the size and root of the log as they are now (C2SP checkpoint). Keep it elsewhere."""
    from moderator.audit.checkpoint import Checkpoint
    from moderator.audit.notes import SecretKey
    from moderator.store.audit_log import head

    signer = SecretKey.parse(_text(key, f"make one with `moderator audit key --output {key}`").strip())
    with _store(db) as store, store.snapshot() as connection:
        tree = head(connection)
    note = signer.sign(str(Checkpoint(signer.name, tree.size, tree.root())))
    with _out(output) as file:
        file.write(note.encode())


@audit.command()
@click.argument("id", type=int)
@click.option(
    "--of",
    type=click.Choice(["entry", "verdict", "decision"]),
    default="entry",
    show_default=True,
    help="What ID is the number of.",
)
@click.option(
    "--from", "first", type=click.IntRange(1, 2**63 - 1), metavar="SIZE", help="Prove growth from here."
)
@db_option
def proof(id: int, of: str, first: int | None, db: str | None) -> None:
    """Prove, as JSON, that an entry, a verdict or a decision is in the log; with --from, that the log
    only grew since it had SIZE entries."""
    from moderator.audit import proof as proofs

    said: dict[str, Any] = {"id": id, "of": of}
    with _store(db) as store, store.snapshot() as connection:
        entry = id
        if of != "entry":
            entry, row = proofs.prove_row(connection, f"{of}s", id)
            said[of] = _inclusion(row)
        said["entry"] = {"seq": entry, **_inclusion(proofs.prove_entry(connection, entry))}
        if first is not None:
            grown = proofs.prove_growth(connection, first)
            said["growth"] = {
                "from": grown.first,
                "from_root": grown.first_root.hex(),
                "size": grown.size,
                "root": grown.root.hex(),
                "path": [each.hex() for each in grown.path],
            }
    echo_json(said)


@audit.command()
@click.option("--output", type=_FILE, help="Write to this file instead of standard output.")
@db_option
def export(output: Path | None, db: str | None) -> None:
    """Write the log and all it covers as JSON lines, for `verify --export` elsewhere."""
    from moderator.audit.source import Live
    from moderator.audit.source import export as write

    with _store(db) as store, store.snapshot() as connection, _out(output) as file:
        count = write(Live(connection), file)
    if output is not None:
        click.echo(f"{count} rows in {output}")


@contextmanager
def _store(url: str | None) -> Iterator[Store]:
    from moderator.store import Store  # SQLAlchemy: not for --help

    # never set up here: an empty log would be found whole
    with Store.open(load_settings(db=url).db, migrate=False) as store:
        yield store


def _checkpoint(note: Path, key: Path) -> Checkpoint:
    """The checkpoint in a file, once its signature holds."""
    from moderator.audit.checkpoint import Checkpoint
    from moderator.audit.notes import PublicKey, SecretKey, is_secret, open_note
    from moderator.errors import AuditError

    text = _text(key, "give the public key of who signed the checkpoint with --key FILE").strip()
    public = SecretKey.parse(text).public if is_secret(text) else PublicKey.parse(text)
    try:
        found = Checkpoint.parse(open_note(_text(note), [public]))
    except AuditError as error:
        raise AuditError(f"{note}: {error}") from error
    if found.origin != public.name:
        raise AuditError(f"{note}: is of the log {found.origin!r}, but the key is for {public.name!r}")
    return found


def _text(path: Path, way_out: str = "") -> str:
    from moderator.errors import AuditError

    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or "is not text"
        raise AuditError(f"{path}: cannot be read: {said}" + (f"; {way_out}" if way_out else "")) from error
    return text


def _create(path: Path, text: str, mode: int) -> None:
    from moderator.errors import AuditError

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(f"{text}\n")
    except FileExistsError:
        raise AuditError(f"{path} exists and is not overwritten; give another --output") from None
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _out(path: Path | None) -> Iterator[IO[bytes]]:
    from moderator.errors import AuditError

    try:
        with nullcontext(sys.stdout.buffer) if path is None else path.open("wb") as file:
            yield file
    except OSError as error:
        if path is None:
            raise
        raise AuditError(f"{path}: cannot be written: {error.strerror}") from error


def _inclusion(found: Any) -> dict[str, Any]:
    return {
        "index": found.index,
        "size": found.size,
        "bytes": base64.b64encode(found.data).decode("ascii"),
        "leaf": found.leaf.hex(),
        "path": [each.hex() for each in found.path],
        "root": found.root.hex(),
    }


def _report(report: Report, checkpoint: Checkpoint | None) -> dict[str, Any]:
    fault = report.fault
    return {
        "ok": fault is None,
        "entries": report.entries,
        "rows": dict(report.rows),
        "root": report.root.hex(),
        "checkpoint": None if checkpoint is None else checkpoint.size,
        "fault": None
        if fault is None
        else {"seq": fault.seq, "table": fault.table, "row": fault.row, "what": fault.what},
    }


def _brief(data: Any) -> str:
    return visible(", ".join(f"{key} {value}" for key, value in data.items()), 120)
