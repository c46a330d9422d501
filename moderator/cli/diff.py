"""``moderator diff``: what another model or policy would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import json_option, print_rows
from moderator.cli.terminal import echo_json, visible
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.audit.diff import Change, Comparison
    from moderator.types import Item

_EXCERPT = 60
_SHIFTS = ("label", "items", "mean", "p95", "max", "signed")
_CHANGES = ("id", "from", "to", "label", "before", "after", "text")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, metavar="DIR", help="Model: once for both, or A's, then B's."
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME|FILE",
    help="Policy: once for both, or A's, then B's.",
)
@click.option("--sample", type=click.IntRange(0), default=1000, show_default=True, help="Posts; 0 for all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which posts are drawn.")
@click.option("--reveal", is_flag=True, help="Show the beginnings of texts.")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda… [default: auto].")
@json_option
def diff(
    paths: tuple[Path, ...],
    models: tuple[str, ...],
    policies: tuple[str, ...],
    sample: int,
    seed: int,
    reveal: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Compare two models, or two policies, on a sample of posts: actions that change, how far scores move."""
    if not 1 <= max(len(models), len(policies)) <= 2 or max(len(models), len(policies)) < 2:
        raise click.UsageError("name two models or two policies to compare: --model A --model B")
    from rich.console import Console
    from rich.progress import Progress

    from moderator.audit.diff import compare, sampled
    from moderator.errors import SourceError
    from moderator.pipeline.moderator import Moderator
    from moderator.sources import open_sources

    sides = [
        load_settings(model=_nth(models, side), policy=_nth(policies, side), device=device) for side in (0, 1)
    ]
    try:
        sources = open_sources(paths, sides[0].limits)
    except SourceError as error:
        raise click.UsageError(str(error)) from error
    items = sampled((record.item for record in sources if record.item is not None), sample, seed)
    if not items:
        raise click.UsageError("there is no post that could be read")
    with (
        Moderator.load(settings=sides[0]) as first,
        Moderator.load(settings=sides[1]) as second,
        Progress(console=Console(stderr=True), transient=True) as shown,
    ):
        bar = shown.add_task("posts", total=len(items))
        found = compare(items, first, second, lambda done: shown.update(bar, completed=done))
    if as_json:
        echo_json(_as_object(found, reveal))
    else:
        _say(found, reveal)


def _nth(values: tuple[str, ...], side: int) -> str | None:
    return values[min(side, len(values) - 1)] if values else None


def _as_object(found: Comparison, reveal: bool) -> dict[str, Any]:
    return {
        "items": found.items,
        "changed": found.changes,
        "actions": [
            {"id": f"{before.value}.{after.value}", "from": before.value, "to": after.value, "count": count}
            for (before, after), count in sorted(found.actions.items())
        ],
        "degraded": {"a": found.degraded[0], "b": found.degraded[1]},
        "scores": [
            {"id": each.label, "items": each.items, "mean": each.mean, "p95": each.p95, "max": each.most,
             "signed": each.signed}
            for each in found.shifts
        ],
        "most_changed": [_change(each, reveal) for each in found.changed],
    }  # fmt: skip


def _say(found: Comparison, reveal: bool) -> None:
    share = found.changes / found.items
    click.echo(f"{found.items} posts: {found.changes} actions change ({share:.1%})")
    rows: list[dict[str, Any]] = [
        {"A": before.value, "B": after.value, "posts": count}
        for (before, after), count in sorted(found.actions.items())
    ]
    print_rows(rows, ("A", "B", "posts"), as_json=False, empty="")
    if any(found.degraded):
        click.echo(f"not judged in full: {found.degraded[0]} by A, {found.degraded[1]} by B")
    shifts = [
        {
            "label": each.label,
            "items": each.items,
            **{name: f"{value:.4f}" for name, value in (("mean", each.mean), ("p95", each.p95))},
            "max": f"{each.most:.4f}",
            "signed": f"{each.signed:+.4f}",
        }
        for each in found.shifts
    ]
    print_rows(shifts, _SHIFTS, as_json=False, empty="no scores to compare")
    if found.changed:
        print_rows([_change(each, reveal) for each in found.changed], _CHANGES, as_json=False, empty="")


def _change(change: Change, reveal: bool) -> dict[str, Any]:
    return {
        "id": visible(change.item.id, _EXCERPT),
        "from": change.before.action.value,
        "to": change.after.action.value,
        "label": change.label,
        "before": round(change.before.scores.get(change.label, 0.0), 4),
        "after": round(change.after.scores.get(change.label, 0.0), 4),
        "text": _excerpt(change.item) if reveal else "",
    }


def _excerpt(item: Item) -> str:
    texts = [str(part.value) for part in item.parts if part.modality == "text"]
    return visible(" ".join(texts), _EXCERPT)
