"""Claims, and what an act came to, as people and scripts read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from moderator.cli.output import print_rows
from moderator.cli.task_view import decision_json
from moderator.cli.terminal import echo_json, visible
from moderator.types import Action

if TYPE_CHECKING:
    from moderator.review import Claim, Receipt


def print_claims(claims: list[Claim], as_json: bool) -> None:
    """Claims as a table, or as a JSON list."""
    rows = [
        {
            "id": claim.task_id,
            "token": claim.token,
            "reviewer": claim.reviewer,
            "until": claim.until.isoformat(timespec="milliseconds"),
        }
        for claim in claims
    ]
    if as_json:
        echo_json(rows)
        return
    shown = [{**row, "reviewer": visible(str(row["reviewer"]))} for row in rows]
    print_rows(shown, ("id", "token", "reviewer", "until"), as_json=False, empty="no task is waiting")


def print_receipt(receipt: Receipt, as_json: bool, machine: Action | None = None) -> None:
    """What an act came to, as a line or as JSON; ``machine`` said so before."""
    if as_json:
        echo_json(receipt_json(receipt))
        return
    decision = receipt.decision
    if decision is not None:
        overrides = "" if machine in (None, decision.action) else f", overriding {machine}"
        by = f"{decision.action} by {visible(decision.reviewer)}{overrides}"
        said = by if receipt.act.value == "decide" else f"{receipt.act}: {by}"
        click.echo(f"task {receipt.task_id}: {said}")
    else:
        by = f" by {visible(receipt.reviewer)}" if receipt.reviewer else ""
        click.echo(f"task {receipt.task_id}: {receipt.act}{by}, now {receipt.state}")


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """What an act came to, as plain JSON."""
    return {
        "id": receipt.task_id,
        "act": receipt.act.value,
        "state": receipt.state.value,
        "reviewer": receipt.reviewer,
        "at": receipt.at.isoformat(timespec="milliseconds"),
        "event": receipt.event,
        "decision": None if receipt.decision is None else decision_json(receipt.decision),
    }
