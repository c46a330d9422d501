"""The contract suite: what every embedder, detector and extractor must do, run on its own examples.

``moderator plugins check`` and the tests of plugin authors run it. Tensors are only read through their
methods, so that this module needs no torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moderator.contract import checked_identity, checked_signals, problem_with_extracts
from moderator.plugin import Detector, Embedder, Extractor, Plugin
from moderator.types import Content, Embedding, Modality, Signal

TOLERANCE: Final = 1e-5
"""How far float32 results of the same content may differ, absolute and relative."""
_HALF_TOLERANCE: Final = 0.02
"""The same for tokens that are given, or were computed, in half precision."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One clause of the contract: whether it held, and if not, what was seen instead."""

    check: str
    ok: bool
    detail: str = ""


class _BrokenError(Exception):
    """A clause does not hold; its text becomes the result's detail."""


def check_plugin(plugin: Plugin, device: str = "cpu") -> list[CheckResult]:
    """Load ``plugin`` on ``device`` and check every clause of the contract on ``plugin.examples()``.

    A clause that raises counts as broken. If the plugin cannot be loaded or has no examples, the
    clauses that need them are not run.
    """
    results: list[CheckResult] = []

    def hold(check: str, clause: Callable[[], Any]) -> bool:
        try:
            clause()
        except _BrokenError as broken:
            results.append(CheckResult(check, False, str(broken)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; recorded as the result
            results.append(CheckResult(check, False, f"{type(error).__name__}: {error}"))
        else:
            results.append(CheckResult(check, True))
        return results[-1].ok

    hold("has a name and a modality", lambda: checked_identity(type(plugin)))
    if isinstance(plugin, Detector):
        hold("declares usable signals", lambda: checked_signals(plugin))
    if not hold("has examples", lambda: _check_examples(plugin)):
        return results
    if not hold("loads", lambda: plugin.load(device)):
        return results
    run, check_one, same = _kind(plugin)
    examples = list(plugin.examples())
    hold("has a fingerprint", lambda: _check_fingerprint(plugin))
    hold("gives one valid result per example", lambda: _check_results(run, check_one, examples))
    hold("copes with tiny content", lambda: _check_results(run, check_one, _tiny(plugin.modality)))
    hold("gives the same result twice", lambda: _check_same(same, run(examples), run(examples)))
    hold("does not depend on the batch", lambda: _check_batch(run, same, examples))
    hold("gives an empty list for an empty batch", lambda: _check_empty(run))
    hold("does not change its input", lambda: _check_unchanged(run, examples))
    hold("a second instance agrees", lambda: _check_second(plugin, device, run, same, examples))
    return results


Run = Callable[[Sequence[Content]], list[Any]]
CheckOne = Callable[[Any, Content], None]
Same = Callable[[Any, Any], str]
"""Says how two results differ; empty if they do not."""


def _kind(plugin: Plugin) -> tuple[Run, CheckOne, Same]:
    if isinstance(plugin, Embedder):
        same = partial(_differ, plugin.precision)
        return plugin.embed_batch, lambda one, content: _check_embedding(one, content, plugin.dim), same
    if isinstance(plugin, Detector):
        specs = {spec.name: (spec.low, spec.high) for spec in plugin.signals}
        return plugin.detect_batch, lambda one, content: _check_signals(one, content, specs), _differ_signals
    if isinstance(plugin, Extractor):
        return plugin.extract_batch, _check_extracts, _differ_extracts
    raise TypeError(f"{type(plugin).__name__} is neither an Embedder, a Detector nor an Extractor")


def _check_examples(plugin: Plugin) -> None:
    examples = list(plugin.examples())
    if not examples:
        raise _BrokenError("examples() is empty")
    for number, content in enumerate(examples):
        if content.modality is not plugin.modality:
            raise _BrokenError(f"example {number} is {content.modality.value}, not {plugin.modality.value}")


def _check_fingerprint(plugin: Plugin) -> None:
    first = plugin.fingerprint
    if not (isinstance(first, str) and first.strip()):
        raise _BrokenError(f"fingerprint is {first!r}")
    plugin_run = _kind(plugin)[0]
    plugin_run(list(plugin.examples()))
    if plugin.fingerprint != first:
        raise _BrokenError(f"fingerprint changed from {first!r} to {plugin.fingerprint!r} in use")


def _check_results(run: Run, check_one: CheckOne, contents: Sequence[Content]) -> None:
    results = run(contents)
    if not isinstance(results, list) or len(results) != len(contents):
        got = f"{len(results)} results" if isinstance(results, list) else type(results).__name__
        raise _BrokenError(f"{len(contents)} contents gave {got}")
    for number, (one, content) in enumerate(zip(results, contents, strict=True)):
        try:
            check_one(one, content)
        except _BrokenError as broken:
            raise _BrokenError(f"content {number}: {broken}") from None


def _check_batch(run: Run, same: Same, examples: Sequence[Content]) -> None:
    together = run(examples)
    _check_same(same, [run([content])[0] for content in examples], together)
    _check_same(same, run(examples[::-1])[::-1], together)


def _check_same(same: Same, first: Sequence[Any], second: Sequence[Any]) -> None:
    for number, (left, right) in enumerate(zip(first, second, strict=True)):
        if difference := same(left, right):
            raise _BrokenError(f"content {number}: {difference}")


def _check_empty(run: Run) -> None:
    if (got := run([])) != []:
        raise _BrokenError(f"got {got!r}")


def _check_unchanged(run: Run, examples: Sequence[Content]) -> None:
    before = [_frozen(content) for content in examples]
    run(examples)
    for number, (content, kept) in enumerate(zip(examples, before, strict=True)):
        if _frozen(content) != kept:
            raise _BrokenError(f"content {number} was written to")


def _frozen(content: Content) -> tuple[Any, ...]:
    fields = (getattr(content, each.name) for each in dataclasses.fields(content))
    return tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in fields)


def _check_second(plugin: Plugin, device: str, run: Run, same: Same, examples: Sequence[Content]) -> None:
    """Unseeded weights or a fingerprint of the process show only in another instance."""
    second = type(plugin)(plugin.options)
    second.load(device)
    if second.fingerprint != plugin.fingerprint:
        raise _BrokenError(f"fingerprints are {plugin.fingerprint!r} and {second.fingerprint!r}")
    _check_same(same, _kind(second)[0](examples), run(examples))


def _tiny(modality: Modality) -> list[Content]:
    if modality is Modality.TEXT:
        # the zero-width space vanishes when normalised, yet must give a result
        zero_width = Content(modality, "\u200b", "", np.zeros(0, np.int32), span=(0.0, 1.0))
        return [Content(modality, "a", "a", np.zeros(1, np.int32), span=(0.0, 1.0)), zero_width]
    if modality is Modality.AUDIO:
        return [Content(modality, np.zeros(160, np.float32), rate=16_000, span=(0.0, 0.01))]
    return [Content(modality, np.zeros((1, 1, 3), np.uint8))]


def _check_embedding(embedding: Any, content: Content, dim: int) -> None:
    if not isinstance(embedding, Embedding):
        raise _BrokenError(f"got {type(embedding).__name__}, expected an Embedding")
    shape = tuple(embedding.tokens.shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != dim:
        raise _BrokenError(f"tokens have shape {shape}, expected (at least 1, {dim})")
    if not embedding.tokens.dtype.is_floating_point:
        raise _BrokenError(f"tokens are {embedding.tokens.dtype}, expected a float type")
    if not np.isfinite(_numbers(embedding)).all():
        raise _BrokenError("tokens are not finite")
    if embedding.tokens.requires_grad:
        raise _BrokenError("tokens require gradients; use torch.inference_mode()")
    spans = embedding.spans
    wanted = (shape[0], len(_bounds(content)))
    if not isinstance(spans, np.ndarray) or spans.dtype != np.float32 or spans.shape != wanted:
        raise _BrokenError(f"spans must be a float32 array {wanted}")
    for span in spans:
        _check_span(tuple(float(edge) for edge in span), content)


def _check_signals(signals: Any, content: Content, specs: dict[str, tuple[float, float]]) -> None:
    for signal in signals:
        if not isinstance(signal, Signal):
            raise _BrokenError(f"got {type(signal).__name__}, expected a Signal")
        if signal.name not in specs:
            raise _BrokenError(
                f"signal {signal.name!r} is not declared; declared are {', '.join(sorted(specs))}"
            )
        low, high = specs[signal.name]
        if not low <= signal.score <= high:  # also false for NaN
            raise _BrokenError(f"signal {signal.name!r} is {signal.score}, outside [{low}, {high}]")
        for evidence in signal.evidence:
            _check_span(evidence.span, content)


def _check_extracts(extracts: Any, content: Content) -> None:
    if problem := problem_with_extracts(extracts):
        raise _BrokenError(problem)


def _bounds(content: Content) -> tuple[float, ...]:
    """The largest value each number of a span may take."""
    if content.modality is Modality.TEXT:
        return (float(len(content.data)),) * 2
    if content.modality is Modality.AUDIO:
        return (len(content.data) / content.rate,) * 2
    height, width = np.shape(content.data)[:2]
    return (width, height, width, height)


def _check_span(span: tuple[float, ...], content: Content) -> None:
    bounds = _bounds(content)
    half = len(bounds) // 2
    if len(span) != len(bounds):
        raise _BrokenError(f"span {span} has {len(span)} numbers, expected {len(bounds)}")
    # seconds are float32 in spans: allow their rounding
    inside = all(0 <= edge <= bound + 1e-4 for edge, bound in zip(span, bounds, strict=True))
    forwards = all(start <= end for start, end in zip(span[:half], span[half:], strict=True))
    if not (inside and forwards and all(math.isfinite(edge) for edge in span)):
        raise _BrokenError(f"span {span} is not within the content (up to {bounds})")


def _numbers(embedding: Embedding) -> NDArray[np.float32]:
    return np.asarray(embedding.tokens.detach().cpu().float().numpy())


def _differ(precision: str, left: Embedding, right: Embedding) -> str:
    a, b = _numbers(left), _numbers(right)
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    full = precision == "float32" and left.tokens.dtype.itemsize >= 4
    tolerance = TOLERANCE if full else _HALF_TOLERANCE
    if not np.allclose(a, b, rtol=tolerance, atol=tolerance):
        return f"tokens differ by up to {np.abs(a - b).max():.2g}"
    if not np.array_equal(left.spans, right.spans) or left.truncated != right.truncated:
        return "spans or truncation differ"
    return ""


def _differ_signals(left: Sequence[Signal], right: Sequence[Signal]) -> str:
    if [signal.name for signal in left] != [signal.name for signal in right]:
        return f"signals {[signal.name for signal in left]} and {[signal.name for signal in right]}"
    for a, b in zip(left, right, strict=True):
        if abs(a.score - b.score) > TOLERANCE:
            return f"{a.name} is {a.score} and {b.score}"
        if len(a.evidence) != len(b.evidence):
            return f"{a.name} has {len(a.evidence)} and {len(b.evidence)} pieces of evidence"
    return ""


def _differ_extracts(left: Sequence[Content], right: Sequence[Content]) -> str:
    a, b = [_frozen(each) for each in left], [_frozen(each) for each in right]
    return "" if a == b else f"extracts {[each.data for each in left]!r} and {[e.data for e in right]!r}"
