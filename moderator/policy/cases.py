"""Test cases of a policy: scores and context in, the action and the rules expected out.

A file is a list. Only ``name`` and ``expect`` are required; labels that are not given score 0.0::

    - name: hate is blocked
      scores: {hate: 0.95}
      signals: {lexicon_hate: 1.0}
      context: {surface: feed}
      degraded: ["image[0] cannot be decoded"]
      judged: false            # nothing could be judged: no label has a score
      expect: block
      matches: [hate-block]    # exactly these rules, in any order; left out = not checked
      queue: hate              # where its task waits; left out = not checked
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from moderator.errors import PolicyError
from moderator.policy.evaluate import Evaluator, Outcome
from moderator.policy.nodes import Document, line_of, read_source, tag_of
from moderator.policy.route import PolicyRouter
from moderator.policy.schema import Policy
from moderator.types import Action, SignalSpec, Verdict


@dataclass(frozen=True, slots=True)
class Case:
    """One test case. ``scores`` holds every label, or nothing if the case is about an unjudged item."""

    name: str
    expect: Action
    scores: Mapping[str, float] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    matches: tuple[str, ...] | None = None
    line: int = 0
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went. ``problem`` is empty if the policy did what the case expects. ``queue``: where a
    task of it would wait, ``None`` if it gets none."""

    case: Case
    outcome: Outcome
    problem: str
    queue: str | None = None

    @property
    def passed(self) -> bool:
        return not self.problem


def load_cases(
    source: Path | Traversable | bytes,
    policy: Policy,
    labels: Sequence[str],
    signals: Sequence[SignalSpec],
    name: str = "",
) -> tuple[Case, ...]:
    """Read the cases of ``policy``. Raises ``PolicyError`` with every problem as ``file:line: message``."""
    data, shown = read_source(source, name)
    document = Document(data, shown)
    if document.root is None:
        raise PolicyError([f"{shown}:1: the file is empty; it must be a list of cases"])
    reader = _Reader(document, policy, tuple(labels), frozenset(spec.name for spec in signals))
    cases = [reader.case(node) for node in document.items(document.root, "the file")]
    seen: dict[str, int] = {}
    for case in cases:
        if case.name and case.name in seen:
            document.note(case.line, f"case {case.name!r} has the name of the case on line {seen[case.name]}")
        seen.setdefault(case.name, case.line)
    document.finish()
    return tuple(cases)


def run_cases(policy: Policy, cases: Sequence[Case], signals: Sequence[SignalSpec]) -> list[CaseResult]:
    """Apply the policy to every case, in order."""
    evaluator, router = Evaluator(policy, signals), PolicyRouter(policy, signals)
    results = []
    for case in cases:
        outcome = evaluator.evaluate(case.scores, case.signals, case.context, case.degraded)
        queue = _queue(policy, router, case, outcome)
        results.append(CaseResult(case, outcome, _problem(case, outcome, queue), queue))
    return results


def _queue(policy: Policy, router: PolicyRouter, case: Case, outcome: Outcome) -> str | None:
    if outcome.action is Action.ALLOW or (outcome.action is Action.BLOCK and not policy.review_blocks):
        return None
    verdict = Verdict(case.name, outcome.action, case.scores, case.signals, outcome.matches, outcome.degraded)
    return router.queue_of(verdict, case.context).queue


def _problem(case: Case, outcome: Outcome, queue: str | None) -> str:
    said = []
    matched = sorted(match.rule for match in outcome.matches)
    if outcome.action is not case.expect:
        said.append(f"expected {case.expect.value}, got {outcome.action.value}")
        said.append(f"rules that held: {', '.join(matched) or 'none'}")
    elif case.matches is not None and sorted(case.matches) != matched:
        said.append(f"expected the rules {', '.join(sorted(case.matches)) or 'none'}")
        said.append(f"these held: {', '.join(matched) or 'none'}")
    elif case.queue is not None and case.queue != queue:
        said.append(f"expected the queue {case.queue}, got {queue or 'no task'}")
    if said and outcome.degraded:
        said.append(f"not fully judged: {'; '.join(outcome.degraded)}")
    return "; ".join(said)


@dataclass(frozen=True, slots=True)
class _Reader:
    document: Document
    policy: Policy
    labels: tuple[str, ...]
    signals: frozenset[str]

    def case(self, node: yaml.Node) -> Case:
        document = self.document
        optional = ("scores", "signals", "context", "degraded", "judged", "matches", "queue")
        table = document.table(node, "a case", ("name", "expect"), optional)
        scores = self._numbers(table.get("scores"), "scores", frozenset(self.labels))
        judged = self._judged(table.get("judged"))
        if not judged and scores:
            document.note(line_of(table["scores"]), "a case with 'judged: false' cannot have scores")
        return Case(
            name=document.text(table.get("name"), "name"),
            expect=self._expect(table.get("expect")),
            scores=dict.fromkeys(self.labels, 0.0) | scores if judged else {},
            signals=self._numbers(table.get("signals"), "signals", self.signals),
            context=self._context(table.get("context")),
            degraded=self._texts(table.get("degraded"), "degraded"),
            matches=self._matches(table.get("matches")),
            line=line_of(node),
            queue=self._queue(table.get("queue")),
        )

    def _expect(self, node: yaml.Node | None) -> Action:
        text = self.document.text(node, "expect")
        if node is not None and text and text not in list(Action):
            self.document.note(
                line_of(node), f"expect: unknown action {text!r}; known are {', '.join(Action)}"
            )
        return Action(text) if text in list(Action) else Action.REVIEW

    def _judged(self, node: yaml.Node | None) -> bool:
        if node is None:
            return True
        if tag_of(node) != "bool":
            self.document.note(line_of(node), "judged must be true or false")
            return True
        return bool(_construct(node))

    def _numbers(self, node: yaml.Node | None, what: str, known: frozenset[str]) -> dict[str, float]:
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.document.note(line_of(node), f"{what} must be a table of names and numbers")
            return {}
        numbers = {}
        for name, value in self.document.entries(node, what).items():
            if name not in known:
                self.document.note(
                    line_of(value), f"unknown name {name!r} in {what}; known are {', '.join(sorted(known))}"
                )
            elif tag_of(value) not in {"int", "float"}:
                self.document.note(line_of(value), f"{what}: {name} must be a number")
            else:
                numbers[name] = float(_construct(value))
        return numbers

    def _context(self, node: yaml.Node | None) -> dict[str, Any]:
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.document.note(line_of(node), "context must be a table")
            return {}
        self.document.entries(node, "context")
        try:
            return dict(_construct(node))
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            self.document.note(line_of(node), f"context: {str(error).splitlines()[0]}")
            return {}

    def _texts(self, node: yaml.Node | None, what: str) -> tuple[str, ...]:
        document = self.document
        return tuple(document.text(each, f"an entry of {what}") for each in document.items(node, what))

    def _queue(self, node: yaml.Node | None) -> str | None:
        name = self.document.text(node, "queue")
        queues = [rule.name for rule in self.policy.queues]
        if node is not None and name and name not in queues:
            known = f"no queue {name!r}; known are {', '.join(queues)}"
            self.document.note(line_of(node), f"queue: policy {self.policy.name!r} has {known}")
        return name or None

    def _matches(self, node: yaml.Node | None) -> tuple[str, ...] | None:
        if node is None:
            return None
        rules = {rule.name for rule in self.policy.rules}
        names = self._texts(node, "matches")
        for name in [name for name in names if name not in rules]:
            self.document.note(line_of(node), f"matches: policy {self.policy.name!r} has no rule {name!r}")
        return names


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()
