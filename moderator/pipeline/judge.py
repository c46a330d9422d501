"""One batch of items from bytes to verdicts: decode, extract, embed, detect, fuse, apply the policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from moderator.media.decode import DecodedItem, decode
from moderator.pipeline.extracts import joined, prepared
from moderator.pipeline.scorer import Scorer
from moderator.pipeline.views import ItemView, views_of
from moderator.pipeline.workers import Failed, Worker
from moderator.plugin import Detector, Embedder, Extractor, Plugin
from moderator.policy.evaluate import Evaluator
from moderator.settings import Limits
from moderator.types import (
    Content,
    Embedding,
    Evidence,
    Item,
    Modality,
    Signal,
    Verdict,
    part_name,
)

T = TypeVar("T")

_GROUP = 1 << 19
"""What is judged together at most, one item's own aside: characters of text, or as much memory."""
_MEDIA_WEIGHT = 4096
"""How many characters a frame or a clip weighs: both are megabytes."""
_AHEAD = 16
"""Items decoded ahead by threads."""
_AHEAD_VIDEO = 2
"""As many where there are videos among them, each a hundred megabytes of frames and sound."""
_MAX_EVIDENCE = 256
"""Places detectors may name in one item: enough for a person, and no flood from a text of listed words."""
_SHOWN = 0.5
"""Scores from here on are located in the verdict's evidence, where an item has several views."""


@dataclass(slots=True)
class _Findings:
    """What is known of one item so far."""

    item: Item
    decoded: DecodedItem
    degraded: list[str]
    contents: list[Content]
    """Those of the parts, then what was read out of them."""
    embeddings: list[dict[str, Embedding]]
    joint: Content | None = None
    """The post's own text and what was read out of its other parts, as one: last in ``contents``, and for
    the model alone, since detectors see its pieces."""
    cleared: set[int] = field(default_factory=set)
    """Contents that a detector or an extractor has looked at which may clear them."""
    readers: dict[str, str] = field(default_factory=dict)
    """Embedders and extractors that read its contents, with their fingerprints."""
    signals: dict[str, float] = field(default_factory=dict)
    evidence: dict[Evidence, None] = field(default_factory=dict)
    """In the order found, each once: neighbouring windows of a text share characters."""
    scores: dict[str, float] = field(default_factory=dict)

    def failed(self, index: int, reason: str) -> None:
        """Content ``index`` could not be handled: said once per part and reason."""
        said = f"{part_name(self.item.parts, self.contents[index].part)}: {reason}"
        if said not in self.degraded:
            self.degraded.append(said)


class Judge:
    """Everything needed to turn items into verdicts. Holds no state from one batch to the next but the
    plugins' own."""

    def __init__(
        self,
        *,
        limits: Limits,
        scorer: Scorer,
        evaluator: Evaluator,
        embedders: Sequence[Worker[Embedding]],
        detectors: Sequence[Worker[list[Signal]]],
        extractors: Sequence[Worker[list[Content]]] = (),
        missing: Mapping[Modality, Sequence[str]],
        software: str,
        executor: Executor | None = None,
    ) -> None:
        """``missing``: reasons per modality that hold for every item with such content (an embedder the
        checkpoint needs is not installed, say). Failures of a detector count only if the policy names
        one of its signals."""
        self.limits = limits
        self.scorer = scorer
        self.evaluator = evaluator
        self.embedders = embedders
        self.detectors = detectors
        self.extractors = extractors
        self.missing = missing
        self.software = software
        self._executor = executor
        config = scorer.checkpoint.config
        self._labels = config.labels
        self._sources = config.sources
        self._trained = {spec.modality for spec in config.embedders}
        self._alone = {spec.name for spec in config.embedders if spec.alone}
        self._fingerprints = {spec.name: spec.fingerprint for spec in config.embedders}

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict per item, in order. Memory is bounded by the group in hand, not by the batch."""
        verdicts: list[Verdict] = []
        group: list[_Findings] = []
        weight = 0
        for item, decoded in zip(items, self._decoded(items), strict=True):
            added = sum(map(_weight, decoded.contents))
            if group and weight + added > _GROUP:
                verdicts += self._judged(group)
                group, weight = [], 0
            contents = list(decoded.contents)
            group.append(_Findings(item, decoded, list(decoded.problems), contents, []))
            weight += added
        return verdicts + self._judged(group)

    def _judged(self, findings: Sequence[_Findings]) -> list[Verdict]:
        self._extract(findings)
        self._detect(findings)
        self._embed(findings)
        self._score(findings)
        return [self._verdict(each) for each in findings]

    def _decoded(self, items: Sequence[Item]) -> Iterator[DecodedItem]:
        def one(item: Item) -> DecodedItem:
            return decode(item, self.limits)

        only_text = all(part.modality is Modality.TEXT for item in items for part in item.parts)
        if self._executor is None or only_text:
            yield from map(one, items)
            return
        begin = 0
        while begin < len(items):
            ahead = items[begin : begin + _AHEAD]
            if any(part.modality is Modality.VIDEO for item in ahead for part in item.parts):
                ahead = ahead[:_AHEAD_VIDEO]
            yield from self._executor.map(one, ahead)
            begin += len(ahead)

    def _extract(self, findings: Sequence[_Findings]) -> None:
        for worker in self.extractors:
            assert isinstance(worker.plugin, Extractor)  # noqa: S101 - for mypy
            for found, index, result in _run(worker, findings):
                if isinstance(result, Failed):
                    found.failed(index, result.reason)
                    continue
                if worker.plugin.clears:
                    found.cleared.add(index)
                found.readers[worker.plugin.name] = worker.plugin.fingerprint
                origin = found.contents[index]
                for extract in result:
                    found.contents += prepared(extract, origin, self.limits)

    def _embed(self, findings: Sequence[_Findings]) -> None:
        for found in findings:
            found.joint = joined(found.contents, self.limits) if self.extractors else None
            if found.joint is not None:
                found.contents.append(found.joint)
            found.embeddings = [{} for _ in found.contents]
        for worker in self.embedders:
            for found, index, result in _run(worker, findings):
                if isinstance(result, Failed):
                    found.failed(index, result.reason)
                    continue
                found.embeddings[index][worker.plugin.name] = result
                found.readers[worker.plugin.name] = _computed(worker.plugin)
                if result.truncated:
                    found.failed(index, f"{worker.plugin.name}: could not look at all of it")
        for found in findings:
            for index, content in enumerate(found.contents):
                for reason in self.missing.get(content.modality, ()):
                    found.failed(index, reason)
                if content.modality not in self._trained:
                    found.failed(index, f"the model is not trained for {content.modality.value}")
            # what was read out of a part does not clear it by itself: nobody may have looked at the rest
            own = dict(enumerate(found.embeddings[: len(found.decoded.contents)]))
            used = {name for given in own.values() for name in given}
            weak = {name for index, given in own.items() if index not in found.cleared for name in given}
            if weak and not used & self._alone:
                found.degraded.append(
                    f"{' and '.join(sorted(weak))}: trained on too little to clear an item alone"
                )

    def _detect(self, findings: Sequence[_Findings]) -> None:
        needed = self.evaluator.policy.signals
        for worker in self.detectors:
            assert isinstance(worker.plugin, Detector)  # noqa: S101 - for mypy
            names = {spec.name for spec in worker.plugin.signals}
            for found, index, result in _run(worker, findings):
                if isinstance(result, Failed):
                    if names & needed:
                        found.failed(index, result.reason)
                    continue
                if worker.plugin.clears:
                    found.cleared.add(index)
                content = found.contents[index]
                for signal in result:
                    found.signals[signal.name] = max(found.signals.get(signal.name, 0.0), signal.score)
                    room = max(0, _MAX_EVIDENCE - len(found.evidence))
                    placed = dict.fromkeys(_placed(each, content) for each in signal.evidence)
                    found.evidence |= dict.fromkeys(islice(placed, room))

    def _score(self, findings: Sequence[_Findings]) -> None:
        owners: list[_Findings] = []
        views: list[ItemView] = []
        for found in findings:
            made = views_of(found.contents, found.embeddings, self._sources)
            owners += [found] * len(made)
            views += made
            if not made and not found.degraded:
                found.degraded.append("nothing in the item could be judged")
        half = {worker.plugin.name for worker in self.embedders if _in_half(worker.plugin)}
        rows = self.scorer.probabilities([each.view for each in views], half)
        best: dict[int, list[tuple[float, ItemView]]] = {}
        for found, view, row in zip(owners, views, rows.tolist(), strict=True):
            if not all(math.isfinite(value) for value in row):
                found.degraded.append("the model gave a score that is not finite")
                continue
            so_far = best.setdefault(id(found), [(-1.0, view)] * len(row))
            best[id(found)] = [
                max(pair, (value, view), key=lambda each: each[0])
                for pair, value in zip(so_far, row, strict=True)
            ]
        count = dict.fromkeys(best, 0)
        for found in owners:
            count[id(found)] = count.get(id(found), 0) + 1
        for found in findings:
            pairs = best.get(id(found))
            if pairs is None:
                continue
            found.scores = {label: value for label, (value, _) in zip(self._labels, pairs, strict=True)}
            if count[id(found)] > 1:
                found.evidence |= dict.fromkeys(_located(found.scores, [view for _, view in pairs]))

    def _verdict(self, found: _Findings) -> Verdict:
        outcome = self.evaluator.evaluate(found.scores, found.signals, found.item.context, found.degraded)
        return Verdict(
            item_id=found.item.id,
            action=outcome.action,
            scores=found.scores,
            signals=found.signals,
            matches=outcome.matches,
            degraded=outcome.degraded,
            evidence=tuple(found.evidence),
            coverage=found.decoded.coverage,
            content_digests=found.decoded.digests,
            policy_digest=self.evaluator.policy.digest,
            model_digest=self.scorer.checkpoint.digest,
            embedders={**self._fingerprints, **found.readers},
            software=self.software,
        )


def _computed(plugin: Plugin) -> str:
    """The fingerprint of an embedder, and what it was computed in if not in float32."""
    assert isinstance(plugin, Embedder)  # noqa: S101 - for mypy
    return plugin.fingerprint + ("" if plugin.precision == "float32" else f":{plugin.precision}")


def _in_half(plugin: Plugin) -> bool:
    return isinstance(plugin, Embedder) and plugin.precision.endswith("bfloat16")


def _weight(content: Content) -> int:
    return len(content.data) if content.modality is Modality.TEXT else _MEDIA_WEIGHT


def _run(worker: Worker[T], findings: Sequence[_Findings]) -> Iterable[tuple[_Findings, int, T | Failed]]:
    """A worker's results on all contents of its modality in a batch of items."""
    places = [
        (found, index)
        for found in findings
        for index, content in enumerate(found.contents)
        if content.modality is worker.plugin.modality
    ]
    results = worker.run([found.contents[index] for found, index in places])
    return [(found, index, result) for (found, index), result in zip(places, results, strict=True)]


def _placed(evidence: Evidence, content: Content) -> Evidence:
    """Evidence within a content as evidence within its part: for what was read out of a part, the place it
    was read at, since its characters are not the part's; for a frame, its seconds, since pixels do not say
    which of them."""
    if content.source.is_read:
        return Evidence(evidence.source, content.part, content.span, evidence.detail)
    span = tuple(evidence.span)
    if content.modality is Modality.IMAGE and content.span != (0.0, 0.0):
        box = ", ".join(f"{edge:g}" for edge in span)
        detail = f"{evidence.detail} at pixels {box}".strip() if span else evidence.detail
        return Evidence(evidence.source, content.part, content.span, detail)
    if content.modality is not Modality.IMAGE:
        span = tuple(edge + content.span[0] for edge in span)
    return Evidence(evidence.source, content.part, span, evidence.detail)


def _located(scores: Mapping[str, float], views: Sequence[ItemView]) -> list[Evidence]:
    """Which window, frame or clip the high scores came from."""
    return [
        Evidence(f"model:{label}", content.part, content.span, f"{score:.3f}")
        for (label, score), view in zip(scores.items(), views, strict=True)
        if score >= _SHOWN
        for content in view.contents
        if content.span != (0.0, 0.0)
    ]
