"""What is asked of the desk, and what can be said against it without looking at the task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from moderator.review.machine import ActKind
from moderator.review.refusals import MissingNameError, TooLongError, WrongCountError, WrongLeaseError
from moderator.store.canonical import canonical_json, escape_text
from moderator.types import Action

MAX_NAME = 200
MAX_TEXT = 10_000
MAX_LEASE = 24 * 3600.0
"""Seconds."""
MAX_CLAIMS = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """An act on one task. Two with the same fields, ``token`` and ``key`` aside, ask for the same."""

    task_id: int
    kind: ActKind
    reviewer: str
    reason: str = ""
    action: Action | None = None
    policy_rule: str | None = None
    labels: Mapping[str, bool] = field(default_factory=dict)
    token: int | None = None
    key: str | None = None
    queue: str | None = None

    def digest(self) -> str:
        """SHA-256 of what is asked for."""
        asked = [
            self.task_id, self.kind.value, self.reviewer, self.reason, self.action, self.policy_rule,
            dict(self.labels),
        ]  # fmt: skip
        if self.queue is not None:
            asked.append(self.queue)
        return hashlib.sha256(canonical_json(asked)).hexdigest()

    def check(self) -> None:
        """Raises ``MissingNameError`` or ``TooLongError``."""
        about = f"task {self.task_id}"
        check_name(about, "author" if self.kind is ActKind.APPEAL else "reviewer", self.reviewer)
        check_length(about, "reason", self.reason, MAX_TEXT)
        check_length(about, "idempotency key", self.key or "", MAX_NAME)
        check_length(about, "policy rule", self.policy_rule or "", MAX_NAME)


def check_name(about: str, what: str, name: str) -> None:
    """Raises ``MissingNameError`` or ``TooLongError``."""
    if not name.strip():
        raise MissingNameError(f"{about}: this needs a {what}; the name is blank")
    check_length(about, what, name, MAX_NAME)


def check_length(about: str, what: str, text: str, most: int) -> None:
    """Raises ``TooLongError``; counted as stored, with escapes."""
    if len(escape_text(text)) > most:
        raise TooLongError(f"{about}: the {what} is longer than {most} characters")


def check_lease(seconds: float) -> float:
    """The length of a lease in seconds, or ``WrongLeaseError``."""
    if not 0 < seconds <= MAX_LEASE:  # NaN is not
        raise WrongLeaseError(f"a lease is above 0 and at most {MAX_LEASE:.0f} seconds, got {seconds:g}")
    return seconds


def check_count(count: int) -> None:
    """``WrongCountError`` unless so many tasks may be claimed at once."""
    if not 1 <= count <= MAX_CLAIMS:
        raise WrongCountError(f"one claim is on 1 to {MAX_CLAIMS} tasks, got {count}")
