"""``moderator queue``: what may follow a decision, and closing without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moderator.cli.output import db_option, json_option
from moderator.cli.queue_desk import (
    PLACES,
    key_option,
    open_desk,
    queue_for,
    queue_option,
    reason_option,
    reviewer_option,
    rule_option,
    task_argument,
    token_option,
)
from moderator.cli.receipt_view import print_receipt, receipt_json
from moderator.cli.terminal import echo_json
from moderator.settings import load_settings
from moderator.types import Action

if TYPE_CHECKING:
    from moderator.store import Queue

_PAGE = 1000


@click.command("second-review")
@task_argument
@reviewer_option
@reason_option
@key_option
@db_option
@json_option
def second_review(
    task: int, reviewer: str, reason: str, key: str | None, db: str | None, as_json: bool
) -> None:
    """Have a decided task decided once more by somebody else, who does not see the decision."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.second_review(task, reviewer, reason, idempotency_key=key), as_json)


@click.command("appeal")
@task_argument
@click.option("--by", "filed_by", metavar="NAME", required=True, help="Who appeals.")
@click.option("--reason", metavar="TEXT", required=True, help="What they say.")
@key_option
@db_option
@json_option
def appeal(task: int, filed_by: str, reason: str, key: str | None, db: str | None, as_json: bool) -> None:
    """File an appeal against the decision on a task. Another reviewer will answer it."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.appeal(task, filed_by, reason, idempotency_key=key), as_json)


@click.command("uphold")
@task_argument
@reviewer_option
@reason_option
@rule_option
@token_option
@key_option
@db_option
@json_option
def uphold(
    task: int,
    reviewer: str,
    reason: str,
    policy_rule: str | None,
    token: int | None,
    key: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Answer an appeal: the decision stands, and the task is closed."""
    with open_desk(db) as (desk, _):
        print_receipt(
            desk.uphold(task, reviewer, reason, policy_rule, token=token, idempotency_key=key), as_json
        )


@click.command("reverse")
@task_argument
@reviewer_option
@reason_option
@rule_option
@token_option
@key_option
@db_option
@json_option
def reverse(
    task: int,
    reviewer: str,
    reason: str,
    policy_rule: str | None,
    token: int | None,
    key: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Answer an appeal: the opposite decision takes the place of the one appealed."""
    with open_desk(db) as (desk, _):
        print_receipt(
            desk.reverse(task, reviewer, reason, policy_rule, token=token, idempotency_key=key), as_json
        )


@click.command("reopen")
@task_argument
@reviewer_option
@reason_option
@key_option
@db_option
@json_option
def reopen(task: int, reviewer: str, reason: str, key: str | None, db: str | None, as_json: bool) -> None:
    """Put a decided or closed task back in line."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.reopen(task, reviewer, reason, idempotency_key=key), as_json)


@click.command("close")
@click.argument("tasks", type=int, nargs=-1)
@click.option("--state", type=click.Choice(PLACES), help="All tasks in this state.")
@click.option(
    "--action",
    type=click.Choice([each.value for each in Action]),
    help="With --state: only those of which the machine said so.",
)
@queue_option
@reviewer_option
@reason_option
@click.option("--yes", "confirm", type=int, metavar="N", help="Their number, to confirm.")
@db_option
@json_option
def close(
    tasks: tuple[int, ...],
    state: str | None,
    action: str | None,
    queue: str | None,
    reviewer: str,
    reason: str,
    confirm: int | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Close TASKS, or all in a state, without deciding them: all, or none if one cannot be closed."""
    if bool(tasks) == bool(state):
        raise click.UsageError("name the tasks to close, or --state for all of them in a state")
    if (action or queue) and not state:
        raise click.UsageError("--action and --queue go with --state")
    with open_desk(db) as (desk, store):
        seen = queue_for(reviewer, store, load_settings(db=db))
        ids = list(dict.fromkeys(tasks)) if tasks else _found(seen, str(state), action, queue)
        if confirm is None:
            raise click.UsageError(f"this would close {len(ids)} tasks; to do it, add --yes {len(ids)}")
        receipts = desk.close(ids, reviewer, reason, confirm=confirm)
    if as_json:
        echo_json([receipt_json(receipt) for receipt in receipts])
    else:
        click.echo(f"closed {len(receipts)} tasks")


AFTER = (second_review, appeal, uphold, reverse, reopen, close)


def _found(tasks: Queue, state: str, action: str | None, queue: str | None) -> list[int]:
    ids: list[int] = []
    cursor: str | None = None
    while True:
        page = tasks.list_tasks(
            state=state, action=Action(action) if action else None, queue=queue, limit=_PAGE, cursor=cursor
        )
        ids += [task.id for task in page.tasks]
        if (cursor := page.cursor) is None:
            return ids
