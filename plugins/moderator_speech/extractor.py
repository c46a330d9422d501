"""The extractor ``asr``: what is said in a sound, read by a model of ``transformers`` or by PocketSphinx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from moderator.errors import PluginError
from moderator.plugin import Extractor
from moderator.types import Content, Modality, Source
from moderator.weights import Weights
from moderator_speech import sphinx, transformer
from moderator_speech.sound import Samples, at_rate, levelled, windows

_VERSION: Final = 1
_KNOWN: Final = {"model": str, "revision": str, "language": str, "clears": bool}


class Recogniser(Protocol):
    """Reads windows of samples at ``rate`` Hz; ``digest`` says what with."""

    rate: int
    digest: str

    def read(self, windows: Sequence[Samples]) -> list[str]:
        """The words in each window, in order; each as if it were alone."""


class SpokenWords(Extractor):
    """Options: ``model`` (a local folder, or a hub repository, of Whisper or a model with a CTC head; without
    it PocketSphinx reads, which knows English only), ``revision`` (of the repository), ``language`` (of
    Whisper, ``en``; without it the model detects it), ``clears`` (whether a sound counts as judged once its
    words were read; on with a model, off with PocketSphinx, which misreads too much).

    One extract a sound.
    """

    name: ClassVar[str] = "asr"
    modality: ClassVar[Modality] = Modality.AUDIO

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        if unknown := set(self.options) - set(_KNOWN):
            raise PluginError(
                f"asr: unknown option {', '.join(sorted(unknown))}; known are {', '.join(_KNOWN)}"
            )
        for key, value in self.options.items():
            if not isinstance(value, _KNOWN[key]) or value == "":
                raise PluginError(f"asr: {key} must be a {_KNOWN[key].__name__}, got {value!r}")
        self._named = "model" in self.options
        if not self._named and (lost := {"revision", "language"} & set(self.options)):
            raise PluginError(f"asr: {' and '.join(sorted(lost))} needs a model: [plugins.asr] model = …")
        self.clears = bool(self.options.get("clears", self._named))
        self._recogniser: Recogniser | None = None

    @classmethod
    def usable(cls, options: Mapping[str, Any]) -> bool:
        """With a table of its own, or with PocketSphinx."""
        return bool(options) or sphinx.is_installed()

    @property
    def fingerprint(self) -> str:
        if self._recogniser is None:
            raise PluginError("asr: the fingerprint is known after load()")
        language = self.options.get("language", "")
        return f"{_VERSION}:{self._recogniser.digest[:16]}:{language}:{'clears' if self.clears else ''}"

    def weights(self) -> Sequence[Weights]:
        if self._named:
            return [transformer.model_weights(self.name, self.options)]
        return sphinx.sphinx_files(self.name)

    def load(self, device: str) -> None:
        """PocketSphinx always runs on the CPU."""
        if self._named:
            self._recogniser = transformer.Transformer(self.name, self.options, device)
        else:
            self._recogniser = sphinx.Sphinx(self.name)

    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        reader = self._recogniser
        if reader is None:
            raise PluginError("asr: load() comes before use")
        owners: list[int] = []
        heard: list[Samples] = []
        for number, content in enumerate(contents):
            for window in windows(at_rate(_samples(content), content.rate, reader.rate), reader.rate):
                even = levelled(window, reader.rate)
                if even is not None:
                    owners.append(number)
                    heard.append(even)
        said: list[list[str]] = [[] for _ in contents]
        for number, text in zip(owners, reader.read(heard), strict=True):
            said[number] += text.split()
        return [
            [Content(Modality.TEXT, " ".join(words), source=Source.TRANSCRIPT)] if words else []
            for words in said
        ]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        """A buzz with the rhythm of syllables, a tone, noise, and silence."""
        time = np.arange(32_000) / 16_000
        buzz = np.sign(np.sin(2 * np.pi * (120 + 20 * np.sin(3 * time)) * time)) * np.sin(9 * time) ** 2 * 0.3
        tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 44_100) * 0.3
        noise = np.random.default_rng(0).normal(0, 0.1, 8_000)
        made = ((buzz, 16_000), (tone, 44_100), (noise, 8_000), (np.zeros(8_000), 16_000))
        return [Content(Modality.AUDIO, each.astype(np.float32), rate=rate) for each, rate in made]


def _samples(content: Content) -> Samples:
    data = content.data
    if isinstance(data, str) or data.ndim != 1 or data.dtype != np.float32 or content.rate <= 0:
        shape = "text" if isinstance(data, str) else f"{data.dtype} {data.shape} at {content.rate} Hz"
        raise PluginError(f"asr: takes float32 audio (samples,) with its rate, got {shape}")
    return np.asarray(data, dtype=np.float32)
