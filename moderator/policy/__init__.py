"""Policies: rules over scores, signals and context, and the action they ask for.

``load_policy`` reads and checks a YAML file, ``Evaluator`` applies it, ``run_cases`` tests it.
"""

from moderator.policy.cases import Case, CaseResult, load_cases, run_cases
from moderator.policy.catalogue import PolicyFiles, find_policy, rules_of_digest
from moderator.policy.evaluate import Evaluator, Outcome
from moderator.policy.load import load_policy
from moderator.policy.route import PolicyRouter
from moderator.policy.schema import Policy, QueueRule, Rule

__all__ = [
    "Case",
    "CaseResult",
    "Evaluator",
    "Outcome",
    "Policy",
    "PolicyFiles",
    "PolicyRouter",
    "QueueRule",
    "Rule",
    "find_policy",
    "load_cases",
    "load_policy",
    "rules_of_digest",
    "run_cases",
]
