"""``audio-logmel``: a clip as one summary token and one token per 0.32 s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError
from moderator.plugin import TrainableEmbedder
from moderator.types import Content, Embedding, Modality
from moderator.weights import Weights
from moderator_audio import loading

if TYPE_CHECKING:
    import torch

    from moderator_audio.network import AudioNetwork
    from moderator_audio.speech_encoder import SpeechEncoder

_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class MelBatch:
    """``mel`` float32 ``(B, F, 64)``, padded with zeros; ``lengths`` int64 ``(B,)`` in frames."""

    mel: torch.Tensor
    lengths: torch.Tensor


class LogMelAudio(TrainableEmbedder):
    """Options: ``weights`` (file or folder of its own network), or ``model`` (folder or hub repository of a
    ``transformers`` speech encoder). Takes any rate."""

    name: ClassVar[str] = "audio-logmel"
    modality: ClassVar[Modality] = Modality.AUDIO

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        loading.check_options(self.name, self.options)
        self._own: AudioNetwork | None = None
        self._encoder: SpeechEncoder | None = None
        self._device = "cpu"
        self._digest = ""

    @property
    def dim(self) -> int:
        return self._encoder.dim if self._encoder is not None else self._network.recipe.dim

    @property
    def fingerprint(self) -> str:
        return f"1:{self._digest[:16]}"

    def weights(self) -> Sequence[Weights]:
        return [loading.locate(self.name, self.options)]

    def load(self, device: str) -> None:
        found = loading.locate(self.name, self.options)
        self._device = device
        if loading.is_own(self.options):
            self._own = loading.load_own(self.name, found).to(device).eval()
            self._digest = found.sha256
            return
        from moderator_audio.speech_encoder import SpeechEncoder

        self._encoder = SpeechEncoder(self.name, self.options, found, device)
        self._digest = self._encoder.digest

    def initialise(self, device: str, seed: int) -> torch.nn.Module:
        import torch

        from moderator_audio.network import AudioNetwork, Recipe

        if not loading.is_own(self.options):
            raise PluginError(f"{self.name}: only its own network is trained; remove model and weights")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._own = AudioNetwork(Recipe()).to(device)
        self._device = device
        return self._own

    def inputs(self, contents: Sequence[Content], rng: np.random.Generator | None = None) -> MelBatch:
        import torch

        from moderator_audio.features import augmented, log_mel

        mels = [log_mel(_samples(content)) for content in contents]  # each (F, 64)
        if rng is not None:
            mels = [augmented(mel, rng) for mel in mels]
        lengths = torch.tensor([len(mel) for mel in mels])
        return MelBatch(torch.nn.utils.rnn.pad_sequence(mels, batch_first=True), lengths)

    def forward(self, inputs: MelBatch) -> tuple[torch.Tensor, torch.Tensor]:
        made: tuple[torch.Tensor, torch.Tensor] = self._network(
            inputs.mel.to(self._device), inputs.lengths.to(self._device)
        )
        return made

    def save(self, path: Path) -> None:
        from moderator_audio.network import save_network

        save_network(self._network, path, self.name)

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        import torch

        with torch.inference_mode():
            if self._encoder is None:
                return self._by_own(contents)
            seconds, result = self._encoder.token_seconds, []
            for content in contents:
                tokens = self._encoder.tokens(_samples(content))  # (T, D)
                result.append(Embedding(tokens, _spans(len(tokens), seconds, content)))
        return result

    def _by_own(self, contents: Sequence[Content]) -> list[Embedding]:
        from moderator_audio.network import TOKEN_SECONDS

        self._network.eval()
        result: dict[int, Embedding] = {}
        # Clips of similar length together: little padding.
        order = sorted(range(len(contents)), key=lambda index: _seconds(contents[index]))
        for start in range(0, len(order), _BATCH):
            indices = order[start : start + _BATCH]
            tokens, mask = self.forward(self.inputs([contents[i] for i in indices]))  # (B, T, D)
            for index, row, count in zip(indices, tokens, mask.sum(dim=1).tolist(), strict=True):
                result[index] = Embedding(row[:count], _spans(count, TOKEN_SECONDS, contents[index]))
        return [result[index] for index in range(len(contents))]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        rng = np.random.default_rng(0)
        time = np.arange(24_000) / 16_000
        sweep = np.sin(2 * np.pi * (200 + 400 * time) * time) * (0.3 + 0.3 * np.sin(9 * time))
        return [
            Content(Modality.AUDIO, sweep.astype(np.float32), rate=16_000),
            Content(Modality.AUDIO, rng.normal(0, 0.1, 44_100).astype(np.float32), rate=44_100),
            Content(Modality.AUDIO, np.zeros(8_000, dtype=np.float32), rate=8_000),
            Content(Modality.AUDIO, sweep[:100].astype(np.float32), rate=16_000),
        ]

    @property
    def _network(self) -> AudioNetwork:
        if self._own is None:
            raise PluginError(f"{self.name}: load() or initialise() comes before use")
        return self._own


def _samples(content: Content) -> torch.Tensor:
    """Checked, and at 16 kHz: ``(S,)``, S ≥ 1."""
    import torch

    from moderator_audio.features import resampled

    data = content.data
    if isinstance(data, str) or data.ndim != 1 or data.dtype != np.float32 or content.rate <= 0:
        shape = "text" if isinstance(data, str) else f"{data.dtype} {data.shape} at {content.rate} Hz"
        raise PluginError(f"audio-logmel: takes float32 audio (samples,) with its rate, got {shape}")
    return resampled(torch.from_numpy(np.ascontiguousarray(data)), content.rate)


def _seconds(content: Content) -> float:
    return len(content.data) / max(1, content.rate)


def _spans(count: int, seconds: float, content: Content) -> NDArray[np.float32]:
    """Seconds that the summary (everything) and each stretch cover: ``(count, 2)``."""
    duration = _seconds(content)
    edges = np.minimum(np.arange(count) * seconds, duration)  # the last frame is centred on the very end
    whole = np.array([[0.0, duration]])
    return np.concatenate([whole, np.stack([edges[:-1], edges[1:]], axis=1)]).astype(np.float32)
