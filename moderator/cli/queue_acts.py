"""``moderator queue``: claiming tasks and deciding them."""

from __future__ import annotations

import click

from moderator.cli.output import db_option, json_option
from moderator.cli.queue_desk import (
    key_option,
    lease_option,
    needed_token_option,
    open_desk,
    queue_option,
    reason_option,
    reviewer_option,
    rule_option,
    task_argument,
    token_option,
)
from moderator.cli.receipt_view import print_claims, print_receipt
from moderator.types import Action


@click.command("claim")
@click.argument("task", type=int, required=False)
@reviewer_option
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True)
@queue_option
@lease_option
@db_option
@json_option
def claim(
    task: int | None,
    reviewer: str,
    count: int,
    queue: str | None,
    lease: float | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Claim TASK, or the most urgent tasks waiting. Nobody else gets them until the lease runs out."""
    if task is not None and (count != 1 or queue is not None):
        raise click.UsageError("--count and --queue are for the most urgent tasks; leave them out with TASK")
    with open_desk(db) as (desk, _):
        if task is None:
            claims = desk.claim(reviewer, count, queue=queue, lease_seconds=lease)
        else:
            claims = [desk.claim_task(task, reviewer, lease_seconds=lease)]
    print_claims(claims, as_json)


@click.command("renew")
@task_argument
@reviewer_option
@needed_token_option
@lease_option
@db_option
@json_option
def renew(task: int, reviewer: str, token: int, lease: float | None, db: str | None, as_json: bool) -> None:
    """Hold a claimed task for a whole lease from now."""
    with open_desk(db) as (desk, _):
        print_claims([desk.renew(task, reviewer, token, lease_seconds=lease)], as_json)


@click.command("release")
@task_argument
@reviewer_option
@needed_token_option
@db_option
@json_option
def release(task: int, reviewer: str, token: int, db: str | None, as_json: bool) -> None:
    """Give a claimed task back."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.release(task, reviewer, token), as_json)


@click.command("skip")
@task_argument
@reviewer_option
@reason_option
@token_option
@key_option
@db_option
@json_option
def skip(
    task: int, reviewer: str, reason: str, token: int | None, key: str | None, db: str | None, as_json: bool
) -> None:
    """Give a task back for somebody else; it is not offered to this reviewer again."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.skip(task, reviewer, reason, token=token, idempotency_key=key), as_json)


@click.command("move")
@task_argument
@click.option("--to", "queue", metavar="NAME", required=True, help="A queue of the policy in use.")
@reviewer_option
@reason_option
@token_option
@key_option
@db_option
@json_option
def move(
    task: int,
    queue: str,
    reviewer: str,
    reason: str,
    token: int | None,
    key: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Put a task into another queue, where it waits anew; also one the reviewer may not work on."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.move(task, queue, reviewer, reason, token=token, idempotency_key=key), as_json)


@click.command("escalate")
@task_argument
@reviewer_option
@reason_option
@token_option
@key_option
@db_option
@json_option
def escalate(
    task: int, reviewer: str, reason: str, token: int | None, key: str | None, db: str | None, as_json: bool
) -> None:
    """Hand a task on to a senior reviewer."""
    with open_desk(db) as (desk, _):
        print_receipt(desk.escalate(task, reviewer, reason, token=token, idempotency_key=key), as_json)


@click.command("decide")
@task_argument
@click.option("--action", type=click.Choice(["allow", "block"]), required=True)
@reviewer_option
@reason_option
@rule_option
@click.option(
    "--label",
    "labels",
    metavar="LABEL=yes|no",
    multiple=True,
    help="Say whether a label applies; may be repeated.",
)
@token_option
@key_option
@db_option
@json_option
def decide(
    task: int,
    action: str,
    reviewer: str,
    reason: str,
    policy_rule: str | None,
    labels: tuple[str, ...],
    token: int | None,
    key: str | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Decide a task. A new record is kept beside the machine's verdict, which stays as it is."""
    from moderator.store import Queue

    corrected = dict(label_answer(given) for given in labels)
    with open_desk(db) as (desk, store):
        receipt = desk.decide(
            task, Action(action), reviewer, reason, policy_rule, labels=corrected, token=token,
            idempotency_key=key,
        )  # fmt: skip
        machine = Queue(store).show(task).task.action
    print_receipt(receipt, as_json, machine)


ACTS = (claim, renew, release, skip, move, escalate, decide)


def label_answer(given: str) -> tuple[str, bool]:
    """``LABEL=yes|no``, read."""
    label, _, answer = given.partition("=")
    if answer not in ("yes", "no"):
        raise click.UsageError(f"--label {given}: write LABEL=yes or LABEL=no")
    return label, answer == "yes"
