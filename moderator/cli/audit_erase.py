"""``moderator audit``: erasure, retention, legal holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.terminal import echo_json
from moderator.settings import Keeping, load_settings
from moderator.types import Action

if TYPE_CHECKING:
    from moderator.review.erasure import Erasure

_HOLDS = ("id", "author", "item", "reason", "placed_by", "placed_at")
author_option = click.option("--author", metavar="NAME", help="Posts whose context names this author.")
item_option = click.option("--item", metavar="ID", help="Posts of this id.")
by_option = click.option("--reviewer", metavar="NAME", required=True, help="Who does it; a lead.")
reason_option = click.option(
    "--reason", metavar="TEXT", required=True, help="Why; it stays in the log, so name nobody."
)


@click.command("erase")
@author_option
@item_option
@by_option
@reason_option
@db_option
@json_option
def erase(
    author: str | None, item: str | None, reviewer: str, reason: str, db: str | None, as_json: bool
) -> None:
    """Erase the content of an author's posts, or of a post. Verdicts, decisions and the log stay."""
    with _erasure(db) as (erasure, _):
        count = erasure.erase(reviewer, reason, author=author, item=item)
    _say({"erased": count}, f"{count} posts erased", as_json)


@click.command("hold")
@author_option
@item_option
@by_option
@reason_option
@db_option
@json_option
def hold(
    author: str | None, item: str | None, reviewer: str, reason: str, db: str | None, as_json: bool
) -> None:
    """Keep an author's posts, or a post, from erasure and retention."""
    with _erasure(db) as (erasure, _):
        number = erasure.hold(reviewer, reason, author=author, item=item)
    _say({"id": number}, f"hold {number} placed", as_json)


@click.command("release")
@click.argument("number", type=int, metavar="HOLD")
@by_option
@reason_option
@db_option
@json_option
def release(number: int, reviewer: str, reason: str, db: str | None, as_json: bool) -> None:
    """Lift a hold."""
    with _erasure(db) as (erasure, _):
        erasure.release(number, reviewer, reason)
    _say({"id": number}, f"hold {number} released", as_json)


@click.command("holds")
@db_option
@json_option
def holds(db: str | None, as_json: bool) -> None:
    """List the holds in force."""
    with _erasure(db) as (erasure, _):
        rows = [
            {
                **{name: getattr(each, name) for name in _HOLDS},
                "placed_at": each.placed_at.isoformat(timespec="seconds"),
            }
            for each in erasure.holds()
        ]
    print_rows(rows, _HOLDS, as_json=as_json, empty="no holds")


@click.command("retain")
@click.option("--dry-run", is_flag=True, help="Only say how many posts would be erased.")
@db_option
@json_option
def retain(dry_run: bool, db: str | None, as_json: bool) -> None:
    """Erase posts older than [store] allow_days, review_days and block_days; not those held or in review."""
    with _erasure(db) as (erasure, keeping):
        ages = {action: timedelta(days=days) for action, days in _days(keeping).items() if days}
        if not ages:
            raise click.UsageError("no age is set: [store] allow_days, review_days or block_days")
        counts = erasure.retain(ages, dry_run=dry_run)
    said = ", ".join(f"{count} {action.value}" for action, count in counts.items())
    _say(
        {action.value: count for action, count in counts.items()},
        f"{'would be erased' if dry_run else 'erased'}: {said}",
        as_json,
    )


def _days(keeping: Keeping) -> dict[Action, float]:
    return {
        Action.ALLOW: keeping.allow_days,
        Action.REVIEW: keeping.review_days,
        Action.BLOCK: keeping.block_days,
    }


def _say(data: dict[str, int], words: str, as_json: bool) -> None:
    if as_json:
        echo_json(data)
    else:
        click.echo(words)


@contextmanager
def _erasure(url: str | None) -> Iterator[tuple[Erasure, Keeping]]:
    from moderator.review.erasure import Erasure
    from moderator.store import Store

    settings = load_settings(db=url)
    with Store.open(settings.db) as store:
        yield Erasure(store, roles=settings.reviewers, terms=settings.review), settings.store


ERASING = (erase, hold, release, holds, retain)
