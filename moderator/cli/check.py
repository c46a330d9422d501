"""``moderator check``: one post given on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from moderator.cli.output import json_option
from moderator.cli.terminal import echo_json
from moderator.settings import load_settings


@click.command()
@click.option("--text", multiple=True, metavar="T", help="Text of the post; may be repeated.")
@click.option("--image", multiple=True, metavar="F", type=click.Path(path_type=Path), help="Image file.")
@click.option("--audio", multiple=True, metavar="F", type=click.Path(path_type=Path), help="Audio file.")
@click.option("--video", multiple=True, metavar="F", type=click.Path(path_type=Path), help="Video file.")
@click.option("--context", metavar="JSON", help='Context for the policy, e.g. \'{"surface": "kids"}\'.')
@click.option("--policy", metavar="NAME|FILE", help="Policy to apply [default: default].")
@click.option("--model", metavar="DIR", help="Model directory [default: the shipped model].")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda… [default: auto].")
@json_option
def check(
    text: Sequence[str],
    image: Sequence[Path],
    audio: Sequence[Path],
    video: Sequence[Path],
    context: str | None,
    policy: str | None,
    model: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Judge one post made of all the parts given. Nothing is stored."""
    if not (text or image or audio or video):
        raise click.UsageError("nothing to judge: give --text, --image, --audio or --video")
    facts = _parsed(context)
    settings = load_settings(policy=policy, model=model, device=device)
    from moderator.cli.verdict_view import failure_lines, verdict_detail
    from moderator.pipeline.moderator import Moderator

    with Moderator.load(settings=settings) as moderator:
        verdict = moderator.check(
            text=list(text), image=list(image), audio=list(audio), video=list(video), context=facts
        )
        for line in failure_lines(moderator.failures):
            click.echo(line, err=True)
        if as_json:
            from moderator.sources import verdict_line

            echo_json(json.loads(verdict_line(verdict)))
            return
        from rich.console import Console

        Console().print(verdict_detail(verdict))


def _parsed(context: str | None) -> dict[str, object]:
    if context is None:
        return {}
    try:
        facts = json.loads(context)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--context") from error
    if not isinstance(facts, dict):
        raise click.BadParameter("must be a JSON object", param_hint="--context")
    return facts
