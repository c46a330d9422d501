"""What the policy tests share: labels, signals, and a policy made of conditions."""

from __future__ import annotations

from collections.abc import Mapping

from moderator.policy import Evaluator, Policy, load_policy
from moderator.taxonomy import DEFAULT
from moderator.types import SignalSpec

LABELS = DEFAULT.names
SIGNALS = (SignalSpec("lexicon_hate"), SignalSpec("word_count", 0.0, 1000.0))


def document(rules: str, otherwise: str = "allow", on_degraded: str = "review") -> str:
    head = f"name: p\nversion: 1\notherwise: {otherwise}\non_degraded: {on_degraded}\nrules:\n"
    return head + rules


def rule_lines(*conditions: str, then: str = "block") -> str:
    """One rule a line, the first on line 6 of the document, named r0, r1…"""
    return "".join(
        f"  - {{name: r{i}, when: '{condition}', then: {then}}}\n" for i, condition in enumerate(conditions)
    )


def load(text: str) -> Policy:
    return load_policy(text.encode(), LABELS, SIGNALS, "p.yaml")


def evaluator(*conditions: str, **kinds: str) -> Evaluator:
    return Evaluator(load(document(rule_lines(*conditions), **kinds)), SIGNALS)


def scores(**given: float) -> Mapping[str, float]:
    return dict.fromkeys(LABELS, 0.0) | given
