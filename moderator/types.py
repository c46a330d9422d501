"""The values that travel between layers. Frozen; dictionaries stay at the edges."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Scores = Mapping[str, float]
"""Label → probability in [0, 1]; every label of the taxonomy, or empty if nothing could be judged."""


class Modality(enum.StrEnum):
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class Source(enum.StrEnum):
    """Where content came from: the post itself, or an extractor that read it out of another part."""

    NATIVE = "native"
    OCR = "ocr"
    TRANSCRIPT = "transcript"
    FRAME = "frame"

    @property
    def is_read(self) -> bool:
        """Whether it is what an extractor read: its characters are not those of a part."""
        return self in (Source.OCR, Source.TRANSCRIPT)


class Action(enum.StrEnum):
    """What to do with an item, in rising severity."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        return _SEVERITY[self]

    @staticmethod
    def severest(*actions: Action) -> Action:
        return max(actions, key=lambda action: action.severity)


_SEVERITY = {Action.ALLOW: 0, Action.REVIEW: 1, Action.BLOCK: 2}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of an item, as it was handed in, not yet opened.

    ``value``: text parts hold the ``str`` itself, ``bytes`` in UTF-8 or the ``Path`` of such a file;
    media parts hold encoded ``bytes``, a ``Path``, a ``PIL.Image.Image`` (images) or
    ``(samples, rate)`` (audio: float32 ``(samples,)`` or ``(samples, channels)`` in [-1, 1]; rate in Hz).
    """

    modality: Modality
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One post: any number of parts judged together, and the context policies may refer to."""

    id: str
    parts: tuple[Part, ...]
    context: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(
        cls,
        *,
        id: str = "",
        text: Any = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        context: Mapping[str, Any] | None = None,
    ) -> Item:
        """Build an item. Each modality takes one part or a list of parts; ``None`` means none.

        A ``str`` given for image, audio or video is a path. A tuple is one ``(samples, rate)`` part.
        """
        parts = [
            Part(modality, _as_path(modality, value))
            for modality, given in (
                (Modality.TEXT, text),
                (Modality.IMAGE, image),
                (Modality.AUDIO, audio),
                (Modality.VIDEO, video),
            )
            if given is not None
            for value in (given if isinstance(given, list) else [given])
        ]
        return cls(str(id), tuple(parts), MappingProxyType(dict(context or {})))


def _as_path(modality: Modality, value: Any) -> Any:
    return Path(value) if modality is not Modality.TEXT and isinstance(value, str) else value


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """One decoded, bounded piece of a part: what plugins receive.

    A long text is several contents (windows), an animation or a video one per sampled frame, a long clip
    one per window, so that no plugin ever sees unbounded input. A picture whose transparency hides something
    is several contents of one span.

    ``data``: text ``str`` (the original characters); image uint8 ``(H, W, 3)`` RGB; audio float32
    ``(samples,)`` mono at ``rate`` Hz.
    ``normalised``: text only, the form models read; ``offsets[i]`` is the index in ``data`` of the
    character that normalised character ``i`` came from (int32 ``(len(normalised),)``).
    ``part``: index into ``Item.parts``. ``span``: what it covers of that part: characters
    ``(start, end)`` for text, seconds for audio, animations and videos, ``(0, 0)`` for still images.
    """

    modality: Modality
    data: str | NDArray[np.uint8] | NDArray[np.float32]
    normalised: str = ""
    offsets: NDArray[np.int32] | None = None
    rate: int = 0
    source: Source = Source.NATIVE
    part: int = 0
    span: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The tokens one embedder made of one content.

    ``tokens``: float tensor ``(T, dim)``, T ≥ 1. ``spans``: float32 ``(T, 2)``, the characters of
    ``Content.data`` or the seconds of the content each token covers, or ``(T, 4)`` pixel boxes
    ``x0, y0, x1, y1``. ``truncated``: the embedder could not look at all of it (degrades the verdict).
    """

    tokens: torch.Tensor
    spans: NDArray[np.float32]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in an item something was found: ``span`` in characters, seconds or pixels of part ``part``.

    Detectors give pixels for any picture; for frames of animations and videos a verdict has the seconds
    instead, and the pixels in ``detail``.
    """

    source: str
    part: int
    span: tuple[float, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a detector says of one content: a named score and where it saw it."""

    name: str
    score: float
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """A signal a detector may emit, with its range (for checking thresholds in policies)."""

    name: str
    low: float = 0.0
    high: float = 1.0
    description: str = ""


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """A rule that held, the action it asks for and why, in the policy's words."""

    rule: str
    action: Action
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the machine says of one item, and everything needed to say it again.

    ``degraded``: why this verdict is less than a full judgement; never empty with ``allow``.
    ``coverage``: ``"part[index]"`` → share of that part that was looked at, where below 1.
    ``content_digests``: SHA-256 of each part's original bytes, in order of ``Item.parts``
    (``""`` where they could not be read).
    ``embedders``: name → fingerprint, of the embedders the checkpoint names and of the extractors that read
    the item's parts; with ``:bfloat16`` or the like where not computed in float32.
    """

    item_id: str
    action: Action
    scores: Scores
    signals: Mapping[str, float] = field(default_factory=dict)
    matches: tuple[RuleMatch, ...] = ()
    degraded: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    coverage: Mapping[str, float] = field(default_factory=dict)
    content_digests: tuple[str, ...] = ()
    policy_digest: str = ""
    model_digest: str = ""
    embedders: Mapping[str, str] = field(default_factory=dict)
    software: str = ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, for people: what matched, then what could not be judged."""
        said = [f"{match.rule}: {match.why}" if match.why else match.rule for match in self.matches]
        return (*said, *(f"not fully judged: {reason}" for reason in self.degraded))


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision on a verdict: a new record, the verdict is never edited."""

    task_id: int
    action: Action
    reviewer: str
    reason: str
    policy_rule: str = ""
    decided_at: datetime | None = None
    labels: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    """Label → whether it applies, for those the reviewer has said something about."""


class State(enum.StrEnum):
    """Where a review task is. ``open``: new; ``queued``: waiting again; the other names say it."""

    OPEN = "open"
    QUEUED = "queued"
    CLAIMED = "claimed"
    ESCALATED = "escalated"
    DECIDED = "decided"
    APPEALED = "appealed"
    CLOSED = "closed"


class Stage(enum.StrEnum):
    """What a review task asks of the reviewer who claims it."""

    REVIEW = "review"
    ESCALATION = "escalation"
    SECOND = "second"
    APPEAL = "appeal"


class Role(enum.StrEnum):
    """What a reviewer may do, each role also what those before it may."""

    REVIEWER = "reviewer"
    SENIOR = "senior"
    LEAD = "lead"

    def covers(self, needed: Role) -> bool:
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """A plugin that failed: where (``load``, ``register``, ``construct``, ``run``…) and why."""

    plugin: str
    stage: str
    error: str


def part_name(item_parts: Sequence[Part], index: int) -> str:
    """``text[0]``, ``image[2]``…: how a part is called in reasons, counted within its modality."""
    modality = item_parts[index].modality
    rank = sum(1 for part in item_parts[:index] if part.modality is modality)
    return f"{modality.value}[{rank}]"
