"""A review task as a row, as JSON, and as lines for a person to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moderator.cli.terminal import visible

if TYPE_CHECKING:
    from moderator.review.strikes import Strike
    from moderator.store.queue import Task, TaskDetail
    from moderator.types import Decision

_BAR = 30
_EXCERPT = 2000
_CELL = 200


def task_row(task: Task) -> dict[str, Any]:
    """A task in a listing; every value is plain JSON."""
    scores = task.verdict.scores
    top = max(scores, key=lambda label: scores[label], default=None)
    return {
        "id": task.id,
        "state": task.state,
        "action": task.action.value,
        "priority": task.priority,
        "item": task.verdict.item_id,
        "scan": task.scan_id,
        "position": task.position,
        "top_label": top,
        "top_score": None if top is None else scores[top],
        "reasons": list(task.verdict.reasons),
        "opened_at": task.opened_at.isoformat(timespec="seconds"),
        "stage": task.stage.value,
        "reviewer": task.reviewer,
        "token": task.token,
        "lease_until": None if task.lease_until is None else task.lease_until.isoformat(),
        "queue": task.queue,
        "due_at": task.due_at.isoformat(timespec="seconds"),
    }


def listed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``task_row`` for people, narrow enough for a terminal."""
    highest = "" if row["top_label"] is None else f"{row['top_label']} {row['top_score']:.2f}"
    return readable({**row, "highest": highest, "due": row["due_at"][:16].replace("T", " ")})


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row for people: texts made safe, lists in one cell."""
    return {
        key: visible("; ".join(value) if isinstance(value, list) else value, 120)
        if isinstance(value, (str, list))
        else value
        for key, value in row.items()
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    """A decision as plain JSON."""
    return {
        "action": decision.action.value,
        "reviewer": decision.reviewer,
        "reason": decision.reason,
        "policy_rule": decision.policy_rule,
        "labels": dict(decision.labels),
        "decided_at": None if decision.decided_at is None else decision.decided_at.isoformat(),
    }


def detail_json(detail: TaskDetail, strikes: Sequence[Strike] = ()) -> dict[str, Any]:
    """Everything known of a task, as plain JSON; ``strikes`` are its author's."""
    verdict = detail.task.verdict
    return {
        **task_row(detail.task),
        "context": detail.context,
        "parts": detail.parts,
        "scores": dict(verdict.scores),
        "signals": dict(verdict.signals),
        "matches": [
            {"rule": match.rule, "action": match.action.value, "why": match.why} for match in verdict.matches
        ],
        "degraded": list(verdict.degraded),
        "coverage": dict(verdict.coverage),
        "evidence": [
            {"source": each.source, "part": each.part, "span": list(each.span), "detail": each.detail}
            for each in verdict.evidence
        ],
        "policy_digest": verdict.policy_digest,
        "model_digest": verdict.model_digest,
        "embedders": dict(verdict.embedders),
        "software": verdict.software,
        "strikes": [
            {"task": each.task_id, "policy_rule": each.policy_rule, "since": each.since.isoformat()}
            for each in strikes
        ],
        "blind": detail.blind,
        "decisions": [decision_json(each) for each in detail.decisions],
        "appeals": [
            {
                "id": each.id,
                "filed_by": each.filed_by,
                "statement": each.statement,
                "filed_at": each.filed_at.isoformat(),
                "outcome": each.outcome,
                "answered_at": None if each.answered_at is None else each.answered_at.isoformat(),
            }
            for each in detail.appeals
        ],
        "events": [
            {
                "id": each.id,
                "act": each.act,
                "state": each.state.value,
                "reviewer": each.reviewer,
                "reason": each.reason,
                "at": each.at.isoformat(),
                "queue": each.queue,
            }
            for each in detail.events
        ],
    }


def detail_lines(detail: TaskDetail, strikes: Sequence[Strike] = ()) -> Iterator[str]:
    """A task for a person: what it is, why it is here, what was said and by whom."""
    task, verdict = detail.task, detail.task.verdict
    yield f"task {task.id}: {task.state}, the machine says {task.action}"
    if task.reviewer is not None and task.lease_until is not None:
        until = f"until {task.lease_until:%Y-%m-%d %H:%M:%S} UTC"
        yield f"claimed by {visible(task.reviewer)} {until}, token {task.token}"
    if detail.blind:
        yield "second review: what others decided is not shown"
    yield f"item {visible(verdict.item_id, _CELL)} (scan {task.scan_id}, position {task.position})"
    yield f"opened {task.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"queue {task.queue}, due {task.due_at:%Y-%m-%d %H:%M:%S} UTC"
    yield from _section("reasons", (visible(reason, _CELL) for reason in verdict.reasons))
    yield from _section("content", _content(detail))
    yield from _section("context", _pairs(detail.context or {}))
    yield from _section(
        "strikes against the author",
        (f"{each.since:%Y-%m-%d} task {each.task_id}: {visible(each.policy_rule)}" for each in strikes),
    )
    ranked = sorted(verdict.scores.items(), key=lambda pair: -pair[1])
    yield from _section("scores", (f"{label:<12} {score:.3f} {_bar(score)}" for label, score in ranked))
    yield from _section(
        "signals", (f"{visible(name)} {value:.3f}" for name, value in verdict.signals.items())
    )
    yield from _section(
        "evidence",
        (
            f"{visible(each.source)}, part {each.part}, at {', '.join(f'{edge:g}' for edge in each.span)}"
            + (f": {visible(each.detail, _CELL)}" if each.detail else "")
            for each in verdict.evidence
        ),
    )
    yield from _section(
        "looked at", (f"{visible(part)} {share:.0%}" for part, share in verdict.coverage.items())
    )
    yield from _section(
        "decisions",
        (
            f"{each.action} by {visible(each.reviewer)}: {visible(each.reason, _EXCERPT)}"
            + (f" [{visible(each.policy_rule)}]" if each.policy_rule else "")
            + "".join(f", {visible(label)}: {'yes' if yes else 'no'}" for label, yes in each.labels.items())
            for each in detail.decisions
        ),
    )
    yield from _section(
        "appeals",
        (
            f"by {visible(each.filed_by)}: {visible(each.statement, _EXCERPT)}"
            f" ({each.outcome or 'unanswered'})"
            for each in detail.appeals
        ),
    )
    yield from _section(
        "what was done",
        (
            f"{each.at:%Y-%m-%d %H:%M:%S} {each.act}"
            + (f" by {visible(each.reviewer)}" if each.reviewer else "")
            + f", then {each.state}"
            + (f" in {each.queue}" if each.act == "move" else "")
            + (f": {visible(each.reason, _CELL)}" if each.reason else "")
            for each in detail.events
        ),
    )


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == 0:
            yield f"\n{title}"
        yield f"  {line}"


def _content(detail: TaskDetail) -> Iterator[str]:
    from moderator.store.verdicts import part_text  # the store is loaded by then

    if detail.parts is None:
        erased = detail.task.verdict.item_id == "(erased)"
        yield "(the content was erased)" if erased else "(the record could not be read)"
        return
    for part in detail.parts:
        text = part_text(part)
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if text is not None:
            yield f"{part['modality']}: {visible(text, _EXCERPT)}"
        elif "path" in part:
            yield f"{part['modality']}: {visible(part['path'])}"
        else:
            digest = part["digest"] or "unknown"
            yield f"{part['modality']}: handed in as {part['inline']}, not kept; SHA-256 {digest}"


def _pairs(named: Mapping[str, Any]) -> Iterator[str]:
    return (f"{visible(key, _CELL)}: {visible(str(value), _CELL)}" for key, value in named.items())


def _bar(score: float) -> str:
    return "#" * round(max(0.0, min(score, 1.0)) * _BAR)
