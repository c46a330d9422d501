"""``moderator queue``: how well is decided, by whom, and against whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.terminal import echo_json, visible
from moderator.settings import Review, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from moderator.review.strikes import Strike
    from moderator.store import Store

_MEASURES = ("kind", "on", "reviewer", "other", "count", "hits", "value", "low", "high")
_STRIKES = ("author", "strikes", "tasks", "newest", "until")
_REPORTERS = ("reporter", "bot", "reports", "blocked", "allowed", "accuracy", "low", "high")

since_option = click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only from this moment on, UTC.",
)


@click.command("agreement")
@since_option
@db_option
@json_option
def agreement(since: datetime | None, db: str | None, as_json: bool) -> None:
    """Measure how far reviewers agree with each other, with golden tasks and with appeals.

    \b
      agreement  Cohen's kappa over first and blind second decisions; hits: those that agree
      accuracy   golden tasks answered right
      reversal   answered appeals against their decisions that were reversed
    """
    with _reading(db) as (connection, _):
        from moderator.review.agreement import measures

        found = measures(connection, _stored(since))
    rows: list[dict[str, Any]] = [
        {
            "id": ".".join(filter(None, (each.kind, each.on, each.reviewer, each.other))),
            **{name: getattr(each, name) for name in _MEASURES},
        }
        for each in found
    ]
    _print(rows, _MEASURES, as_json, "nothing to measure: no second reviews, golden answers or appeals")


@click.command("strikes")
@click.option("--author", metavar="NAME", help="Only of this author.")
@db_option
@json_option
def strikes(author: str | None, db: str | None, as_json: bool) -> None:
    """List authors whose posts people blocked lately, and the tasks; who has most strikes comes first."""
    with _reading(db) as (connection, terms):
        from moderator.review.strikes import active, by_author

        found = by_author(active(connection, terms, author))
    rows: list[dict[str, Any]] = [
        {
            "id": name,
            "author": name,
            "strikes": len(each),
            "tasks": [strike.task_id for strike in each],
            "newest": each[-1].since.isoformat(timespec="seconds"),
            "until": each[-1].until.isoformat(timespec="seconds"),
        }
        for name, each in found.items()
    ]
    _print(rows, _STRIKES, as_json, "no strikes")


@click.command("reporters")
@since_option
@db_option
@json_option
def reporters(since: datetime | None, db: str | None, as_json: bool) -> None:
    """Show how often what each reporter reported was blocked; people first, then software."""
    with _reading(db) as (connection, terms):
        from moderator.review.reporters import reporters

        found = reporters(connection, terms, _stored(since))
    rows: list[dict[str, Any]] = [
        {
            "id": each.name,
            "reporter": each.name,
            "bot": each.bot,
            "reports": each.reports,
            "blocked": each.blocked,
            "allowed": each.allowed,
            "accuracy": each.accuracy,
            "low": each.low,
            "high": each.high,
        }
        for each in found
    ]
    _print(rows, _REPORTERS, as_json, "no reports")


QUALITY = (agreement, strikes, reporters)


def strikes_on(store: Store, task: int) -> list[Strike]:
    """The strikes of the author of a task's post, for other posts."""
    from moderator.review.strikes import against_author_of

    with store.reading() as connection:
        return against_author_of(connection, task, load_settings().review)


def exposure_rows(db: str | None) -> list[dict[str, Any]]:
    """Reviewer by reviewer, the graphic tasks of the last shift, as rows of ``stats``."""
    with _reading(db) as (connection, terms):
        from moderator.review.exposure import seen_lately

        seen = seen_lately(connection, terms)
    return [{"id": f"graphic.{name}", "count": count} for name, count in seen.items()]


def _stored(since: datetime | None) -> int:
    return 0 if since is None else int(since.replace(tzinfo=UTC).timestamp() * 1_000_000)


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, empty: str) -> None:
    if as_json:
        echo_json(rows)
        return
    shown = [
        {key: visible(value, 120) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]
    print_rows(shown, columns, as_json=False, empty=empty)


@contextmanager
def _reading(url: str | None) -> Iterator[tuple[Connection, Review]]:
    from moderator.store import Store  # SQLAlchemy: not for --help

    settings = load_settings(db=url)
    with Store.open(settings.db) as store, store.reading() as connection:
        yield connection, settings.review
