"""``moderator evaluate``: figures of a model on labelled data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderator.cli.output import json_option, print_rows
from moderator.settings import load_settings
from moderator.types import Item, Modality, Scores

if TYPE_CHECKING:
    from moderator.train.examples import Example

_COLUMNS = ("source", "label", "rows", "positives", "auroc", "auprc", "f1", "accuracy", "recall")


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--modality", type=click.Choice(["text", "image", "audio"]), default="text", show_default=True)
@click.option("--source", "sources", multiple=True, help="Only this data set; may be repeated.")
@click.option("--split", type=click.Choice(["all", "train", "valid"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows per source.")
@click.option("--threshold", default=0.5, show_default=True, help="For F1, accuracy and recall.")
@click.option("--model", metavar="DIR", help="Model directory [default: the shipped model].")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda… [default: auto].")
@json_option
def evaluate(
    files: Sequence[Path],
    modality: str,
    sources: Sequence[str],
    split: str,
    limit: int | None,
    threshold: float,
    model: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Print AUROC, AUPRC, F1, accuracy and recall per source and label.

    FILES are labelled texts (.jsonl or .jsonl.zst) or, with --modality image or audio, media manifests.
    Labels a row does not have are unknown and left out.
    """
    settings = load_settings(model=model, device=device)
    from moderator.pipeline.moderator import Moderator
    from moderator.taxonomy import DEFAULT
    from moderator.train.evaluate import evaluate as run
    from moderator.train.examples import read_text
    from moderator.train.media_manifest import read_manifest

    if modality == "text":
        examples = read_text(files, labels=DEFAULT.names, only=sources or None)
    else:
        examples = [
            each
            for file in files
            for each in read_manifest(file, modality=Modality(modality), datasets=sources or None)
        ]
    kept = _limited([each for each in examples if split in ("all", each.split)], limit)
    with Moderator.load(settings=settings) as moderator:

        def score(items: Sequence[Item]) -> Iterable[Scores]:
            return (verdict.scores for verdict in moderator.judge(items))

        def progress(done: int, total: int) -> None:
            click.echo(f"\r{done}/{total}", err=True, nl=done == total)

        figures, failed = run(score, kept, DEFAULT.names, threshold=threshold, progress=progress)
    print_rows([each.as_row() for each in figures], _COLUMNS, as_json=as_json, empty="no labelled rows")
    if failed:
        click.echo(f"{failed} rows could not be scored and are left out", err=True)


def _limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    taken: dict[str, int] = {}
    kept = []
    for example in examples:
        dataset = example.dataset
        taken[dataset] = taken.get(dataset, 0) + 1
        if limit is None or taken[dataset] <= limit:
            kept.append(example)
    return kept
