"""Sending tasks to queues: the first whose condition holds takes a task, the default queue the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import cel

from moderator.policy.evaluate import is_undefined, out_of_range, plain_context
from moderator.policy.queues import ACTION, DEGRADED
from moderator.policy.schema import CONTEXT, Policy
from moderator.routing import DEFAULT_QUEUE, Route
from moderator.types import Item, Role, SignalSpec, Verdict


class PolicyRouter:
    """A policy's queues ready for use: a ``routing.Router``. Safe to call from threads.

    A condition that cannot be evaluated, for want of a key of the context, say, does not hold; but where a
    queue is restricted it does, so that nobody sees a task who might not. That there are no scores is no
    such reason: conditions on scores then say nothing, as in rules.
    """

    def __init__(self, policy: Policy, signals: Sequence[SignalSpec]) -> None:
        """``signals``: every signal the installed detectors declare; those not found count as 0.0."""
        self._policy = policy
        self._ranges = {spec.name: (spec.low, spec.high) for spec in signals}
        self._queues = [
            (None if rule.name == DEFAULT_QUEUE else cel.compile(rule.when), rule.route)
            for rule in policy.queues
        ]

    def __call__(self, item: Item | None, verdict: Verdict) -> tuple[Route, timedelta]:
        """Where the task of this verdict waits, and its head start. Never raises."""
        context = item.context if item is not None else {}
        return self.queue_of(verdict, context), self._policy.weights.head_start(verdict, context)

    def queue_of(self, verdict: Verdict, context: Mapping[str, Any]) -> Route:
        """The queue that takes the task of a verdict."""
        variables = self._variables(verdict, context)
        for program, route in self._queues:
            if program is None or self._holds(program, variables, route, verdict):
                return route
        raise AssertionError("unreachable: the default queue takes all")

    def _variables(self, verdict: Verdict, context: Mapping[str, Any]) -> Mapping[str, Any]:
        variables: dict[str, Any] = dict.fromkeys(self._policy.signals, 0.0)
        variables |= {ACTION: verdict.action.value, DEGRADED: bool(verdict.degraded)}
        for name, value in (*verdict.signals.items(), *verdict.scores.items()):
            if name not in self._policy.variables:
                continue
            if out_of_range(value, *self._ranges.get(name, (0.0, 1.0))):
                variables.pop(name, None)
            else:
                variables[name] = float(value)
        if self._policy.uses_context:
            variables[CONTEXT] = plain_context(context, [])
        return variables

    def _holds(self, program: Any, variables: Mapping[str, Any], route: Route, verdict: Verdict) -> bool:
        try:
            held = program.execute(cel.Context(variables=dict(variables)))
        except Exception as error:  # noqa: BLE001 - the library raises IndexError and more for odd contexts
            if not verdict.scores and is_undefined(error):
                return False
            held = None
        return held is True or (held is not False and route.role is not Role.REVIEWER)
