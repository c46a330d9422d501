"""``moderator train``: from a configuration and labelled data to a model directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from moderator.settings import load_settings


@click.command()
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--from",
    "base",
    metavar="MODEL",
    help="Go on from this model (default, or a directory) with your own labelled texts instead of a CONFIG.",
)
@click.option("--new-label", "new_labels", multiple=True, metavar="NAME", help="A label to add, with --from.")
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of the configuration's data files; may be repeated, the first that has a file wins. "
    "With --from: a file of labelled texts.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model directory to write.")
@click.option("--work", type=click.Path(path_type=Path), help="Caches and states [default: OUT/work].")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: all].")
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Watch a few steps of each stage with PyTorch's profiler: tables and traces go into DIR.",
)
def train(
    config: Path | None,
    base: str | None,
    new_labels: Sequence[str],
    data: Sequence[Path],
    out: Path,
    work: Path | None,
    threads: int | None,
    profile: Path | None,
) -> None:
    """Train the model CONFIG describes, or go on from one that is there.

    Started again, an interrupted run goes on where it stopped.

    \b
      moderator train train.toml --data DATA --out MODEL
      moderator train --from default --data mine.jsonl --out MODEL
    """
    if (config is None) is (base is None):
        raise click.UsageError("give either a CONFIG or --from MODEL")
    if base is None and new_labels:
        raise click.UsageError("--new-label goes with --from")
    for path in data:
        if path.is_dir() is (base is not None):
            wanted = "folders" if base is None else "files of labelled texts"
            raise click.UsageError(f"--data {path}: {wanted} are expected here")
    settings = load_settings()
    import torch

    from moderator.train.parallel import count, place, together
    from moderator.train.profiling import profiling

    if threads:
        torch.set_num_threads(threads)
    if base is not None and count() > 1:
        raise click.UsageError("--from takes one process")
    started = time.monotonic()

    def report(line: str) -> None:
        if not place():  # of several processes one speaks
            click.echo(f"[{time.monotonic() - started:7.0f} s] {line}")

    work = work or out / "work"
    with together(), profiling(None if place() else profile):
        if base is not None:
            from moderator.train.finetune import FineTuning, finetune

            path = finetune(base, FineTuning(data, new_labels), out, work, settings, report)
        else:
            from moderator.train.config import read_config
            from moderator.train.run import Paths
            from moderator.train.run import train as run

            assert config is not None  # noqa: S101 - one of the two is given
            path = run(read_config(config), Paths(data, out, work), settings, report)
    report(f"done: use it with --model {path.parent}")
