"""The batch runner: records in, verdicts judged, stored, then written out, batch by batch."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from moderator.media.files import printable
from moderator.pipeline.moderator import Moderator
from moderator.sources import Record, Sources, VerdictWriter
from moderator.store import Entry, Store
from moderator.store.session import ScanState
from moderator.types import Action, Item, Verdict

HARMFUL = 0.5
"""A label counts in the summary where its score reaches this."""
_MAX_KINDS = 200
"""Different reasons counted by name: content could otherwise fill the summary with reasons of its own."""
_DETAIL = re.compile(r" \([^()]*\d[^()]*\)")


@dataclass(slots=True)
class Summary:
    """What a scan did. ``labels[label][action]`` counts items whose score for the label is ``HARMFUL``."""

    scan: int = 0
    items: int = 0
    seconds: float = 0.0
    store_seconds: float = 0.0
    actions: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    degraded: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False

    def add(self, record: Record, verdict: Verdict) -> None:
        self.items += 1
        self.actions[verdict.action.value] += 1
        for label, score in verdict.scores.items():
            if score >= HARMFUL:
                self.labels.setdefault(label, Counter())[verdict.action.value] += 1
        for kind in {kind_of(reason, record) for reason in verdict.degraded}:
            known = kind in self.degraded or len(self.degraded) < _MAX_KINDS
            self.degraded[kind if known else "other reasons"] += 1

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds if self.seconds else 0.0


class Watcher(Protocol):
    """Told after each batch is on disk."""

    def __call__(self, summary: Summary, batch: Sequence[tuple[Record, Verdict]], /) -> None: ...


def run_scan(
    moderator: Moderator,
    sources: Sources,
    store: Store,
    *,
    writer: VerdictWriter | None = None,
    watch: Watcher = lambda summary, batch: None,
    stop: Callable[[], bool] = lambda: False,
    name: str = "",
) -> Summary:
    """Scan all of ``sources``. When ``stop`` says so, or on Ctrl-C, what is done is kept, and the summary
    says ``interrupted``.

    A batch is stored before its lines are written, so that every line stands for a stored verdict.
    """
    started = time.monotonic()
    summary = Summary()
    summary.scan = store.start_scan(
        name,
        moderator.policy.digest,
        moderator.checkpoint.digest,
        f"moderator {_version()}",
        {"device": moderator.device, "batch_size": moderator.settings.batch_size},
        policy=moderator.policy.text or None,
        model=json.loads(moderator.checkpoint.config.to_json()),
    )
    state: ScanState = "failed"
    try:
        for batch in _batches(iter(sources), moderator.settings.batch_size):
            judged = _judged(moderator, batch)
            before = time.monotonic()
            review_blocks = moderator.policy.review_blocks
            entries = [_entry(record, verdict, review_blocks) for record, verdict in judged]
            store.record(summary.scan, entries, moderator.route)
            summary.store_seconds += time.monotonic() - before
            for record, verdict in judged:
                if writer is not None:
                    writer.write(verdict)
                summary.add(record, verdict)
            summary.seconds = time.monotonic() - started
            watch(summary, judged)
            if stop():
                raise KeyboardInterrupt
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        summary.interrupted = True
    finally:
        summary.seconds = time.monotonic() - started
        summary.skipped = dict(sources.skipped.counts)
        store.finish_scan(summary.scan, state)
    return summary


def _batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    failure: Exception | None = None
    while failure is None:
        batch: list[Record] = []
        try:
            batch.extend(islice(records, size))
        except Exception as error:  # noqa: BLE001 - raised below, after what was read before it is judged
            failure = error
        if batch:
            yield batch
        elif failure is None:
            return
    raise failure


def _judged(moderator: Moderator, records: Sequence[Record]) -> list[tuple[Record, Verdict]]:
    """Verdicts of records, in order; those that could not be read are judged as having no parts."""
    verdicts = moderator.judge([record.item or Item.of(id=record.id) for record in records])
    return [
        (record, verdict if record.item is not None else _unreadable(record, verdict))
        for record, verdict in zip(records, verdicts, strict=True)
    ]


def _unreadable(record: Record, verdict: Verdict) -> Verdict:
    return replace(
        verdict,
        action=Action.severest(verdict.action, Action.REVIEW),
        degraded=(f"record cannot be read: {record.problem}",),
    )


def _entry(record: Record, verdict: Verdict, review_blocks: bool) -> Entry:
    """A row for the store; it opens a task for every ``review`` by itself."""
    opens_review = review_blocks and verdict.action is Action.BLOCK
    return record.position, record.item, record.id, verdict, opens_review


def kind_of(reason: str, record: Record) -> str:
    """A degraded reason without what differs from item to item, for counting:
    ``image[0]: inbox/a.png: no such file`` → ``image: no such file``."""
    for part in record.item.parts if record.item is not None else ():
        if isinstance(part.value, Path):
            reason = reason.replace(f"{printable(part.value)}: ", "", 1)
    part_of, _, rest = _DETAIL.sub("", reason).partition(": ")
    return f"{part_of.split('[')[0]}: {rest}" if rest else part_of


def _version() -> str:
    from moderator import __version__

    return __version__
