"""``moderator queue``: what people shall look at, and what they decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import db_option, json_option, print_rows
from moderator.cli.queue_acts import ACTS
from moderator.cli.queue_after import AFTER
from moderator.cli.queue_desk import PLACES, open_desk, open_queue, queue_option, viewer_option
from moderator.cli.queue_find import find
from moderator.cli.queue_golden import golden
from moderator.cli.queue_quality import QUALITY, exposure_rows, strikes_on
from moderator.cli.task_view import detail_json, detail_lines, listed, readable, task_row
from moderator.cli.terminal import echo_json
from moderator.types import Action

if TYPE_CHECKING:
    from moderator.store import Store
    from moderator.store.queue import TaskDetail

_COLUMNS = ("id", "queue", "state", "action", "item", "highest", "reasons", "due")


@click.group()
def queue() -> None:
    """Work the review queue."""


@queue.command("list")
@click.option("--state", type=click.Choice([*PLACES, "all"]), default=PLACES[0], show_default=True)
@click.option("--action", type=click.Choice([each.value for each in Action]), help="What the machine said.")
@queue_option
@click.option("--overdue", is_flag=True, help="Only what is past its due time, longest overdue first.")
@viewer_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--cursor", metavar="CURSOR", help="Continue after an earlier listing.")
@db_option
@json_option
def list_(
    state: str,
    action: str | None,
    queue: str | None,
    overdue: bool,
    reviewer: str | None,
    limit: int,
    cursor: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """List review tasks, most urgent first, then oldest. Waiting are those open or queued."""
    with open_queue(db, reviewer) as (tasks, _):
        page = tasks.list_tasks(
            state=None if state == "all" else state,
            action=Action(action) if action else None,
            queue=queue,
            overdue=overdue,
            limit=limit,
            cursor=cursor,
        )
    rows = [task_row(task) for task in page.tasks]
    if as_json:
        echo_json(rows)
    else:
        print_rows([listed(row) for row in rows], _COLUMNS, as_json=False, empty="no tasks")
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@queue.command("next")
@click.option("--reviewer", metavar="NAME", help="Claim the task for this reviewer.")
@queue_option
@click.option("--lease", type=float, metavar="SECONDS", help="How long a claim holds.")
@db_option
@json_option
def next_(
    reviewer: str | None, queue: str | None, lease: float | None, db: str | None, as_json: bool
) -> None:
    """Show what is due or the most urgent task, and claim it if a reviewer is named."""
    if reviewer is None:
        with open_queue(db, None) as (tasks, store):
            _print(tasks.next_task(queue), store, as_json)
        return
    with open_desk(db) as (desk, store):
        from moderator.store import Queue

        claimed = desk.claim(reviewer, queue=queue, lease_seconds=lease)
        _print(Queue(store).show(claimed[0].task_id) if claimed else None, store, as_json)


@queue.command()
@click.argument("task", type=int)
@click.option("--reveal", is_flag=True, help="Show what others decided, also in a blind second review.")
@viewer_option
@db_option
@json_option
def show(task: int, reveal: bool, reviewer: str | None, db: str | None, as_json: bool) -> None:
    """Show a task: content, reasons, scores, decisions, appeals, what was done."""
    with open_queue(db, reviewer) as (tasks, store):
        _print(tasks.show(task, reveal=reveal), store, as_json)


@queue.command()
@viewer_option
@db_option
@json_option
def stats(reviewer: str | None, db: str | None, as_json: bool) -> None:
    """Count tasks by state and queue, decisions by reviewer, graphic tasks of this shift, and overrides."""
    with open_queue(db, reviewer) as (tasks, _):
        found = tasks.stats()
    rows: list[dict[str, Any]] = [
        {"id": f"tasks.{state}.{action}", "count": count}
        for (state, action), count in sorted(found.tasks.items())
    ]
    rows += [
        {"id": f"decisions.{machine}.{person}", "count": count}
        for (machine, person), count in sorted(found.decisions.items())
    ]
    rows += [{"id": f"reviewers.{name}", "count": count} for name, count in found.reviewers.items()]
    rows += exposure_rows(db)
    rows.append({"id": "overrides", "count": found.overrides})
    for name, each in found.queues.items():
        rows.append(
            {
                "id": f"queues.{name}.waiting",
                "count": each.waiting,
                "oldest": each.oldest.isoformat(timespec="seconds"),
                "next_due": each.next_due.isoformat(timespec="seconds"),
            }
        )
        rows.append({"id": f"queues.{name}.overdue", "count": each.overdue})
    if as_json:
        echo_json(rows)
        return
    print_rows(
        [readable(row) for row in rows], ("id", "count", "oldest", "next_due"), as_json=False, empty=""
    )
    if found.oldest_open:
        click.echo(f"oldest task waiting: since {found.oldest_open:%Y-%m-%d %H:%M} UTC")


for each in (*ACTS, *AFTER, *QUALITY, golden, find):
    queue.add_command(each)


def _print(detail: TaskDetail | None, store: Store, as_json: bool) -> None:
    strikes = [] if detail is None else strikes_on(store, detail.task.id)
    if as_json:
        echo_json(None if detail is None else detail_json(detail, strikes))
    elif detail is None:
        click.echo("the queue is empty")
    else:
        click.echo("\n".join(detail_lines(detail, strikes)))
