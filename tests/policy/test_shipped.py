"""The policies in ``rules/``: sound, tested by their cases, every rule by one case at least."""

from __future__ import annotations

from importlib import import_module

import pytest

from moderator.policy import find_policy, load_cases, load_policy, run_cases
from moderator.taxonomy import DEFAULT
from moderator.types import Action
from moderator_hashes.detector import HashDetector
from moderator_lexicon.detector import LexiconDetector
from moderator_nudity.detector import NudityDetector

SIGNALS = (*LexiconDetector().signals, *NudityDetector().signals, *HashDetector().signals)
POLICIES = {
    file.name.removesuffix(".yaml"): file for file in import_module("moderator.rules").register_policies()
}


@pytest.mark.parametrize("name", ["default", "strict"])
def test_shipped_policies_do_what_their_cases_say(name: str) -> None:
    files = find_policy(name, POLICIES)
    policy = load_policy(files.source, DEFAULT.names, SIGNALS)
    assert policy.name == name
    assert files.cases is not None
    cases = load_cases(files.cases, policy, DEFAULT.names, SIGNALS)
    results = run_cases(policy, cases, SIGNALS)
    assert {result.case.name: result.problem for result in results if not result.passed} == {}
    matched = {match.rule for result in results for match in result.outcome.matches}
    assert matched == {rule.name for rule in policy.rules}
    assert policy.labels == set(DEFAULT.names)
    assert policy.signals == {spec.name for spec in SIGNALS}


@pytest.mark.parametrize("name", ["default", "strict"])
def test_self_harm_is_never_blocked(name: str) -> None:
    policy = load_policy(POLICIES[name], DEFAULT.names, SIGNALS)
    rules = [rule for rule in policy.rules if "self_harm" in rule.when]
    assert rules
    assert all(rule.then is Action.REVIEW for rule in rules)
