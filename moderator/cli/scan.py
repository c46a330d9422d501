"""``moderator scan``: files, directories and tables of posts in, verdicts out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from moderator.cli.output import db_option, json_option
from moderator.cli.terminal import echo_json
from moderator.cli.verdict_view import failure_lines, summary_table, verdict_table
from moderator.settings import load_settings


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled((signal.SIGTERM,), handle):
        yield


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handle: Any) -> Iterator[None]:
    """``handle`` in place of the handlers of these signals; in the main thread, others may not set any."""
    try:
        before = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # whoever runs us in another thread handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@db_option
@click.option("--policy", metavar="NAME|FILE", help="Policy to apply [default: default].")
@click.option("--model", metavar="DIR", help="Model directory [default: the shipped model].")
@click.option("--output", metavar="FILE.jsonl", help="Write a line per record, in order; - for stdout.")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1… [default: auto].")
@click.option("--batch-size", type=click.IntRange(min=1), help="Items judged together [default: 1024].")
@click.option("--show", default=20, show_default=True, type=click.IntRange(min=0), help="Verdicts to print.")
@json_option
@_terminable()
def scan(
    paths: Sequence[Path],
    db: str | None,
    policy: str | None,
    model: str | None,
    output: str | None,
    device: str | None,
    batch_size: int | None,
    show: int,
    as_json: bool,
) -> int:
    """Judge PATHS: directories, media and text files, .jsonl, .csv and .parquet tables.

    Verdicts go to the database and, with --output, to a JSONL file. Exit code 0 = all scanned,
    1 = could not finish, 2 = usage, 130 = interrupted (Ctrl-C, SIGTERM) with what was done kept.

    A line has the keys id, action, scores, signals, matches, degraded, evidence, coverage (the share of each
    part that was looked at, where it is not all), model_digest and policy_digest.
    """
    if output == "-" and as_json:
        raise click.UsageError("--output - and --json both want standard output; give --output a file")
    if output and output != "-" and Path(output).resolve() in [path.resolve() for path in paths]:
        raise click.UsageError(f"--output {output} would replace an input")
    settings = load_settings(db=db, policy=policy, model=model, device=device, batch_size=batch_size)
    from rich.console import Console

    from moderator.errors import SourceError
    from moderator.sources import VerdictWriter, open_sources

    try:
        # a wrong path is said before a model loads
        sources = open_sources(paths, settings.limits, leave_out=_written(output))
    except SourceError as error:
        raise click.UsageError(str(error)) from error
    from moderator.pipeline.moderator import Moderator
    from moderator.scan.runner import run_scan
    from moderator.store import Store

    console = Console(stderr=as_json or output == "-")
    notes = Console(stderr=True)
    first: list[tuple[Any, Any]] = []
    words = settings.store.words == "review"
    with Store.open(settings.db, words=words) as store, Moderator.load(settings=settings) as moderator:
        for line in failure_lines(moderator.failures):
            notes.print(line, style="yellow", markup=False, highlight=False)
        with _stopping(notes) as stop, _progress(notes, sources) as advance:

            def watch(summary: Any, batch: Sequence[Any]) -> None:
                first.extend(batch[: max(0, show - len(first))])
                advance(summary)

            writer = VerdictWriter(output) if output else None
            arguments: Any = {"watch": watch, "stop": stop, "name": " ".join(str(path) for path in paths)}
            if writer is None:
                summary = run_scan(moderator, sources, store, **arguments)
            else:
                with writer:
                    summary = run_scan(moderator, sources, store, writer=writer, **arguments)
        if as_json:
            echo_json(_as_object(summary, sources, store.url, output))
        else:
            if first:
                console.print(verdict_table(first, summary.items))
            console.print(summary_table(summary, sources.skipped, moderator.unused))
            console.print(
                f"scan {summary.scan} in {store.url}" + (f", lines in {output}" if output else ""),
                markup=False,
                highlight=False,
            )
    return 130 if summary.interrupted else 0


def _written(output: str | None) -> list[Path]:
    """What this run writes, which a directory among its inputs may hold."""
    return [Path(output), Path(f"{output}.partial")] if output and output != "-" else []


def _as_object(summary: Any, sources: Any, url: str, output: str | None) -> dict[str, Any]:
    return {
        "scan": summary.scan,
        "db": url,
        "output": output,
        "items": summary.items,
        "seconds": round(summary.seconds, 3),
        "items_per_second": round(summary.rate, 2),
        "store_seconds": round(summary.store_seconds, 3),
        "actions": dict(summary.actions),
        "labels": {label: dict(counts) for label, counts in summary.labels.items()},
        "degraded": dict(summary.degraded),
        "skipped": dict(sources.skipped.counts),
        "interrupted": summary.interrupted,
    }


@contextmanager
def _stopping(notes: Any) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM lets the batch in hand finish, the second does not."""
    asked = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        notes.print("stopping after this batch; Ctrl-C again to drop it")

    with _handled((signal.SIGINT, signal.SIGTERM), handle):
        yield lambda: asked


@contextmanager
def _progress(notes: Any, sources: Any) -> Iterator[Callable[[Any], None]]:
    """A bar with rate and remaining time on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda summary: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=notes) as bar:
        task = bar.add_task("scan", total=sources.total, rate="loading")
        yield lambda summary: bar.update(task, completed=summary.items, rate=f"{summary.rate:.1f} items/s")
