"""The parts of a policy about tasks: which queue takes which, and what makes one urgent.

::

    queues:
      - {name: self-harm, when: self_harm >= 0.3, due: 4h, role: senior, lease: 20m}
      - {name: default, due: 3d}             # takes the rest; may be left out
    priority:
      severity: {self_harm: 8, spam: 0.5}    # of labels and signals; beside the defaults
      reach: views                           # a key of the context: how many see it
      doubling: 12h
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import yaml

from moderator.policy.condition import Condition, Ranges, check_condition
from moderator.policy.nodes import Document, line_of, tag_of
from moderator.policy.schema import CONTEXT, QueueRule
from moderator.routing import DEFAULT_QUEUE, Route, Weights
from moderator.types import Role

ACTION: Final = "action"
DEGRADED: Final = "degraded"
OTHERS: Final = frozenset({CONTEXT, ACTION, DEGRADED})
"""What conditions of queues see besides labels and signals: the context, the verdict's action as text, and
whether the item could not be judged in full."""
_UNITS: Final = {
    "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip
_LONGEST: Final = timedelta(days=3650)
_LONGEST_LEASE: Final = timedelta(days=1)
_LONGEST_DOUBLING: Final = timedelta(days=30)
_TAKEN: Final = "{0!r} is the name of a signal here, and cannot be told from the verdict's"


def read_queues(
    document: Document, node: yaml.Node | None, ranges: Ranges, *, incomplete: bool
) -> tuple[tuple[QueueRule, ...], list[Condition]]:
    """The queues, the default one last, and what is known of their conditions."""
    queues: list[QueueRule] = []
    conditions: list[Condition] = []
    lines: dict[str, int] = {}
    for each in document.items(node, "queues"):
        table = document.table(each, "a queue", ("name",), ("when", "due", "role", "lease"))
        if not table:
            continue
        line = line_of(each)
        name = document.name_of(table.get("name"), "the queue's name")
        if name and name in lines:
            document.note(line, f"queue {name!r} has the name of the queue on line {lines[name]}")
        if DEFAULT_QUEUE in lines and name != DEFAULT_QUEUE:
            document.note(line, f"queue {name!r} comes after {DEFAULT_QUEUE!r}, which takes all that is left")
        lines.setdefault(name, line)
        when, condition = _when(document, table.get("when"), name, line, ranges, incomplete)
        if condition is not None:
            conditions.append(condition)
        route = Route(
            name,
            _duration(document, table.get("due"), "due", _LONGEST) or Route().due,
            _role(document, table.get("role")),
            _duration(document, table.get("lease"), "lease", _LONGEST_LEASE),
        )
        queues.append(QueueRule(when, route, line))
    if DEFAULT_QUEUE not in lines:
        queues.append(QueueRule("", Route()))
    return tuple(queues), conditions


def _when(
    document: Document, node: yaml.Node | None, name: str, line: int, ranges: Ranges, incomplete: bool
) -> tuple[str, Condition | None]:
    if name == DEFAULT_QUEUE:
        if node is not None:
            document.note(line_of(node), f"queue {name!r} takes all that is left; leave out 'when'")
        return "", None
    if node is None:
        document.note(line, f"queue {name!r} lacks 'when'")
        return "", None
    when = document.text(node, "when")
    if not when:
        return "", None
    condition = check_condition(when, ranges, incomplete=incomplete, others=OTHERS)
    taken = condition.names & ranges.keys() & {ACTION, DEGRADED}
    problems = [*condition.problems, *(_TAKEN.format(each) for each in sorted(taken))]
    for problem in problems:
        document.note(line_of(node), f"queue {name!r}: {problem}")
    return when, condition


def _role(document: Document, node: yaml.Node | None) -> Role:
    text = document.text(node, "role")
    if node is not None and text and text not in list(Role):
        document.note(line_of(node), f"role: unknown role {text!r}; known are {', '.join(Role)}")
    return Role(text) if text in list(Role) else Role.REVIEWER


def _duration(document: Document, node: yaml.Node | None, what: str, longest: timedelta) -> timedelta | None:
    if node is None:
        return None
    shown = node.value if isinstance(node, yaml.ScalarNode) else ""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", shown)
    length = int(found[1]) * _UNITS[found[2]] if found else None
    if length is None or length > longest:
        document.note(
            line_of(node),
            f"{what} must be a time such as 30m, 4h, 2d or 1w, at most {longest.days}d, got {shown[:100]!r}",
        )
        return None
    return length


def read_weights(
    document: Document,
    node: yaml.Node | None,
    labels: Sequence[str],
    ranges: Ranges,
    *,
    incomplete: bool,
) -> Weights:
    """The weights given, the defaults for all others."""
    default = Weights()
    if node is None:
        return default
    table = document.table(node, "priority", (), ("severity", "blocked", "uncertainty", "reach", "doubling"))
    severity = dict(default.severity)
    given = table.get("severity")
    if given is not None and not isinstance(given, yaml.MappingNode):
        document.note(line_of(given), "severity must be a table of labels or signals and numbers")
    elif given is not None:
        for name, value in document.entries(given, "severity").items():
            if name not in ranges and not incomplete:
                close = difflib.get_close_matches(name, ranges, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                document.note(line_of(value), f"severity: unknown label or signal {name!r}{hint}")
            severity[name] = _number(document, value, f"severity of {name}", 0.001)
    weights = replace(default, severity=severity)
    if "blocked" in table:
        weights = replace(weights, blocked=_number(document, table["blocked"], "blocked", 0.001))
    if "uncertainty" in table:
        weights = replace(weights, uncertainty=_number(document, table["uncertainty"], "uncertainty", 0.0))
    if "reach" in table:
        weights = replace(weights, reach=document.text(table["reach"], "reach") or None)
    if doubling := _duration(document, table.get("doubling"), "doubling", _LONGEST_DOUBLING):
        weights = replace(weights, doubling=doubling)
    return weights


def _number(document: Document, node: yaml.Node, what: str, least: float) -> float:
    try:
        value = float(node.value) if tag_of(node) in {"int", "float"} else math.nan
    except ValueError:  # .inf, 0x10
        value = math.nan
    if not least <= value <= 1000:
        document.note(line_of(node), f"{what} must be a number from {least:g} to 1000")
        return 1.0
    return value
