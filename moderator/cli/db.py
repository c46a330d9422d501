"""``moderator db``: bring the database up to date, and check that it is as this software expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from moderator.cli.output import db_option, json_option
from moderator.cli.terminal import echo_json
from moderator.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.group()
def db() -> None:
    """Upgrade and check the database."""


@db.command()
@db_option
def upgrade(db: str | None) -> None:
    """Create the database, or bring it up to the schema of this software."""
    from moderator.store import migrate

    with _engine(db) as engine:
        before = migrate.current(engine)
        migrate.upgrade(engine)
    if before == migrate.head():
        click.echo(f"already at schema {before}")
    else:
        click.echo(
            f"upgraded from schema {before} to {migrate.head()}"
            if before
            else f"created, schema {migrate.head()}"
        )


@db.command()
@db_option
@json_option
@click.pass_context
def check(context: click.Context, db: str | None, as_json: bool) -> None:
    """Say how the database differs from what this software expects; exit code 1 if it does."""
    from moderator.store import migrate

    with _engine(db) as engine:
        problems = migrate.check(engine)
    if as_json:
        echo_json([{"id": number, "problem": problem} for number, problem in enumerate(problems, 1)])
    else:
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo(f"the database is at schema {migrate.head()} and as expected")
    if problems:
        context.exit(1)


@contextmanager
def _engine(url: str | None) -> Iterator[Engine]:
    from moderator.store.engine import make_engine, parse_url  # SQLAlchemy: not for --help

    engine = make_engine(parse_url(load_settings(db=url).db))
    try:
        yield engine
    finally:
        engine.dispose()
