"""``moderator models export``: a model in a smaller form, and what is lost by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import json_option, print_rows
from moderator.settings import Settings, load_settings

if TYPE_CHECKING:
    from moderator.train.compared import Comparison
    from moderator.train.quantise import Stored

_COLUMNS = ("figure", "before", "after", "change")


@click.command("export", short_help="Write a model with its text encoder in 8 bits, and measure the loss.")
@click.argument("out", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Weights in 8 bits: required, the one form there is so far.")
@click.option(
    "--data",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labelled texts (.jsonl or .jsonl.zst) to measure the loss on; may be repeated "
    "[default: a few texts that come with Moderator, without labels].",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many rows per source.")
@click.option("--model", metavar="MODEL", help="Model directory to start from [default: the shipped model].")
@click.option("--policy", metavar="NAME|FILE", help="Policy whose actions are compared [default: default].")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda… [default: auto].")
@json_option
def export(
    out: Path,
    int8: bool,
    data: Sequence[Path],
    limit: int | None,
    model: str | None,
    policy: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Write the model to DIR, its text encoder in 8 bits, and print what that changes.

    DIR needs no other weights for texts. Both models then judge the same texts, in turns.

    \b
      moderator models export small --int8 --data mine.jsonl
      moderator scan posts.jsonl --model small
    """
    if not int8:
        raise click.UsageError("say in which form: --int8")
    settings = load_settings(model=model, policy=policy, device=device)
    from moderator.pipeline.models import labels_of
    from moderator.pipeline.moderator import Moderator
    from moderator.train.compared import compare, sample
    from moderator.train.examples import at_most, read_text
    from moderator.train.quantise import export_int8

    examples = at_most(read_text(data, labels=labels_of(settings.model)), limit) if data else sample()
    if not examples:
        raise click.UsageError("--data: no rows with a label the model knows")
    stored = export_int8(out, settings, lambda line: click.echo(line, err=True))
    with (
        Moderator.load(settings=settings) as before,
        Moderator.load(settings=_of(settings, out, stored)) as after,
    ):
        compared = compare(before, after, examples, _progress)
        precisions = [
            {name: each.host.embedders[name].precision for name in (one.name for one in stored)}
            for each in (before, after)
        ]
    rows = [*_sizes(stored, precisions), *_losses(compared)]
    print_rows(rows, _COLUMNS, as_json=as_json, empty="")
    if not as_json:
        source = (
            ", ".join(path.name for path in data)
            or "texts that come with Moderator, to try it out: see --data"
        )
        click.echo(f"\n{compared.texts} texts ({source})\nwritten: use it with --model {out}")
    if compared.left_out:
        click.echo(f"{compared.left_out} texts could not be scored and are left out", err=True)


def _of(settings: Settings, out: Path, stored: Sequence[Stored]) -> Settings:
    """The same with the model just written: weights the settings name are those it was made from."""
    plugins: dict[str, Mapping[str, Any]] = dict(settings.plugins)
    for each in stored:
        given = plugins.get(each.name, {})
        plugins[each.name] = {key: value for key, value in given.items() if key != "weights"}
    return replace(settings, model=str(out), plugins=plugins)


def _progress(done: int, total: int) -> None:
    click.echo(f"\rcompared {done}/{total}", err=True, nl=done == total)


def _sizes(stored: Sequence[Stored], precisions: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    rows = []
    for each in stored:
        before, after = each.before / 1e6, each.after / 1e6
        rows.append(_row("megabytes", before, after, after - before, of=each.name))
        first, second = (given[each.name] for given in precisions)
        rows.append(_row("precision", first, second, of=each.name))
    return rows


def _losses(found: Comparison) -> list[dict[str, Any]]:
    share = 100 / max(1, found.texts + found.left_out)
    return [
        _row("texts a second", *found.rates, found.rates[1] - found.rates[0]),
        _row("score difference, mean", change=found.mean),
        _row("score difference, largest", change=found.largest, of=found.label),
        _row("actions changed, %", change=found.changed * share),
        _row("actions milder, %", change=found.milder * share),
        *(_row("AUROC", one, other, other - one, of=label) for label, (one, other) in found.auroc.items()),
    ]


def _row(
    figure: str, before: Any = None, after: Any = None, change: float | None = None, *, of: str = ""
) -> dict[str, Any]:
    named = f"{figure} ({of})" if of else figure
    numbers = {"before": before, "after": after, "change": change}
    return {"id": named, "figure": named, **{key: _short(value) for key, value in numbers.items()}}


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
