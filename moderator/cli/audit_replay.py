"""``moderator audit replay``: a recorded verdict, reached again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import db_option, json_option
from moderator.cli.terminal import echo_json, visible
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.audit.replay import Replayed
    from moderator.types import Item


@click.command("replay")
@click.argument("verdict", type=int)
@click.option(
    "--content",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What was judged, where it lies elsewhere now: a media or text file, or a JSONL file of one record.",
)
@click.option("--model", "models", multiple=True, metavar="DIR", help="Where to look for the model, too.")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda… [default: auto].")
@db_option
@json_option
def replay(
    verdict: int,
    content: Path | None,
    models: tuple[str, ...],
    device: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Judge the content of a verdict again, by its own model and policy, and say whether it comes out equal.

    Exit code 0: equal. 1: it differs, or cannot be judged again.
    """
    settings = load_settings(db=db, device=device)
    from moderator.audit.replay import replay as judge_again
    from moderator.store import Store

    with Store.open(settings.db) as store:
        given = None if content is None else _item(content)
        found = judge_again(store, verdict, settings, content=given, models=models)
    if as_json:
        echo_json(_as_object(verdict, found))
    else:
        _say(verdict, found)
    if not found.equal:
        raise SystemExit(1)


def _item(path: Path) -> Item:
    from moderator.sources import open_sources

    records = [record for record, _ in zip(open_sources([path]), range(2), strict=False)]
    if len(records) != 1 or records[0].item is None:
        problem = records[0].problem if len(records) == 1 else f"{len(records)} records or more"
        raise click.UsageError(f"--content {path}: one record is needed: {problem}")
    return records[0].item


def _as_object(verdict: int, found: Replayed) -> dict[str, Any]:
    return {
        "id": verdict,
        "equal": found.equal,
        "tolerance": found.tolerance,
        "differences": [
            {"what": each.what, "recorded": _plain(each.recorded), "again": _plain(each.again)}
            for each in found.differences
        ],
        "notes": list(found.notes),
        "policy_digest": found.recorded.policy_digest,
        "model_digest": found.recorded.model_digest,
    }


def _say(verdict: int, found: Replayed) -> None:
    if found.equal:
        scores = f"scores within {found.tolerance:g}"
        click.echo(f"verdict {verdict}: equal: {found.recorded.action.value}, {scores}")
    else:
        click.echo(f"verdict {verdict}: it comes out otherwise")
    for each in found.differences:
        click.echo(
            f"  {each.what}: {visible(str(_plain(each.recorded)))} → {visible(str(_plain(each.again)))}"
        )
    for note in found.notes:
        click.echo(f"  note: {note}")


def _plain(value: Any) -> Any:
    """A value of a verdict as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "rule"):
        return {"rule": value.rule, "action": value.action.value, "why": value.why}
    return dict(value) if hasattr(value, "items") else value
