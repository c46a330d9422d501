"""A speech encoder of ``transformers`` (wav2vec 2.0, HuBERT, WavLM and their kin) read as tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from moderator.errors import PluginError, WeightsError
from moderator.hushed import hushed
from moderator.weights import Weights
from moderator_audio.features import RATE
from moderator_audio.loading import companion
from moderator_audio.network import TOKEN_SECONDS

_FAMILIES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio", "sew")
_UNUSED = {"masked_spec_embed"}
"""Only for training them; some published files lack it."""


class SpeechEncoder:
    """Samples to tokens: the mean of all states, then the mean of each 0.32 s.

    One clip at a time: the first norm of these models spans the whole clip, padding included.
    """

    def __init__(self, name: str, options: Mapping[str, Any], found: Weights, device: str) -> None:
        from transformers import AutoConfig, AutoModel

        settings = companion(name, options, found, "config.json")
        if settings.get("model_type") not in _FAMILIES:
            raise PluginError(
                f"{name}: {found.path.parent} is a {settings.get('model_type')!r} model; speech encoders "
                f"of the families {', '.join(_FAMILIES)} can be used"
            )
        if settings.get("auto_map"):
            raise WeightsError(
                f"{name}: {found.path.parent} asks to run its own code; such models are not loaded"
            )
        try:
            preparation = companion(name, options, found, "preprocessor_config.json")
        except WeightsError:
            preparation = {}
        if preparation.get("sampling_rate", RATE) != RATE:
            raise PluginError(
                f"{name}: {found.path.parent} takes {preparation['sampling_rate']} Hz, not {RATE}"
            )
        self._normalise = bool(preparation.get("do_normalize", True))
        folder = found.path.parent
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        try:
            with hushed():
                model, loaded = AutoModel.from_pretrained(
                    folder,
                    config=config,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=torch.float32,
                    output_loading_info=True,
                )
        except OSError as error:
            raise WeightsError(f"{name}: {found.path} cannot be loaded ({error})") from error
        missing = sorted(set(loaded["missing_keys"]) - _UNUSED)
        if missing:
            raise WeightsError(f"{name}: {found.path} lacks {len(missing)} weights, {missing[0]!r} first")
        self._model = model.eval().to(device)
        self._device = device
        self.dim = int(config.hidden_size)
        stride, reach = 1, 1
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            reach += (kernel - 1) * stride
            stride *= step
        self._shortest = reach
        self._frames = max(1, round(TOKEN_SECONDS * RATE / stride))
        self.token_seconds = self._frames * stride / RATE
        described = json.dumps([settings, self._normalise], sort_keys=True)
        self.digest = hashlib.sha256(f"{found.sha256} {described}".encode()).hexdigest()

    def tokens(self, samples: torch.Tensor) -> torch.Tensor:
        """16 kHz ``(S,)`` to ``(T, dim)``, T ≥ 2."""
        if self._normalise:
            deviation = samples.var(unbiased=False).add(1e-7).sqrt()
            samples = (samples - samples.mean()) / deviation
        samples = torch.nn.functional.pad(samples, (0, max(0, self._shortest - len(samples))))
        states = self._model(samples[None].to(self._device)).last_hidden_state[0]  # (F, D)
        pieces = states.split(self._frames)
        return torch.stack([states.mean(dim=0), *(piece.mean(dim=0) for piece in pieces)])  # (T, D)
