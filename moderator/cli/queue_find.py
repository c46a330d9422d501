"""``moderator queue find``: tasks by what they are about."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.queue_desk import PLACES, open_queue, queue_option, viewer_option
from moderator.cli.task_view import listed, task_row
from moderator.cli.terminal import echo_json
from moderator.types import Action, Modality

_COLUMNS = ("id", "queue", "state", "action", "item", "highest", "reasons", "due")
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command("find")
@click.option("--text", "words", metavar="WORDS", help="All of these stand in its texts ([store] words).")
@click.option("--label", metavar="LABEL", help="This label scores at least --min [default: 0.5].")
@click.option("--min", "least", type=click.FloatRange(0, 1), help="Lowest score of the label.")
@click.option("--max", "most", type=click.FloatRange(0, 1), help="Highest score of the label.")
@click.option("--modality", type=click.Choice([each.value for each in Modality]), help="It has such a part.")
@click.option("--language", type=click.Choice(["zh", "other"]), help="Of one of its texts.")
@click.option("--source", metavar="NAME", help="What the scan read, as `moderator scan` was given it.")
@click.option("--policy", metavar="DIGEST", help="The policy of its verdict, or the digest's beginning.")
@click.option("--model", metavar="DIGEST", help="The model of its verdict, or the digest's beginning.")
@click.option("--by", "by", metavar="NAME", help="Who holds it or decided on it.")
@click.option("--since", type=_TIME, help="Opened at this time or later, UTC.")
@click.option("--until", type=_TIME, help="Opened before this time, UTC.")
@click.option("--action", type=click.Choice([each.value for each in Action]), help="What the machine said.")
@click.option("--state", type=click.Choice([*PLACES]), help="Where it stands [default: anywhere].")
@queue_option
@click.option(
    "--degraded", metavar="REASON", help="Why it could not be judged in full, up to the first colon; or any."
)
@click.option(
    "--order",
    type=click.Choice(["urgency", "newest", "oldest", "score"]),
    default="urgency",
    show_default=True,
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--cursor", metavar="CURSOR", help="Continue after an earlier page of the same search.")
@viewer_option
@db_option
@json_option
def find(
    limit: int,
    cursor: str | None,
    reviewer: str | None,
    by: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    db: str | None,
    as_json: bool,
    **asked: str | float | None,
) -> None:
    """Find review tasks by what they are about, finished ones too."""
    with open_queue(db, reviewer) as (tasks, _):
        from moderator.store import Filter

        wanted = Filter(
            **asked,  # type: ignore[arg-type]
            reviewer=by,
            action=None if action is None else Action(action),
            since=None if since is None else since.replace(tzinfo=UTC),
            until=None if until is None else until.replace(tzinfo=UTC),
        )
        page = tasks.query(wanted, limit=limit, cursor=cursor)
    rows = [task_row(task) for task in page.tasks]
    if as_json:
        echo_json(rows)
    else:
        print_rows([listed(row) for row in rows], _COLUMNS, as_json=False, empty="no such task")
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)
