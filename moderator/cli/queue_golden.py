"""``moderator queue golden``: tasks whose right answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.queue_acts import label_answer
from moderator.cli.queue_desk import reason_option, reviewer_option, task_argument
from moderator.cli.terminal import echo_json, visible
from moderator.settings import load_settings
from moderator.types import Action

if TYPE_CHECKING:
    from moderator.review.golden import GoldenItem
    from moderator.review.golden_desk import GoldenDesk

_COLUMNS = ("id", "answer", "labels", "by", "reason", "since")


@click.group()
def golden() -> None:
    """Keep tasks whose right answer is known, to measure reviewers with."""


@golden.command()
@task_argument
@click.option("--action", type=click.Choice(["allow", "block"]), help="What is right [default: as decided].")
@click.option(
    "--label",
    "labels",
    metavar="LABEL=yes|no",
    multiple=True,
    help="Whether a label applies; may be repeated [default: as decided, without --action].",
)
@reviewer_option
@reason_option
@db_option
@json_option
def add(
    task: int,
    action: str | None,
    labels: tuple[str, ...],
    reviewer: str,
    reason: str,
    db: str | None,
    as_json: bool,
) -> None:
    """Say what is right for TASK, which is decided or closed; say it again to put it right.

    Copies of it are then mixed into claims (see golden_share), and their answers only measure who gave them.
    """
    said = dict(label_answer(given) for given in labels) or None
    with _desk(db) as desk:
        _print([desk.add(task, reviewer, reason, Action(action) if action else None, said)], as_json)


@golden.command()
@task_argument
@reviewer_option
@reason_option
@db_option
@json_option
def withdraw(task: int, reviewer: str, reason: str, db: str | None, as_json: bool) -> None:
    """Ask nobody about TASK any more, and let no answer to it count."""
    with _desk(db) as desk:
        _print([desk.withdraw(task, reviewer, reason)], as_json)


@golden.command("list")
@reviewer_option
@db_option
@json_option
def list_(reviewer: str, db: str | None, as_json: bool) -> None:
    """List golden tasks, for leads."""
    with _desk(db) as desk:
        _print(desk.items(reviewer), as_json)


def _print(items: list[GoldenItem], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": each.task_id,
            "action": each.action,
            "labels": dict(each.labels),
            "reviewer": each.reviewer,
            "reason": each.reason,
            "at": each.at.isoformat(),
        }
        for each in items
    ]
    if as_json:
        echo_json(rows)
        return
    shown = [
        {
            "id": row["id"],
            "answer": row["action"] or "withdrawn",
            "labels": ", ".join(
                f"{visible(name)}: {'yes' if yes else 'no'}" for name, yes in row["labels"].items()
            ),
            "by": visible(row["reviewer"]),
            "reason": visible(row["reason"], 120),
            "since": row["at"][:16].replace("T", " "),
        }
        for row in rows
    ]
    print_rows(shown, _COLUMNS, as_json=False, empty="no golden tasks")


@contextmanager
def _desk(url: str | None) -> Iterator[GoldenDesk]:
    from moderator.review.golden_desk import GoldenDesk  # SQLAlchemy: not for --help
    from moderator.store import Store

    settings = load_settings(db=url)
    with Store.open(settings.db) as store:
        yield GoldenDesk(store, roles=settings.reviewers)
