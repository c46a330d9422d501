"""``moderator calibrate``: a policy's thresholds from the precision one wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from moderator.cli.output import json_option, print_rows
from moderator.settings import load_settings
from moderator.types import Action, Item, Scores

_COLUMNS = ("rule", "before", "threshold", "precision", "low", "recall", "rows", "positives")


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--policy", metavar="NAME|FILE", help="Policy to start from [default: the active one].")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the new policy here.")
@click.option("--block", default=0.95, show_default=True, help="Precision of rules that block.")
@click.option("--review", default=0.6, show_default=True, help="Precision of rules that ask a person.")
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="How frequent each label is where the policy will be used [default: as in FILES].",
)
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
    import numpy as np

    from moderator.errors import TrainingError
    from moderator.pipeline.moderator import Moderator
    from moderator.policy.catalogue import find_policy
    from moderator.policy.load import load_policy
    from moderator.taxonomy import DEFAULT
    from moderator.train.evaluate import scores_of
    from moderator.train.examples import read_text
    from moderator.train.losses import targets_of
    from moderator.train.thresholds import find_threshold, with_thresholds

    rows = read_text(
        files, labels=DEFAULT.names, only=sources or None, leave_out=leave_out, max_per_source=limit
    )
    rows = [row for row in rows if split in ("all", row.split)]
    with Moderator.load(settings=settings) as moderator:

        def score(items: Sequence[Item]) -> Iterable[Scores]:
            return (verdict.scores for verdict in moderator.judge(items))

        def progress(done: int, total: int) -> None:
            click.echo(f"\r{done}/{total}", err=True, nl=done == total)

        scores = scores_of(score, rows, DEFAULT.names, progress=progress)
        signals = [spec for each in moderator.host.detectors.values() for spec in each.signals]
        found = find_policy(settings.policy, moderator.host.policies)
    targets = targets_of(rows, DEFAULT.names)
    thresholds = []
    for column, label in enumerate(DEFAULT.names):
        known = ~np.isnan(targets[:, column]) & np.isfinite(scores[:, column])
        truth, values = targets[known, column] >= 0.5, scores[known, column]
        for action, precision in ((Action.BLOCK, block), (Action.REVIEW, review)):
            made = find_threshold(label, action, truth, values, precision=precision, prevalence=prevalence)
            if made is None:
                click.echo(
                    f"{label}: no threshold reaches a precision of {precision:g} with 20 harmful rows above "
                    f"it ({int(truth.sum())} harmful of {len(truth)} rows); its {action.value} rule stays",
                    err=True,
                )
            else:
                thresholds.append(made)
    if not thresholds:
        raise TrainingError("no label reaches the precision asked for; nothing is changed")
    text, before = with_thresholds(found.source.read_bytes().decode("utf-8"), thresholds)
    load_policy(text.encode(), DEFAULT.names, signals, found.shown)
    shown: list[dict[str, Any]] = []
    for each in thresholds:
        name = f"{each.label.replace('_', '-')}-{each.action.value}"
        if name in before:
            figures = {"precision": each.precision, "low": each.low, "recall": each.recall}
            shown.append(
                {"id": name, "rule": name, "before": before[name], "threshold": each.value}
                | {key: round(value, 3) for key, value in figures.items()}
                | {"rows": each.rows, "positives": each.positives}
            )
    print_rows(shown, _COLUMNS, as_json=as_json, empty="no rule of the policy can be changed")
    if out is not None:
        out.write_text(text, encoding="utf-8")
        click.echo(f"policy in {out}; raise its version, and run moderator policy test", err=True)
