"""Applying a policy to scores. Whatever cannot be evaluated is said and never allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cel

from moderator.policy.condition import first_sentence
from moderator.policy.schema import CONTEXT, Policy
from moderator.types import Action, RuleMatch, SignalSpec

_MAX_DEPTH: Final = 16  # the CEL library recurses without a limit and would end the process
_MAX_VALUES: Final = 10_000
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy says of one item: the action, the rules that held, and what could not be judged."""

    action: Action
    matches: tuple[RuleMatch, ...]
    degraded: tuple[str, ...]


class Evaluator:
    """A policy ready for use: conditions are compiled once. ``evaluate`` is safe to call from threads."""

    def __init__(self, policy: Policy, signals: Sequence[SignalSpec]) -> None:
        """``signals``: every signal the installed detectors declare; those not found count as 0.0."""
        self.policy = policy
        self._ranges = {spec.name: (spec.low, spec.high) for spec in signals}
        self._compiled = [
            (
                f"rule {rule.name!r} cannot be evaluated",
                cel.compile(rule.when),
                RuleMatch(rule.name, rule.then, rule.why),
            )
            for rule in policy.rules
        ]
        self._defaults = dict.fromkeys(policy.signals, 0.0)

    def evaluate(
        self,
        scores: Mapping[str, float],
        signals: Mapping[str, float],
        context: Mapping[str, Any],
        degraded: Sequence[str],
    ) -> Outcome:
        """Judge one item.

        ``scores``: every label, or empty if nothing could be judged; rules that depend on an absent
        label then say nothing, rules over signals and context still hold. ``degraded``: reasons the
        caller already has; any reason, theirs or ours, lifts the action to at least ``on_degraded``.
        """
        reasons = list(degraded)
        if not scores and not reasons:
            reasons.append("nothing in the item could be judged")
        reasons += self.policy.degraded
        variables: dict[str, Any] = dict(self._defaults)
        unusable = bool(self.policy.unheard)
        for name, value in signals.items():
            low, high = self._ranges.get(name, (-math.inf, math.inf))
            if problem := out_of_range(value, low, high):
                reasons.append(f"signal {name!r} is {problem}")
                variables.pop(name, None)
                unusable = True
            elif name in self._defaults:
                variables[name] = float(value)
        for name, value in scores.items():
            if problem := out_of_range(value, 0.0, 1.0):
                reasons.append(f"score {name!r} is {problem}")
                unusable = True
            elif name in self.policy.labels:
                variables[name] = float(value)
        if scores:
            reasons += [f"label {name!r} has no score" for name in sorted(self.policy.labels - scores.keys())]
        if self.policy.uses_context:
            variables[CONTEXT] = plain_context(context, reasons)
        matches = self._matches(cel.Context(variables=variables), variables, reasons, unusable)
        action = Action.severest(*(m.action for m in matches)) if matches else self.policy.otherwise
        if reasons:
            action = Action.severest(action, self.policy.on_degraded)
        return Outcome(action, tuple(matches), tuple(dict.fromkeys(reasons)))

    def _matches(
        self, context: Any, variables: Mapping[str, Any], reasons: list[str], unusable: bool
    ) -> list[RuleMatch]:
        matches = []
        # A variable without a usable value is left undefined, not guessed: CEL still decides conditions
        # whose outcome does not depend on it (undefined || true) and fails on all others.
        explained = unusable or not self.policy.labels <= variables.keys()
        for cannot, program, match in self._compiled:
            try:
                held = program.execute(context)
            except Exception as error:  # noqa: BLE001 - the library raises IndexError and more for odd contexts
                if not (explained and is_undefined(error)):
                    reasons.append(f"{cannot}: {first_sentence(error)}")
                continue
            if held is True:
                matches.append(match)
            elif held is not False:
                reasons.append(f"{cannot}: it gives {str(held)[:100]!r}, not true or false")
        return matches


def is_undefined(error: Exception) -> bool:
    """Whether a condition could not be evaluated for want of a score."""
    return isinstance(error, RuntimeError) and str(error).startswith("Undefined variable")


def out_of_range(value: Any, low: float, high: float) -> str:
    """What is wrong with a score, or an empty string."""
    try:
        number = math.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        return f"{value!r:.40}, not a finite number"
    if not low - _TOLERANCE <= number <= high + _TOLERANCE:
        return f"{number:g}, outside [{low:g}, {high:g}]"
    return ""


def plain_context(context: Mapping[str, Any], reasons: list[str]) -> dict[str | int, Any]:
    """The context as CEL can read it. A key whose value it cannot read is left out and said."""
    plain: dict[str | int, Any] = {}
    for key, value in context.items():
        try:
            name = _key(key, 0, budget := [_MAX_VALUES])
            plain[name] = _plain(value, 0, budget)
        except (TypeError, ValueError) as error:
            reasons.append(f"context {str(key)[:100]!r} cannot be read by rules: {error}")
    return plain


def _key(key: Any, depth: int, budget: list[int]) -> str | int:
    if not isinstance(key, (str, int)):
        raise TypeError(f"a key of it is a {type(key).__name__}, not text")
    if isinstance(key, int) and not -(2**63) <= key < 2**63:
        raise ValueError("a key of it is too large a number")
    plain: str | int = _plain(key, depth, budget)
    return plain


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
    if budget[0] < 0:
        raise ValueError(f"it holds more than {_MAX_VALUES} values")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds a lone surrogate, which is not text") from None
        return value
    if isinstance(value, Mapping):
        return {_key(key, depth + 1, budget): _plain(each, depth + 1, budget) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each, depth + 1, budget) for each in value]
    try:
        cel.Context(variables={CONTEXT: value})  # dates, bytes, decimals, numpy numbers
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"a {type(value).__name__} is not a value CEL knows") from None
    return value
