"""Base classes of plugins: an Embedder turns content into tokens, a Detector into named signals, an
Extractor into other content (the text in a picture).

A plugin is a class. It is constructed with its table of ``moderator.toml`` (``[plugins.<name>]``),
which must be cheap; ``load`` fetches weights and is the first place that may import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from moderator.types import Content, Embedding, Modality, Signal, SignalSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from moderator.weights import Weights


class Plugin(ABC):
    """What all kinds of plugins have in common."""

    name: ClassVar[str]
    """Unique among installed plugins, in lower case with dashes: ``text-minilm``."""

    modality: ClassVar[Modality]
    """The only modality this plugin is ever handed."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """``options`` is the plugin's table of ``moderator.toml``; raise ``PluginError`` on a bad one."""
        self.options: Mapping[str, Any] = dict(options or {})

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Declared code version plus weights digest, e.g. ``1:ab12…``; same fingerprint, same output.

        Available after ``load``. Never a hash of source files: reformatting must not change it.
        """

    @abstractmethod
    def load(self, device: str) -> None:
        """Fetch weights and get ready on ``device`` (``"cpu"``, ``"cuda"``…). Called once, before use."""

    def weights(self) -> Sequence[Weights]:
        """The weights files ``load`` would read, found but not opened; empty if there are none.

        For ``moderator models list``. Raises ``WeightsError`` where they are missing.
        """
        return ()

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence[Content]:
        """A few contents the contract checks run on (``moderator plugins check``)."""


class Embedder(Plugin):
    """Turns each content into a sequence of tokens that the fusion classifier reads."""

    @property
    def precision(self) -> str:
        """What its numbers are computed in, as torch calls it; ``int8+float32`` for weights stored in one and
        computed with in the other. Available after ``load``. Verdicts name it where it is not ``float32``;
        the fingerprint does not, since the embedder is the same."""
        return "float32"

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the tokens. Available after ``load``."""

    @abstractmethod
    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        """One embedding per content, in order. The result for a content must not depend on its batch."""


class TrainableEmbedder(Embedder):
    """An embedder whose own weights ``moderator train`` can fit before the fusion model.

    Its first token (``tokens[0]``) is a summary of the whole content: training puts a linear head per
    label on it, then throws the head away. Use order: ``initialise`` instead of ``load``, then
    ``inputs``/``forward`` per batch, then ``save``.
    """

    @abstractmethod
    def initialise(self, device: str, seed: int) -> torch.nn.Module:
        """Fresh weights from ``seed``; returns the module whose parameters are to be trained."""

    @abstractmethod
    def inputs(self, contents: Sequence[Content], rng: np.random.Generator | None = None) -> Any:
        """Features of a batch, made on the CPU. With ``rng``, augmented at random (training)."""

    @abstractmethod
    def forward(self, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens ``(B, T, dim)`` and mask ``(B, T)``, True where a token is real. Differentiable."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the weights as one safetensors file that ``load`` reads (option ``weights``)."""


class Int8Embedder(Embedder):
    """An embedder whose weights can be stored in 8 bits: smaller and faster, at a loss that
    ``moderator models export --int8`` measures."""

    @abstractmethod
    def save_int8(self, path: Path) -> None:
        """Write one safetensors file that ``load`` reads (option ``weights``) and that needs no other, tuned
        weights and all. With it the fingerprint is another: it is another embedder. Needs no ``load`` before.
        Raises ``WeightsError`` where the weights are in 8 bits already."""


class FittedEmbedder(Embedder):
    """An embedder that fits its own weights to labelled contents in one call.

    ``moderator train`` also fits it to parts of the data, so that the tokens the fusion model learns from
    were never made by weights that had seen the example. What a token's dimensions mean must therefore
    not depend on the run: one dimension per label, say.
    """

    @abstractmethod
    def fit(
        self,
        contents: Sequence[Content],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        progress: Callable[[str], None],
    ) -> None:
        """Fit to ``targets`` ``(N, labels)``, NaN where unknown, with example ``weights`` ``(N,)``.

        Deterministic. Afterwards the embedder is ready to ``save`` and to ``embed_batch``.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the weights as one safetensors file that ``load`` reads (option ``weights``)."""


class Detector(Plugin):
    """Finds named things in content: listed words, nudity, personal data, known images."""

    clears: ClassVar[bool] = False
    """Whether content counts as judged once this detector has looked at it, even where all embedders that
    could look at it were trained on too little to clear it alone. For detectors that know what is commonly
    wrong with content of their modality (nudity in pictures), not for those that look for one thing."""

    @property
    @abstractmethod
    def signals(self) -> Sequence[SignalSpec]:
        """Every signal this detector may emit. Available after construction, before ``load``."""

    @abstractmethod
    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        """The signals found in each content, in order; an empty list where nothing was found.

        Evidence spans are relative to the content; the pipeline moves them to the part.
        """


class Extractor(Plugin):
    """Makes content of another modality that is judged with the rest: the text in a picture, the words in
    a clip. What an extractor that is installed could not read is not judged in full."""

    clears: bool = False
    """Whether content counts as judged once this extractor has read it, as with detectors. For extractors
    that read what makes content of their modality harmful (the words in a clip), not for those that read a
    part of it (the writing in a picture)."""

    @classmethod
    def usable(cls, options: Mapping[str, Any]) -> bool:
        """Whether there is anything to read with, given its table of ``moderator.toml``. Where not, the
        extractor is left out as if it were not installed: for one whose models come from elsewhere."""
        return True

    @abstractmethod
    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        """What each content holds, in order; an empty list where there is nothing.

        A ``Content`` of text needs ``data`` and ``source`` alone: the pipeline normalises it, cuts it to
        size and says which part it came from. The result must not depend on the batch.
        """
