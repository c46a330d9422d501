"""Statements of reasons for the EU's DSA Transparency Database (Digital Services Act, Articles 17 and 24(5)).

One statement for each removal: which rule, how it was found, who decided. It holds no personal data: nothing
of the post, its author, the reviewer or what the reviewer wrote. Facts are made from the policy's own words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

from moderator.errors import AuditError
from moderator.types import Action, Decision, Modality, Verdict

CATEGORIES_VERSION: Final = "1"
CATEGORIES: Final[Mapping[str, str]] = {
    "toxicity": "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    "profanity": "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
    "harassment": "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    "hate": "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
    "violence": "STATEMENT_CATEGORY_VIOLENCE",
    "sexual": "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
    "self_harm": "STATEMENT_CATEGORY_SELF_HARM",
    "illicit": "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
    "spam": "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
}
"""Label → category of the database. A change is a new version: statements say which they were made with."""
OTHER_CATEGORY: Final = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"
"""For labels of one's own, and removals without a label."""

BULK: Final = 100
"""Statements the database takes in one call."""

_CONTENT = {
    Modality.TEXT: "CONTENT_TYPE_TEXT",
    Modality.IMAGE: "CONTENT_TYPE_IMAGE",
    Modality.AUDIO: "CONTENT_TYPE_AUDIO",
    Modality.VIDEO: "CONTENT_TYPE_VIDEO",
}
_FACTS, _GROUND, _EXPLANATION, _PUID = 5000, 500, 2000, 500
"""Characters these fields may have."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A post that was taken down. ``decision`` is the person's, None where the machine blocked alone.

    ``posted``: when the post was published, where that is known. ``language``: of the post, ISO 639-1.
    ``notified``: whether somebody had reported it.
    """

    verdict: Verdict
    decision: Decision | None
    modalities: Sequence[Modality]
    decided_at: datetime
    posted: date | None = None
    language: str = ""
    notified: bool = False


def statement(removal: Removal, *, platform: str, terms: str) -> dict[str, Any]:
    """One statement. ``platform``: a name for ids, letters, digits, ``-`` and ``_``. ``terms``: what the
    terms that were broken are called. Raises ``AuditError`` where there is nothing to state."""
    verdict, decision = removal.verdict, removal.decision
    removed = decision.action if decision is not None else verdict.action
    if removed is not Action.BLOCK:
        raise AuditError(f"item {verdict.item_id!r} was not removed: there is nothing to state reasons for")
    rule = _rule(removal)
    why = next((match.why for match in verdict.matches if match.rule == rule and match.why), rule)
    ground = f"{terms}: {why}" if why else terms
    made: dict[str, Any] = {
        "puid": _puid(platform, removal),
        "decision_visibility": ["DECISION_VISIBILITY_CONTENT_REMOVED"],
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "incompatible_content_ground": ground[:_GROUND],
        "incompatible_content_explanation": _explanation(removal, ground)[:_EXPLANATION],
        "incompatible_content_illegal": "No",
        "category": _category(removal),
        "content_type": sorted({_CONTENT[each] for each in removal.modalities}) or ["CONTENT_TYPE_OTHER"],
        "content_date": (removal.posted or removal.decided_at.date()).isoformat(),
        "application_date": removal.decided_at.date().isoformat(),
        "decision_facts": _facts(removal)[:_FACTS],
        "source_type": "SOURCE_TYPE_OTHER_NOTIFICATION" if removal.notified else "SOURCE_VOLUNTARY",
        "automated_detection": "No" if removal.notified else "Yes",
        "automated_decision": "AUTOMATED_DECISION_FULLY"
        if decision is None
        else "AUTOMATED_DECISION_PARTIALLY",
    }
    if removal.language:
        made["content_language"] = removal.language.upper()
    return made


def bulks(statements: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, list[Mapping[str, Any]]]]:
    """Bodies for the bulk call, ``{"statements": […]}``, at most 100 each."""
    stream = iter(statements)
    while batch := list(islice(stream, BULK)):
        yield {"statements": batch}


def _rule(removal: Removal) -> str:
    """The rule the removal rests on: the one the person named, else the machine's first blocking one."""
    if removal.decision is not None and removal.decision.policy_rule:
        return removal.decision.policy_rule
    return next((match.rule for match in removal.verdict.matches if match.action is Action.BLOCK), "")


def _category(removal: Removal) -> str:
    """That of the label the rule is named after, else of the highest score."""
    rule = _rule(removal).replace("-", "_")
    named = [label for label in CATEGORIES if rule == label or rule.startswith(f"{label}_")]
    scores = removal.verdict.scores
    highest = max(scores, key=lambda label: scores[label], default="")
    return CATEGORIES.get(named[0] if named else highest, OTHER_CATEGORY)


def _facts(removal: Removal) -> str:
    found = "after a notice" if removal.notified else "by automated means, on the provider's own initiative"
    seen = ", ".join(sorted(each.value for each in removal.modalities)) or "content"
    who = "Automated means decided alone." if removal.decision is None else "A human reviewer decided."
    whys = "; ".join(dict.fromkeys(match.why for match in removal.verdict.matches if match.why))
    noted = f" Rules that applied: {whys}." if whys else ""
    return f"A post ({seen}) was examined {found}.{noted} {who} (categories {CATEGORIES_VERSION})"


def _explanation(removal: Removal, ground: str) -> str:
    by = "an automated classifier" if removal.decision is None else "a human reviewer"
    return f"The content was found by {by} to be incompatible with the terms: {ground}."


def _puid(platform: str, removal: Removal) -> str:
    """Ever the same for one removal, and nothing of the post can be read out of it."""
    key = "\n".join(
        [
            removal.verdict.item_id,
            *removal.verdict.content_digests,
            str(removal.decision.task_id if removal.decision is not None else ""),
            removal.decided_at.isoformat(),
        ]
    )
    digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
    made = f"{platform}-{digest[:32]}"
    if len(made) > _PUID or not all(sign.isascii() and (sign.isalnum() or sign in "-_") for sign in made):
        raise AuditError(f"platform {platform!r}: only letters, digits, - and _ are allowed, at most 400")
    return made
