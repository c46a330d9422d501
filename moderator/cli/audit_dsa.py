"""``moderator audit dsa``: statements of reasons for the EU's Transparency Database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from moderator.cli.output import db_option
from moderator.settings import load_settings


@click.command()
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    required=True,
    help="Removals from this moment on, UTC.",
)
@click.option("--platform", metavar="NAME", required=True, help="Begins the ids: letters, digits, - and _.")
@click.option("--terms", metavar="TEXT", required=True, help="What your terms are called.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write here instead of to the standard output.",
)
@db_option
def dsa(since: datetime, platform: str, terms: str, output: Path | None, db: str | None) -> None:
    """Write statements of reasons (EU Digital Services Act) for posts that were blocked.

    One line a bulk call: {"statements": […]}, at most 100 in each. Of several decisions on a post the one
    in force counts. They name no person and hold nothing of the post.
    """
    from moderator.audit.dsa import bulks, statement
    from moderator.audit.removals import removals
    from moderator.store import Store

    start = int(since.replace(tzinfo=UTC).timestamp() * 1_000_000)
    count = 0
    with Store.open(db or load_settings().db, migrate=False) as store, store.reading() as connection:

        def made() -> Iterator[dict[str, Any]]:
            nonlocal count
            for removal in removals(connection, start):
                count += 1
                yield statement(removal, platform=platform, terms=terms)

        with click.open_file(str(output or "-"), "w", encoding="utf-8") as file:
            for body in bulks(made()):
                file.write(json.dumps(body, ensure_ascii=False) + "\n")
    click.echo(f"{count} statements", err=True)
