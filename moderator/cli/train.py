"""``moderator train``: from a configuration and labelled data to a model directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from moderator.settings import load_settings


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the configuration's data files; may be repeated, the first that has a file wins.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model directory to write.")
@click.option("--work", type=click.Path(path_type=Path), help="Caches and states [default: OUT/work].")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: all].")
def train(config: Path, data: Sequence[Path], out: Path, work: Path | None, threads: int | None) -> None:
    """Train the model CONFIG describes. Started again, an interrupted run goes on where it stopped."""
    settings = load_settings()
    import torch

    from moderator.train.config import read_config
    from moderator.train.run import Paths
    from moderator.train.run import train as run

    parsed = read_config(config)
    if threads:
        torch.set_num_threads(threads)
    started = time.monotonic()

    def report(line: str) -> None:
        click.echo(f"[{time.monotonic() - started:7.0f} s] {line}")

    path = run(parsed, Paths(data, out, work or out / "work"), settings, report)
    click.echo(f"done: use it with --model {path.parent}")
