"""The review desk as commands open it, and the options they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderator.settings import Settings, load_settings
from moderator.types import State

if TYPE_CHECKING:
    from moderator.review import ReviewDesk
    from moderator.store import Store

PLACES = ("waiting", *(each.value for each in State))
"""What tasks are listed by; waiting are those that anybody may take."""

task_argument = click.argument("task", type=int)
reviewer_option = click.option("--reviewer", metavar="NAME", required=True, help="Who does it.")
reason_option = click.option("--reason", metavar="TEXT", required=True, help="Why.")
token_option = click.option(
    "--token", type=int, help="Token of the claim; without it, a waiting task is claimed at once."
)
needed_token_option = click.option("--token", type=int, required=True, help="Token of the claim.")
lease_option = click.option("--lease", type=float, metavar="SECONDS", help="How long the claim holds.")
rule_option = click.option(
    "--policy-rule",
    metavar="RULE",
    help="The rule of the policy it rests on [default: the one that made the verdict, or the decision].",
)
key_option = click.option("--key", help="Idempotency key: again with the same key, nothing is done twice.")


@contextmanager
def open_desk(url: str | None) -> Iterator[tuple[ReviewDesk, Store]]:
    """The desk of the configured store, with the settings' roles and terms, and the store itself."""
    from moderator.review import ReviewDesk  # SQLAlchemy: not for --help
    from moderator.store import Store

    settings = load_settings(db=url)
    with Store.open(settings.db) as store:
        yield (
            ReviewDesk(
                store,
                roles=settings.reviewers,
                terms=settings.review,
                rules_of=lambda digest: _rules_of(digest, settings),
            ),
            store,
        )


def _rules_of(digest: str, settings: Settings) -> Collection[str] | None:
    """The rules of a policy installed or configured; asked only for a rule that the verdict does not name."""
    from moderator.host import PluginHost
    from moderator.policy import rules_of_digest

    installed = PluginHost.discover(settings).policies.values()
    return rules_of_digest(digest, [*installed, Path(settings.policy)])
