"""Where to cut a long text: overlapping windows, or an even sample of them over the whole length."""

from __future__ import annotations

from dataclasses import dataclass

from moderator.settings import Limits


@dataclass(frozen=True, slots=True)
class Windows:
    """``spans``: ``(start, end)`` characters of the original, rising. ``coverage``: share of it in any."""

    spans: tuple[tuple[int, int], ...]
    coverage: float


def windows(text: str, limits: Limits) -> Windows:
    """Cut ``text`` into windows of at most ``limits.text_window`` characters.

    Neighbours share up to ``text_overlap``; ends prefer white space or punctuation. A text that needs
    more than ``text_windows`` of them is sampled evenly, its first and last window included. An empty
    text has no window and coverage 1.
    """
    tiled = _tile(text, limits)
    if tiled is not None:
        return Windows(tiled, 1.0)
    return _sample(text, limits)


def _tile(text: str, limits: Limits) -> tuple[tuple[int, int], ...] | None:
    width, overlap = limits.text_window, _overlap(limits)
    # Ends retreat and starts advance by at most half the overlap, so that no gap opens between them.
    slack = overlap // 2 if overlap else width // 8
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        if len(spans) == limits.text_windows:
            return None
        if start + width >= len(text):
            spans.append((start, len(text)))
            break
        end = _retreat(text, start + width, slack)
        spans.append((start, end))
        start = _advance(text, start + width - overlap, slack) if overlap else end
    return tuple(spans)


def _sample(text: str, limits: Limits) -> Windows:
    width, count = limits.text_window, limits.text_windows
    slack = _overlap(limits) // 2
    last = len(text) - width
    spans: list[tuple[int, int]] = []
    for index in range(count):
        at = index * last // (count - 1) if count > 1 else 0
        start = _advance(text, at, slack) if 0 < at < last else at
        end = at + width if at >= last else _retreat(text, at + width, slack)
        spans.append((start, end))
    covered, reached = 0, 0
    for start, end in spans:
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return Windows(tuple(spans), covered / len(text))


def _overlap(limits: Limits) -> int:
    return min(limits.text_overlap, limits.text_window // 2)


def _retreat(text: str, end: int, slack: int) -> int:
    """The last place at or before ``end``, at most ``slack`` back, that does not cut a word."""
    for at in range(end, end - slack, -1):
        if not (text[at - 1].isalnum() and text[at].isalnum()):
            return at
    return end


def _advance(text: str, start: int, slack: int) -> int:
    """The first place at or after ``start``, at most ``slack`` on, where a word begins."""
    for at in range(start, start + slack):
        if not (text[at - 1].isalnum() and text[at].isalnum()):
            return at
    return start
