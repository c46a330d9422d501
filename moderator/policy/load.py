"""Reading a policy: everything that is wrong with a file is said at once, with its line."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import yaml

from moderator.errors import PolicyError
from moderator.policy.condition import Condition, Ranges, check_condition
from moderator.policy.nodes import Document, kind_of, line_of, read_source, tag_of
from moderator.policy.queues import read_queues, read_weights
from moderator.policy.schema import CONTEXT, Policy, Rule
from moderator.types import Action, SignalSpec

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load_policy(
    source: Path | Traversable | bytes,
    labels: Sequence[str],
    signals: Sequence[SignalSpec],
    name: str = "",
    *,
    failed: Sequence[str] = (),
    blocked: Sequence[str] = (),
) -> Policy:
    """Read and check a policy against the ``labels`` and ``signals`` there are.

    ``name`` is what messages call the file (default: its path). ``failed``: plugins that may have declared
    further signals; names that are not known are then taken for theirs, and every item is degraded.
    ``blocked``: plugins the allow-list leaves out, said where a name is not known. Raises ``PolicyError``
    with every problem found, each as ``file:line: message``.
    """
    data, shown = read_source(source, name)
    document = Document(data, shown)
    ranges = _ranges(document, labels, signals)
    root = document.root
    if root is None:
        raise PolicyError([f"{shown}:1: the file is empty; a policy has the keys name, version and rules"])
    table = document.table(
        root,
        "the policy",
        ("name", "version", "rules", "otherwise", "on_degraded"),
        ("description", "review_blocks", "queues", "priority"),
    )
    policy_name = document.name_of(table.get("name"), "name")
    version = _version(document, table.get("version"))
    otherwise = _action(document, table.get("otherwise"), "otherwise", Action.REVIEW)
    on_degraded = _on_degraded(document, table.get("on_degraded"))
    description = document.text(table.get("description"), "description")
    review_blocks = _flag(document, table.get("review_blocks"), "review_blocks")
    rules, conditions = _rules(document, table.get("rules"), ranges, failed, blocked)
    queues, routing = read_queues(document, table.get("queues"), ranges, incomplete=bool(failed))
    conditions += routing
    weights = read_weights(document, table.get("priority"), labels, ranges, incomplete=bool(failed))
    document.finish()
    used = {name for condition in conditions for name in condition.names}
    unheard = {name for condition in conditions for name in condition.unheard}
    return Policy(
        name=policy_name,
        version=version,
        rules=tuple(rules),
        otherwise=otherwise,
        on_degraded=on_degraded,
        digest=hashlib.sha256(data).hexdigest(),
        text=data,
        description=description,
        review_blocks=review_blocks,
        labels=frozenset(used & set(labels)),
        signals=frozenset(used & {spec.name for spec in signals}),
        uses_context=CONTEXT in used,
        unheard=frozenset(unheard),
        degraded=_degraded(unheard, failed, blocked),
        queues=queues,
        weights=weights,
    )


def _degraded(unheard: Collection[str], failed: Sequence[str], blocked: Sequence[str]) -> tuple[str, ...]:
    if not unheard:
        return ()
    why = f"plugins that failed: {', '.join(failed)}"
    if blocked:
        why += f"; left out by allow_plugins: {', '.join(blocked)}"
    return (f"nobody could look for the signals {', '.join(map(repr, sorted(unheard)))} ({why})",)


def _ranges(document: Document, labels: Sequence[str], signals: Sequence[SignalSpec]) -> Ranges:
    ranges = dict.fromkeys(labels, (0.0, 1.0))
    for spec in signals:
        if spec.name in labels:
            document.note(1, f"{spec.name!r} is both a label and a signal; rename the detector's signal")
        elif spec.name == CONTEXT or not _VARIABLE.fullmatch(spec.name):
            document.note(1, f"a detector declares a signal {spec.name!r} that conditions cannot name")
        else:
            low, high = ranges.get(spec.name, (spec.low, spec.high))
            ranges[spec.name] = (min(low, spec.low), max(high, spec.high))
    return ranges


def _rules(
    document: Document,
    node: yaml.Node | None,
    ranges: Ranges,
    failed: Sequence[str],
    blocked: Sequence[str],
) -> tuple[list[Rule], list[Condition]]:
    rules: list[Rule] = []
    conditions: list[Condition] = []
    hint = f" (or add its plugin to allow_plugins, which leaves out {', '.join(blocked)})" if blocked else ""
    lines: dict[str, int] = {}
    for each in document.items(node, "rules"):
        table = document.table(each, "a rule", ("name", "when", "then"), ("why",))
        if not table:
            continue
        line = line_of(each)
        name = document.name_of(table.get("name"), "the rule's name")
        if name and name in lines:
            document.note(line, f"rule {name!r} has the name of the rule on line {lines[name]}")
        lines.setdefault(name, line)
        when = document.text(table.get("when"), "when")
        if when:
            condition = check_condition(when, ranges, incomplete=bool(failed), hint=hint)
            conditions.append(condition)
            for problem in condition.problems:
                document.note(line_of(table["when"]), f"rule {name!r}: {problem}")
        then = _action(document, table.get("then"), "then", Action.REVIEW)
        rules.append(Rule(name, when, then, document.text(table.get("why"), "why"), line))
    if isinstance(node, yaml.SequenceNode) and not node.value:
        document.note(line_of(node), "rules is empty; a policy has at least one rule")
    return rules, conditions


def _version(document: Document, node: yaml.Node | None) -> int:
    if node is None:
        return 0
    if tag_of(node) == "int" and re.fullmatch(r"[1-9][0-9]{0,8}", node.value):
        return int(node.value)
    shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else kind_of(node)
    document.note(line_of(node), f"version must be a whole number from 1 up, got {shown}")
    return 0


def _flag(document: Document, node: yaml.Node | None, what: str) -> bool:
    if node is None:
        return False
    if tag_of(node) == "bool" and node.value in ("true", "false"):
        return bool(node.value == "true")
    shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else kind_of(node)
    document.note(line_of(node), f"{what} must be true or false, got {shown}")
    return False


def _action(document: Document, node: yaml.Node | None, what: str, default: Action) -> Action:
    text = document.text(node, what)
    if node is None or not text:
        return default
    names = [action.value for action in Action]
    if text not in names:
        close = difflib.get_close_matches(text, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"
        document.note(line_of(node), f"{what}: unknown action {text!r}{hint}")
        return default
    return Action(text)


def _on_degraded(document: Document, node: yaml.Node | None) -> Action:
    action = _action(document, node, "on_degraded", Action.REVIEW)
    if node is not None and action is Action.ALLOW:
        document.note(
            line_of(node),
            "on_degraded: allow would let through what nobody could judge; use review or block",
        )
    return action
