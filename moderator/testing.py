"""For plugin authors and tests: contents as the pipeline would hand them over, fakes, contract checks.

from moderator.testing import check_plugin
assert all(result.ok for result in check_plugin(MyDetector()))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moderator.conformance import TOLERANCE, CheckResult, check_plugin
from moderator.errors import PluginError
from moderator.media.text import normalise
from moderator.plugin import Detector, Embedder
from moderator.types import Content, Embedding, Evidence, Item, Modality, Signal, SignalSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "TOLERANCE",
    "CheckResult",
    "FakeDetector",
    "check_plugin",
    "fake_embedder",
    "make_audio",
    "make_image",
    "make_item",
    "make_text",
]


def make_item(id: str = "item", text: Any = "a harmless sentence", **parts: Any) -> Item:
    """An item; the same parts and ``context`` as ``Item.of``, with a text unless ``text=None``."""
    return Item.of(id=id, text=text, **parts)


def make_text(text: str = "a harmless sentence") -> Content:
    """A text, with the normalised form and offsets the pipeline would give it."""
    normalised = normalise(text)
    return Content(Modality.TEXT, text, normalised.text, normalised.offsets, span=(0.0, float(len(text))))


def make_image(width: int = 48, height: int = 32, seed: int = 0) -> Content:
    """An image ``(height, width, 3)`` with a gradient and seeded noise."""
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 3))
    gradient = np.linspace(0, 191, width).astype(np.int64)[None, :, None]
    return Content(Modality.IMAGE, (noise + gradient).astype(np.uint8))


def make_audio(seconds: float = 1.0, frequency: float = 440.0, rate: int = 16_000) -> Content:
    """A pure tone of half amplitude."""
    time = np.arange(int(seconds * rate)) / rate
    samples = (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
    return Content(Modality.AUDIO, samples, rate=rate, span=(0.0, len(samples) / rate))


class FakeDetector(Detector):
    """Finds the options' ``words`` (default: ``badword``) in a text; the score is their share of it."""

    name: ClassVar[str] = "fake-detector"
    modality: ClassVar[Modality] = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        words = self.options.get("words", ("badword",))
        if not all(isinstance(word, str) and word for word in words):
            raise PluginError(f"{self.name}: words must be non-empty strings, got {words!r}")
        self._words = tuple(words)

    @property
    def fingerprint(self) -> str:
        return "1:" + hashlib.sha256(" ".join(self._words).encode()).hexdigest()[:12]

    @property
    def signals(self) -> Sequence[SignalSpec]:
        return (SignalSpec("fake_signal", description="share of the characters in listed words"),)

    def load(self, device: str) -> None:
        pass  # nothing to fetch: the words are in the options

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        return [self._detect(str(content.data)) for content in contents]

    def _detect(self, text: str) -> list[Signal]:
        starts = [(text.find(word), word) for word in self._words]
        found = [(start, start + len(word)) for start, word in starts if start >= 0]
        if not found:
            return []
        score = min(1.0, sum(end - start for start, end in found) / len(text))
        evidence = tuple(Evidence(self.name, 0, (float(start), float(end))) for start, end in found)
        return [Signal("fake_signal", score, evidence)]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return (make_text("a badword here"), make_text("nothing here"))


def fake_embedder(
    tensor: Callable[[NDArray[np.float32]], torch.Tensor],
    *,
    name: str = "fake-embedder",
    modality: Modality = Modality.TEXT,
    dim: int = 8,
) -> type[Embedder]:
    """A deterministic embedder class without weights, for any modality.

    ``tensor`` makes a tensor of an array: ``torch.from_numpy``, passed in because this module does
    not import torch. Each of up to four tokens is a histogram of a quarter of the content.
    """

    class FakeEmbedder(Embedder):
        @property
        def fingerprint(self) -> str:
            return f"1:fake-{dim}"

        @property
        def dim(self) -> int:
            return dim

        def load(self, device: str) -> None:
            pass  # no weights

        def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
            return [_histograms(content, dim, tensor) for content in contents]

        @classmethod
        def examples(cls) -> Sequence[Content]:
            return _EXAMPLES[modality]()

    FakeEmbedder.name = name
    FakeEmbedder.modality = modality
    return FakeEmbedder


_EXAMPLES: dict[Modality, Callable[[], tuple[Content, ...]]] = {
    Modality.TEXT: lambda: (make_text("one"), make_text("a longer text than the first")),
    Modality.IMAGE: lambda: (make_image(), make_image(16, 64, seed=1)),
    Modality.AUDIO: lambda: (make_audio(0.2), make_audio(0.5, frequency=880.0)),
}


def _histograms(
    content: Content, dim: int, tensor: Callable[[NDArray[np.float32]], torch.Tensor]
) -> Embedding:
    values = _values(content)  # (N,) in [0, 1)
    count = min(4, max(1, len(values)))
    edges = np.linspace(0.0, 1.0, count + 1)
    rows = [np.histogram(part, bins=dim, range=(0.0, 1.0))[0] for part in np.array_split(values, count)]
    tokens = np.array(rows, dtype=np.float32) * (count / max(1, len(values)))  # (T, dim)
    return Embedding(tensor(tokens), _spans(content, edges))


def _values(content: Content) -> NDArray[np.float64]:
    if isinstance(content.data, str):
        return np.array([ord(character) % 97 for character in content.data]) / 97
    if content.modality is Modality.AUDIO:
        return (np.asarray(content.data, np.float64) + 1) / 2
    # columns, so that a quarter of the values is a quarter of the width
    columns: NDArray[np.float64] = np.asarray(content.data, np.float64).mean(axis=2).T.ravel()
    return columns / 256


def _spans(content: Content, edges: NDArray[np.float64]) -> NDArray[np.float32]:
    if content.modality is Modality.IMAGE:
        height, width = np.shape(content.data)[:2]
        boxes = [(start * width, 0, end * width, height) for start, end in pairwise(edges)]
        return np.array(boxes, dtype=np.float32)
    length = len(content.data) / (content.rate or 1)
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32) * np.float32(length)
