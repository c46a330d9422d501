"""What a policy is once it has been read and checked. Frozen, and independent of its file."""

from __future__ import annotations

from dataclasses import dataclass, field

from moderator.routing import Route, Weights
from moderator.types import Action

CONTEXT = "item"
"""The variable that holds an item's context in conditions: ``item.surface == "kids"``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: if ``when`` (CEL) holds, the item deserves ``then``; ``why`` is told to people."""

    name: str
    when: str
    then: Action
    why: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class QueueRule:
    """A queue for tasks: those for which ``when`` (CEL) holds, if no queue before takes them. That of the
    default queue is empty: it takes the rest."""

    when: str
    route: Route
    line: int = 0

    @property
    def name(self) -> str:
        return self.route.queue


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy. Build it with ``load_policy``.

    ``otherwise``: the action when no rule holds. ``on_degraded``: the least an item gets that could
    not be judged in full. ``review_blocks``: a blocked item gets a review task too. ``digest``: SHA-256
    of the file's bytes, which are ``text``. ``labels`` and ``signals``: those its conditions mention, so that
    the caller knows which detectors this policy depends on. ``unheard``: names that are neither, taken for
    signals of plugins that failed; ``degraded``: why, a reason that holds for every item. ``queues``: in the
    order in which they are asked, the default queue last; ``weights``: what makes a task urgent.
    """

    name: str
    version: int
    rules: tuple[Rule, ...]
    otherwise: Action
    on_degraded: Action
    digest: str
    text: bytes = field(default=b"", repr=False)
    description: str = ""
    review_blocks: bool = False
    labels: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()
    uses_context: bool = False
    unheard: frozenset[str] = frozenset()
    degraded: tuple[str, ...] = ()
    queues: tuple[QueueRule, ...] = (QueueRule("", Route()),)
    weights: Weights = field(default_factory=Weights)

    @property
    def variables(self) -> frozenset[str]:
        """Every name the conditions mention: labels, signals, and ``item`` if the context is used."""
        return self.labels | self.signals | self.unheard | ({CONTEXT} if self.uses_context else set())
