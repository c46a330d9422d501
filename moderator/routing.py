"""Where a review task waits, and how urgent it is: what policies say of it and the store keeps.

Urgency is severity × uncertainty × reach × age, where age doubles with every ``doubling`` of waiting. Only
the order of tasks matters, so its logarithm serves as well, and there age is a term that grows alike for all:
a task twice as severe goes where one opened a ``doubling`` earlier would. That is a *head start*, fixed when
the task is opened; the order of two waiting tasks never changes, and no row is rewritten as time goes by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from moderator.types import Action, Item, Role, Verdict

DEFAULT_QUEUE = "default"
"""Where a task goes that no rule of the policy sends elsewhere."""
_LEAST = 0.01
"""Of severity: what scores nothing is not infinitely far behind."""
_MOST_REACH = 1e15


@dataclass(frozen=True, slots=True)
class Route:
    """A queue, and what it asks: kept with the task, so that it holds whatever the policy says later.

    ``due``: the time there is to decide; ``role``: who may see it and work on it; ``lease``: how long a claim
    holds, ``None`` for the setting's.
    """

    queue: str = DEFAULT_QUEUE
    due: timedelta = timedelta(days=7)
    role: Role = Role.REVIEWER
    lease: timedelta | None = None


_SEVERITY: Mapping[str, float] = MappingProxyType(
    {"self_harm": 4.0, "violence": 2.0, "hate": 2.0, "sexual": 2.0, "illicit": 2.0, "profanity": 0.5}
)


@dataclass(frozen=True, slots=True)
class Weights:
    """What makes a task urgent.

    ``severity``: label or signal → its weight; a label that is not named weighs 1, a signal 0. ``blocked``:
    the factor of what the machine would block. ``uncertainty``: a score of 0.5 counts 1 + this, one of 0 or 1
    counts 1; up to 0.25 a higher score is never less urgent. ``reach``: the key of the context that says how
    many people see the post. ``doubling``: the waiting that counts as much as being twice as severe.
    """

    severity: Mapping[str, float] = field(default_factory=lambda: _SEVERITY)
    blocked: float = 4.0
    uncertainty: float = 0.25
    reach: str | None = None
    doubling: timedelta = timedelta(days=1)

    def head_start(self, verdict: Verdict, context: Mapping[str, Any]) -> timedelta:
        """How much earlier than it was a task counts as opened; below zero for what is less urgent."""
        factor = self._severity(verdict) * self._reach(context)
        if verdict.action is Action.BLOCK:
            factor *= self.blocked
        return self.doubling * math.log2(factor)

    def _severity(self, verdict: Verdict) -> float:
        """That of the label or signal for which it is highest, with its uncertainty."""
        found = [(score, self.severity.get(label, 1.0)) for label, score in verdict.scores.items()]
        found += [(score, self.severity.get(signal, 0.0)) for signal, score in verdict.signals.items()]
        if not verdict.scores:  # nobody knows: as if the score of a label were 0.5
            found.append((0.5, 1.0))
        weighed = [self._weighed(min(max(score, 0.0), 1.0)) * weight for score, weight in found]
        return max(_LEAST, *weighed)

    def _weighed(self, score: float) -> float:
        return score * (1 + self.uncertainty * 4 * score * (1 - score))

    def _reach(self, context: Mapping[str, Any]) -> float:
        """1 + log10(1 + people); whoever sends the context may send anything: 1 if it is not a number."""
        people = context.get(self.reach) if self.reach is not None else None
        if isinstance(people, bool) or not isinstance(people, (int, float)) or not people > 0:
            return 1.0
        return 1 + math.log10(1 + min(people, _MOST_REACH))


Router = Callable[[Item | None, Verdict], tuple[Route, timedelta]]
"""An item (``None`` if it could not be read) and its verdict → where its task waits, and its head start."""


def plain_route(item: Item | None, verdict: Verdict) -> tuple[Route, timedelta]:
    """The default queue and weights, for verdicts without a policy at hand."""
    return Route(), Weights().head_start(verdict, item.context if item is not None else {})
