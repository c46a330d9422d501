"""Runs plugins so that one that fails, lies or dawdles harms no item but its own."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from moderator.contract import problem_with_extracts
from moderator.errors import CheckpointError, ModeratorError
from moderator.media.files import told
from moderator.plugin import Detector, Embedder, Extractor, Plugin
from moderator.types import Content, Embedding, Evidence, Modality, Signal

T = TypeVar("T")

_CHUNK = 1 << 18
"""Contents handed to a plugin at once, in characters; a frame or a clip counts as a full text window.
Large enough that batches of like lengths fill up, small enough for the time limit to mean something."""
_MEDIA_SIZE = 1024
_READ_AT_ONCE = 4 * _MEDIA_SIZE
"""The same for extractors, which take seconds for one content."""
_MAX_OVERRUNS = 3
# a plugin may raise anything, and one that calls sys.exit() must not end a scan; Ctrl-C must
_FAILURES = (Exception, SystemExit)


@dataclass(frozen=True, slots=True)
class Failed:
    """Stands where a result should be; ``reason`` is told in the verdict."""

    reason: str


class Worker(Generic[T]):
    """One plugin in use: loaded on its first content, checked on every result, switched off if hopeless."""

    def __init__(
        self,
        plugin: Plugin,
        call: Callable[[Sequence[Content]], list[T]],
        check: Callable[[Content, object], str],
        device: str,
        timeout: float,
        loaded: Callable[[], None] = lambda: None,
        chunk: int = _CHUNK,
    ) -> None:
        """``check`` says what is wrong with a result, or nothing; ``loaded`` may refuse the plugin with a
        ``ModeratorError``, which goes to the caller: a wrong configuration is not a bad item. ``chunk``: how
        much the plugin is handed at once."""
        self.plugin = plugin
        self._call = call
        self._check = check
        self._device = device
        self._timeout = timeout
        self._loaded = loaded
        self._chunk = chunk
        self._ready = False
        self._off = ""
        self._overruns = 0

    def run(self, contents: Sequence[Content]) -> list[T | Failed]:
        """A result or a reason for each content, in order. Results do not depend on the neighbours."""
        if contents and not self._ready and not self._off:
            self._load()
        results: list[T | Failed] = [Failed(self._off)] * len(contents)
        # like sizes together: plugins that pad waste less
        order = sorted(range(len(contents)), key=lambda index: len(contents[index].data))
        for chunk in _chunks(order, contents, self._chunk):
            if self._off:
                made: list[T | Failed] = [Failed(self._off)] * len(chunk)
            else:
                made = self._attempt([contents[index] for index in chunk])
            for index, result in zip(chunk, made, strict=True):
                results[index] = result
        return results

    def _load(self) -> None:
        try:
            with redirect_stdout(sys.stderr):  # standard output may be a stream of verdicts
                self.plugin.load(self._device)
        except CheckpointError:  # its weights are not those the model was trained with: all would be degraded
            raise
        except _FAILURES as error:
            self._off = f"{self.plugin.name}: cannot be loaded: {_said(error)}"
            return
        self._loaded()
        self._ready = True

    def _attempt(self, contents: Sequence[Content]) -> list[T | Failed]:
        started = time.monotonic()
        try:
            made = self._call(contents)
            if len(made) != len(contents):
                raise ValueError(f"{len(made)} results for {len(contents)} contents")
            failed = ""
        except _FAILURES as error:
            made, failed = [], _said(error)
        took = time.monotonic() - started
        if len(contents) > 1 and (failed or took > self._timeout):
            # someone in here is to blame: one by one shows who
            return [each for content in contents for each in self._single(content)]
        if took > self._timeout:
            return [self._overrun(took)]
        if failed:
            return [Failed(f"{self.plugin.name}: failed: {failed}")]
        return [
            Failed(f"{self.plugin.name}: {problem}")
            if (problem := self._problem(content, result))
            else result
            for content, result in zip(contents, made, strict=True)
        ]

    def _single(self, content: Content) -> list[T | Failed]:
        return [Failed(self._off)] if self._off else self._attempt([content])

    def _overrun(self, took: float) -> Failed:
        self._overruns += 1
        reason = f"{self.plugin.name}: took {took:.1f} s, allowed are {self._timeout:g} s"
        if self._overruns >= _MAX_OVERRUNS:
            self._off = (
                f"{self.plugin.name}: switched off after {_MAX_OVERRUNS} overruns of {self._timeout:g} s"
            )
        return Failed(reason)

    def _problem(self, content: Content, result: T) -> str:
        try:
            return self._check(content, result)
        except _FAILURES as error:  # a result may be of any type
            return f"unusable result: {_said(error)}"


def _chunks(order: Sequence[int], contents: Sequence[Content], most: int) -> list[list[int]]:
    chunks: list[list[int]] = []
    size = 0
    for index in order:
        content = contents[index]
        added = len(content.data) if content.modality is Modality.TEXT else _MEDIA_SIZE
        if not chunks or size + added > most:
            chunks.append([])
            size = 0
        chunks[-1].append(index)
        size += added
    return chunks


def embedder_worker(
    embedder: Embedder, device: str, timeout: float, loaded: Callable[[], None]
) -> Worker[Embedding]:
    """A worker whose results are embeddings of the right shape, all finite."""

    def check(_content: Content, embedding: object) -> str:
        if not isinstance(embedding, Embedding):
            return f"gave a {type(embedding).__name__}, expected an Embedding"
        tokens = embedding.tokens
        if tokens.ndim != 2 or not len(tokens) or tokens.shape[1] != embedder.dim:
            return f"tokens of shape {tuple(tokens.shape)}, expected (T, {embedder.dim})"
        if not tokens.dtype.is_floating_point:
            return f"tokens of type {tokens.dtype}, expected a float type"
        if len(embedding.spans) != len(tokens):
            return f"{len(embedding.spans)} spans for {len(tokens)} tokens"
        # the sum is finite only if all are (∞ − ∞ is not a number); in doubles it does not overflow by itself
        if not math.isfinite(float(tokens.sum(dtype=torch.float64))):
            return "tokens that are not finite"
        return ""

    return Worker(embedder, embedder.embed_batch, check, device, timeout, loaded)


def detector_worker(detector: Detector, device: str, timeout: float) -> Worker[list[Signal]]:
    """A worker whose results are declared signals within their range."""
    ranges = {spec.name: spec for spec in detector.signals}

    def check(_content: Content, signals: object) -> str:
        if not isinstance(signals, (list, tuple)):  # an iterator would be used up here
            return f"gave a {type(signals).__name__}, expected a list of signals"
        for signal in signals:
            if not isinstance(signal, Signal):
                return f"gave a {type(signal).__name__} among the signals"
            spec = ranges.get(signal.name)
            if spec is None:
                return f"signal {signal.name!r}, which it does not declare"
            if not (math.isfinite(signal.score) and spec.low <= signal.score <= spec.high):
                return f"signal {signal.name} = {signal.score}, outside [{spec.low}, {spec.high}]"
            for found in signal.evidence:
                if not (isinstance(found, Evidence) and all(math.isfinite(edge) for edge in found.span)):
                    return f"signal {signal.name} with unusable evidence {found!r:.100}"
        return ""

    return Worker(detector, detector.detect_batch, check, device, timeout)


def extractor_worker(extractor: Extractor, device: str, timeout: float) -> Worker[list[Content]]:
    """A worker whose results are lists of content that says where it comes from."""

    def check(_content: Content, extracts: object) -> str:
        return problem_with_extracts(extracts)

    return Worker(extractor, extractor.extract_batch, check, device, timeout, chunk=_READ_AT_ONCE)


def _said(error: BaseException) -> str:
    text = " ".join(told(error).split())
    return text if isinstance(error, ModeratorError) else text[:300]
