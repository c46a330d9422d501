"""PocketSphinx (Huggins-Daines et al. 2006) with the US English model of its wheel: small, a poor reader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moderator.errors import WeightsError
from moderator.weights import Weights, sha256_of
from moderator_speech.sound import Samples

RATE: Final = 16_000
_FILES: Final = (
    *(f"en-us/{name}" for name in ("feat.params", "mdef", "means", "noisedict", "sendump")),
    *(f"en-us/{name}" for name in ("transition_matrices", "variances")),
    "cmudict-en-us.dict",
    "en-us.lm.bin",
)
_NOISE: Final = 0.003
"""Deviation of the noise laid under a window: digital silence between the words of a synthesiser, which no
microphone gives, doubles the word errors."""
_VOICED: Final = 0.1
"""Share of a window that must sound like a voice: words are found in anything, a whistle too."""


def is_installed() -> bool:
    return find_spec("pocketsphinx") is not None


def sphinx_files(name: str) -> list[Weights]:
    """The model's files; raises ``WeightsError``."""
    spec = find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"{name}: there is nothing to recognise speech with; pip install pocketsphinx, or name a "
            f"model of transformers: [plugins.{name}] model = …"
        )
    folder = Path(spec.origin).parent / "model" / "en-us"
    paths = [folder / name for name in _FILES]
    if lacking := [path for path in paths if not path.is_file()]:
        raise WeightsError(
            f"{name}: {lacking[0]} is missing; install pocketsphinx anew: "
            "pip install --force-reinstall pocketsphinx"
        )
    return [Weights(path, sha256_of(path), "package") for path in paths]


class Sphinx:
    """Reads one window at a time."""

    rate = RATE

    def __init__(self, name: str) -> None:
        files = sphinx_files(name)
        from pocketsphinx import Decoder, Vad

        model, dictionary, language = (files[index].path for index in (0, -2, -1))
        # normalised over the whole window, else it would depend on the one before
        self._decoder: Any = Decoder(
            hmm=str(model.parent), dict=str(dictionary), lm=str(language), cmn="batch", loglevel="FATAL"
        )
        self._vad: Any = Vad
        made_of = ":".join([version("pocketsphinx"), *(each.sha256 for each in files)])
        self.digest = hashlib.sha256(made_of.encode()).hexdigest()

    def read(self, windows: Sequence[Samples]) -> list[str]:
        return [self._read(window) for window in windows]

    def _read(self, window: Samples) -> str:
        if self._voiced(_pcm(window)) < _VOICED:
            return ""
        noise = np.random.default_rng(0).normal(0, _NOISE, len(window))
        self._decoder.reinit_feat()  # the estimate of the noise outlives a window otherwise
        self._decoder.start_utt()
        self._decoder.process_raw(_pcm(window + noise), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return str(found.hypstr) if found else ""

    def _voiced(self, pcm: bytes) -> float:
        """The share of frames that sound like a voice."""
        vad = self._vad(2)
        size = int(vad.frame_bytes)
        frames = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
        return sum(bool(vad.is_speech(frame)) for frame in frames) / max(1, len(frames))


def _pcm(samples: NDArray[Any]) -> bytes:
    """16 bits a sample, as the decoder wants them."""
    pcm: NDArray[np.int16] = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    return pcm.tobytes()
