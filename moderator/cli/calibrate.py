"""``moderator calibrate``: a policy's thresholds from the precision one wants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from moderator.cli.output import json_option, print_rows
from moderator.settings import load_settings
from moderator.types import Action

_COLUMNS = ("rule", "before", "threshold", "precision", "low", "recall", "rows", "positives")
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--policy", metavar="NAME|FILE", help="Policy to start from [default: the active one].")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the new policy here.")
@click.option("--block", type=_SHARE, default=0.95, show_default=True, help="Precision of rules that block.")
@click.option(
    "--review", type=_SHARE, default=0.6, show_default=True, help="Precision of rules that ask a person."
)
@click.option(
    "--prevalence",
    type=_SHARE,
    help="How frequent each label is where the policy will be used [default: as in FILES].",
)
@click.option("--label", "only", multiple=True, help="Only this label; may be repeated.")
@click.option("--source", "sources", multiple=True, help="Only this data set; may be repeated.")
@click.option("--leave-out", multiple=True, help="Not this data set; may be repeated.")
@click.option("--split", type=click.Choice(["all", "train", "valid"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows per source.")
@click.option("--model", metavar="DIR", help="Model directory [default: the shipped model].")
@json_option
def calibrate(
    files: Sequence[Path],
    policy: str | None,
    out: Path | None,
    block: float,
    review: float,
    prevalence: float | None,
    only: Sequence[str],
    sources: Sequence[str],
    leave_out: Sequence[str],
    split: str,
    limit: int | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Find the lowest thresholds that reach a precision on labelled texts, and put them into a policy.

    FILES are labelled texts (.jsonl or .jsonl.zst) that the model was not trained on, as like your own as
    can be. Changed are the rules LABEL-review and LABEL-block, where LABEL >= NUMBER stands alone; a comment
    says what each reaches. Precision depends on how frequent a label is: give --prevalence if it is rarer
    in use than in FILES.
    """
    settings = load_settings(model=model, policy=policy)
    from moderator.errors import TrainingError
    from moderator.pipeline.models import labels_of
    from moderator.pipeline.moderator import Moderator
    from moderator.policy.catalogue import find_policy
    from moderator.policy.load import load_policy
    from moderator.train.evaluate import scorer, scores_of
    from moderator.train.examples import read_text
    from moderator.train.thresholds import find_thresholds, with_thresholds

    labels = labels_of(settings.model)
    if unknown := sorted(set(only) - set(labels)):
        raise click.UsageError(f"no label {', '.join(unknown)}; known are {', '.join(labels)}")
    rows = read_text(files, labels=labels, only=sources or None, leave_out=leave_out, max_per_source=limit)
    rows = [row for row in rows if split in ("all", row.split)]
    with Moderator.load(settings=settings) as moderator:

        def progress(done: int, total: int) -> None:
            click.echo(f"\r{done}/{total}", err=True, nl=done == total)

        scores = scores_of(scorer(moderator), rows, labels, progress=progress)
        signals = [spec for each in moderator.host.detectors.values() for spec in each.signals]
        found = find_policy(settings.policy, moderator.host.policies)
        lost = moderator.host.lost
    thresholds = find_thresholds(
        rows,
        scores,
        labels,
        precisions={Action.BLOCK: block, Action.REVIEW: review},
        prevalence=prevalence,
        missing=lambda said: click.echo(said, err=True),
        only=only,
    )
    if not thresholds:
        raise TrainingError("no label reaches the precision asked for; nothing is changed")
    text, before = with_thresholds(found.source.read_bytes().decode("utf-8"), thresholds)
    load_policy(text.encode(), labels, signals, found.shown, failed=lost)
    shown = [
        {
            "id": each.rule,
            "rule": each.rule,
            "before": before[each.rule],
            "threshold": each.value,
            "precision": round(each.precision, 3),
            "low": round(each.low, 3),
            "recall": round(each.recall, 3),
            "rows": each.rows,
            "positives": each.positives,
        }
        for each in thresholds
        if each.rule in before
    ]
    print_rows(shown, _COLUMNS, as_json=as_json, empty="no rule of the policy can be changed")
    if out is not None:
        out.write_text(text, encoding="utf-8")
        click.echo(f"policy in {out}; raise its version, and run moderator policy test", err=True)
