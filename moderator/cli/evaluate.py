"""``moderator evaluate``: figures of a model on labelled data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import json_option, print_rows
from moderator.settings import load_settings
from moderator.types import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moderator.pipeline.moderator import Moderator
    from moderator.train.evaluate import Score
    from moderator.train.examples import Example

_FIGURES = ("source", "label", "rows", "positives", "auroc", "auprc", "f1", "accuracy", "recall", "ece")
_ALARMS = ("term", "group", "lang", "rows", "alarms", "rate")
_ABLATIONS = ("without", "label", "rows", "positives", "auroc", "auroc_without", "auprc", "auprc_without")
_EVASIONS = ("evasion", "label", "lang", "rows", "clean", "evaded", "lost")


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--modality", type=click.Choice(["text", "image", "audio"]), default="text", show_default=True)
@click.option("--source", "sources", multiple=True, help="Only this data set; may be repeated.")
@click.option("--split", type=click.Choice(["all", "train", "valid"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows per source.")
@click.option("--threshold", default=0.5, show_default=True, help="For F1, accuracy, recall, false alarms.")
@click.option(
    "--show",
    type=click.Choice(["figures", "false-alarms", "evasions", "ablation"]),
    default="figures",
    show_default=True,
    help="What to print: figures by source and label; false alarms on harmless texts that name a group; "
    "recall of harmful texts in evasive spellings; figures without each embedder and extractor.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Also write all of it as HTML here."
)
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
    show: str,
    report: Path | None,
    model: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Print AUROC, AUPRC, F1, accuracy, recall and calibration error per source and label.

    FILES are labelled texts (.jsonl or .jsonl.zst) or, with --modality image or audio, media manifests.
    Labels a row does not have are unknown and left out. --json has the bounds of AUROC and AUPRC as well.
    """
    if show in ("false-alarms", "evasions") and modality != "text":
        raise click.UsageError(f"--show {show} is for texts")
    settings = load_settings(model=model, device=device)
    from moderator.pipeline.models import labels_of
    from moderator.pipeline.moderator import Moderator
    from moderator.train.ablation import ablations
    from moderator.train.evaluate import figures_of, scorer, scorer_without
    from moderator.train.examples import at_most
    from moderator.train.identity import false_alarms
    from moderator.train.report import Evaluation, write_html
    from moderator.train.robustness import recall_under_evasions

    text, labels = modality == "text", labels_of(settings.model)
    read = _read(files, modality, sources, labels)
    kept = at_most([each for each in read if split in ("all", each.split)], limit)
    with Moderator.load(settings=settings) as moderator:
        scores = _scores(moderator, kept, scorer(moderator))
        asked = text and (report is not None or show == "evasions")
        evasions = (
            recall_under_evasions(
                lambda copies, name: _scores(moderator, copies, scorer(moderator), f"{name}: "),
                kept,
                scores,
                labels,
                threshold=threshold,
            )
            if asked
            else []
        )
        digest = moderator.checkpoint.digest
        readers = [name for name, reads in moderator.readers.items() if reads is Modality(modality)]
        parts = (
            ablations(
                lambda name: _scores(moderator, kept, scorer_without(moderator, name), f"without {name}: "),
                readers,
                kept,
                scores,
                labels,
            )
            if show == "ablation"
            else []
        )
    figures = figures_of(kept, scores, labels, threshold=threshold)
    alarms = false_alarms(kept, scores, labels, threshold=threshold) if text else []
    rows: dict[str, tuple[list[dict[str, Any]], Sequence[str]]] = {
        "figures": ([each.as_row() for each in figures], _FIGURES),
        "false-alarms": (
            [{"id": f"{a.lang}/{a.term}", **asdict(a), "rate": round(a.rate, 4)} for a in alarms],
            _ALARMS,
        ),
        "evasions": (
            [
                {"id": f"{e.evasion}/{e.label}/{e.lang}", **asdict(e), "lost": round(e.lost, 1)}
                for e in evasions
            ],
            _EVASIONS,
        ),
        "ablation": (
            [{"id": f"{a.without}/{a.label}", **{k: _short(v) for k, v in asdict(a).items()}} for a in parts],
            _ABLATIONS,
        ),
    }
    print_rows(rows[show][0], rows[show][1], as_json=as_json, empty="no labelled rows")
    failed = sum(not math.isfinite(total) for total in scores.sum(axis=1).tolist())
    if failed:
        click.echo(f"{failed} rows could not be scored and are left out", err=True)
    if report is not None:
        facts = (
            ("model", digest),
            ("files", ", ".join(path.name for path in files)),
            ("rows", f"{len(kept)} ({failed} could not be scored)"),
            ("split", split),
        )
        made = Evaluation("Evaluation", labels, kept, scores, figures, threshold, alarms, evasions, facts)
        write_html(made, report)
        click.echo(f"report in {report}", err=True)


def _read(
    files: Sequence[Path], modality: str, sources: Sequence[str], labels: Sequence[str]
) -> list[Example]:
    from moderator.train.examples import read_text
    from moderator.train.media_manifest import read_manifest

    if modality == "text":
        return read_text(files, labels=labels, only=sources or None)
    return [
        each
        for file in files
        for each in read_manifest(file, modality=Modality(modality), datasets=sources or None)
    ]


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _scores(
    moderator: Moderator, examples: Sequence[Example], score: Score, what: str = ""
) -> NDArray[np.float64]:
    from moderator.train.evaluate import scores_of

    def progress(done: int, total: int) -> None:
        click.echo(f"\r{what}{done}/{total}", err=True, nl=done == total)

    return scores_of(score, examples, moderator.checkpoint.config.labels, progress=progress)
