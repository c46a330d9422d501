"""The review desk as commands open it, and the options they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderator.settings import Settings, load_settings
from moderator.types import Role, State

if TYPE_CHECKING:
    from moderator.review import ReviewDesk
    from moderator.routing import Route
    from moderator.store import Queue, Store

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
queue_option = click.option("--queue", metavar="NAME", help="Only tasks of this queue.")
viewer_option = click.option(
    "--reviewer", metavar="NAME", help="Who looks: restricted queues are shown to those who may see them."
)
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
                route_of=lambda queue: _route_of(queue, settings),
            ),
            store,
        )


@contextmanager
def open_queue(url: str | None, reviewer: str | None) -> Iterator[tuple[Queue, Store]]:
    """The tasks of the configured store, as this reviewer may see them, or whoever is not named, and the
    store itself."""
    from moderator.store import Store

    settings = load_settings(db=url)
    with Store.open(settings.db) as store:
        yield queue_for(reviewer, store, settings), store


def queue_for(reviewer: str | None, store: Store, settings: Settings) -> Queue:
    """The tasks of a store as this reviewer may see them."""
    from moderator.store import Queue

    if settings.reviewers is None:
        return Queue(store)
    return Queue(store, role=settings.reviewers.get(reviewer or "", Role.REVIEWER))


def _route_of(queue: str, settings: Settings) -> Route | None:
    """A queue of the configured policy; asked only where a task is moved."""
    from moderator.host import PluginHost
    from moderator.pipeline.models import labels_of
    from moderator.policy import find_policy, load_policy

    labels = labels_of(settings.model)
    host = PluginHost.discover(settings, labels)
    files = find_policy(settings.policy, host.policies)
    signals = [spec for detector in host.detectors.values() for spec in detector.signals]
    policy = load_policy(
        files.source, labels, signals, files.shown, failed=host.lost, blocked=tuple(host.blocked)
    )
    return next((rule.route for rule in policy.queues if rule.name == queue), None)


def _rules_of(digest: str, settings: Settings) -> Collection[str] | None:
    """The rules of a policy installed or configured; asked only for a rule that the verdict does not name."""
    from moderator.host import PluginHost
    from moderator.policy import rules_of_digest

    installed = PluginHost.discover(settings).policies.values()
    return rules_of_digest(digest, [*installed, Path(settings.policy)])
