"""Statements of reasons fit the database's form, name nobody, and say who decided."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from moderator.audit.dsa import BULK, CATEGORIES, Removal, bulks, statement
from moderator.audit.removals import removals
from moderator.cli.audit import audit
from moderator.errors import AuditError
from moderator.review import ReviewDesk
from moderator.store import Store
from moderator.taxonomy import DEFAULT
from moderator.types import Action, Decision, Modality, RuleMatch, Verdict
from tests.audit.conftest import fill
from tests.store.samples import make_batch, start

WHEN = datetime(2026, 3, 1, 12, 30, 5, 7, tzinfo=UTC)
DAY = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
YES_NO = {"enum": ["Yes", "No"]}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("puid", "decision_ground", "content_type", "category", "content_date", "application_date"),
        *("decision_facts", "source_type", "automated_detection", "automated_decision"),
        *("incompatible_content_ground", "incompatible_content_explanation"),
    ],
    "anyOf": [
        {"required": [name]}
        for name in ("decision_visibility", "decision_monetary", "decision_provision", "decision_account")
    ],
    "properties": {
        "puid": {"type": "string", "pattern": "^[a-zA-Z0-9-_]+$", "maxLength": 500},
        "decision_visibility": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": ["DECISION_VISIBILITY_CONTENT_REMOVED"]},
        },
        "decision_ground": {
            "enum": ["DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"]
        },
        "incompatible_content_ground": {"type": "string", "minLength": 1, "maxLength": 500},
        "incompatible_content_explanation": {"type": "string", "minLength": 1, "maxLength": 2000},
        "incompatible_content_illegal": YES_NO,
        "category": {"enum": sorted({*CATEGORIES.values(), "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"})},
        "content_type": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"pattern": "^CONTENT_TYPE_(TEXT|IMAGE|AUDIO|VIDEO|OTHER)$"},
        },
        "content_date": DAY,
        "application_date": DAY,
        "content_language": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "decision_facts": {"type": "string", "minLength": 1, "maxLength": 5000},
        "source_type": {
            "enum": [
                *("SOURCE_ARTICLE_16", "SOURCE_TRUSTED_FLAGGER", "SOURCE_TYPE_OTHER_NOTIFICATION"),
                "SOURCE_VOLUNTARY",
            ]
        },
        "automated_detection": YES_NO,
        "automated_decision": {
            "enum": [f"AUTOMATED_DECISION_{name}" for name in ("FULLY", "PARTIALLY", "NOT_AUTOMATED")]
        },
    },
}


def verdict(**changes: Any) -> Verdict:
    known: dict[str, Any] = {
        "item_id": "user-jane-42",
        "action": Action.BLOCK,
        "scores": dict.fromkeys(DEFAULT.names, 0.1) | {"hate": 0.97},
        "signals": {},
        "matches": (RuleMatch("hate-block", Action.BLOCK, "Hateful content"),),
        "degraded": (),
        "evidence": (),
        "coverage": {},
        "content_digests": ("ab" * 32,),
        "policy_digest": "p",
        "model_digest": "m",
        "embedders": {},
        "software": "moderator",
    }
    return Verdict(**(known | changes))


def decision(**changes: Any) -> Decision:
    known: dict[str, Any] = {
        "task_id": 7,
        "action": Action.BLOCK,
        "reviewer": "Ada Lovelace",
        "reason": "Jane wrote about her neighbour",
        "policy_rule": "hate-block",
        "decided_at": WHEN,
    }
    return Decision(**(known | changes))


def made(found: Removal, **changes: Any) -> dict[str, Any]:
    known = {"platform": "example", "terms": "Community rules"}
    result = statement(found, **(known | changes))
    jsonschema.validate(result, SCHEMA)
    return result


def test_a_removal_by_a_person() -> None:
    found = Removal(verdict(), decision(), [Modality.IMAGE, Modality.TEXT], WHEN, date(2026, 2, 27), "en")
    said = made(found)
    assert said["incompatible_content_ground"] == "Community rules: Hateful content"
    assert said["category"] == "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH"
    assert said["content_type"] == ["CONTENT_TYPE_IMAGE", "CONTENT_TYPE_TEXT"]
    assert (said["content_date"], said["application_date"]) == ("2026-02-27", "2026-03-01")
    assert said["automated_decision"] == "AUTOMATED_DECISION_PARTIALLY"
    assert (said["automated_detection"], said["source_type"]) == ("Yes", "SOURCE_VOLUNTARY")
    assert said["content_language"] == "EN"
    everything = json.dumps(said)
    assert not [
        word for word in ("jane", "ada", "lovelace", "neighbour", "ab" * 8) if word in everything.lower()
    ]


def test_a_removal_by_the_machine_alone_and_after_a_notice() -> None:
    said = made(Removal(verdict(), None, [], WHEN, notified=True))
    assert said["automated_decision"] == "AUTOMATED_DECISION_FULLY"
    assert (said["automated_detection"], said["source_type"]) == ("No", "SOURCE_TYPE_OTHER_NOTIFICATION")
    assert said["content_type"] == ["CONTENT_TYPE_OTHER"]


def test_ids_are_the_same_each_time_and_of_one_removal() -> None:
    first = made(Removal(verdict(), decision(), [Modality.TEXT], WHEN))["puid"]
    assert first == made(Removal(verdict(), decision(), [Modality.TEXT], WHEN, notified=True))["puid"]
    assert first != made(Removal(verdict(), decision(task_id=8), [Modality.TEXT], WHEN))["puid"]


def test_the_category_is_that_of_the_rule_or_of_the_highest_score() -> None:
    named = decision(policy_rule="self-harm-review")
    assert made(Removal(verdict(), named, [], WHEN))["category"] == "STATEMENT_CATEGORY_SELF_HARM"
    plain = verdict(matches=(), scores={"spam": 0.9, "hate": 0.2})
    assert made(Removal(plain, None, [], WHEN))["category"] == "STATEMENT_CATEGORY_SCAMS_AND_FRAUD"
    own = verdict(matches=(), scores={"gambling": 0.9})
    assert made(Removal(own, None, [], WHEN))["category"] == "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"
    assert set(CATEGORIES) == set(DEFAULT.names)


def test_what_was_not_removed_has_no_statement() -> None:
    with pytest.raises(AuditError, match="was not removed"):
        made(Removal(verdict(), decision(action=Action.ALLOW), [], WHEN))
    with pytest.raises(AuditError, match="only letters"):
        made(Removal(verdict(), None, [], WHEN), platform="my site")


@given(
    why=st.text(max_size=3000),
    rule=st.text(max_size=40),
    item=st.text(max_size=40),
    modalities=st.lists(st.sampled_from(Modality), max_size=5),
)
def test_every_statement_fits_the_form(why: str, rule: str, item: str, modalities: list[Modality]) -> None:
    matches = (RuleMatch(rule, Action.BLOCK, why), RuleMatch("b", Action.REVIEW, why))
    found = Removal(verdict(item_id=item, matches=matches), None, modalities, WHEN)
    made(found)


def test_bulk_calls_hold_a_hundred_at_most() -> None:
    bodies = list(bulks({"puid": str(number)} for number in range(2 * BULK + 1)))
    assert [len(body["statements"]) for body in bodies] == [100, 100, 1]
    assert list(bulks([])) == []


def test_the_command_writes_what_was_blocked(database_url: str) -> None:
    """Of three decisions one blocks, and of the verdicts without a decision none does."""
    with Store.open(database_url) as store:
        fill(store)
    known = ["dsa", "--platform", "example", "--terms", "Community rules", "--db", database_url]
    result = CliRunner().invoke(audit, [*known, "--since", "2020-01-01"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    (said,) = json.loads(line)["statements"]
    jsonschema.validate(said, SCHEMA)
    assert said["automated_decision"] == "AUTOMATED_DECISION_PARTIALLY"
    assert "ann" not in json.dumps(said).lower().split() and "1 statements" in result.stderr
    later = CliRunner().invoke(audit, [*known, "--since", "2100-01-01"], catch_exceptions=False)
    assert (later.exit_code, later.stdout) == (0, "")


def test_a_second_opinion_that_is_not_in_force_removes_nothing(database_url: str) -> None:
    """The first reviewer let the post be; until a senior one has settled it, so it stays."""
    with Store.open(database_url) as store:
        store.record(start(store), make_batch([0], (Action.REVIEW,)))
        desk = ReviewDesk(store)
        desk.decide(1, Action.ALLOW, "ann", "fine")
        desk.second_review(1, "lea", "unsure")
        desk.decide(1, Action.BLOCK, "bob", "not fine")
        with store.reading() as connection:
            assert list(removals(connection, 0)) == []
