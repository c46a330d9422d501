"""A speech recogniser of ``transformers``: Whisper (Radford et al. 2022), or a model with a CTC head (Graves
et al. 2006) such as wav2vec 2.0 and HuBERT."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from moderator.errors import PluginError, WeightsError
from moderator.hushed import hushed
from moderator.weights import Weights, find_weights, read_json, sha256_of
from moderator_speech.sound import WINDOW, Samples

_WEIGHTS: Final = "model.safetensors"
_BESIDE: Final = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
)
"""What else a model is made of. None has all of them."""
_UNUSED: Final = {"masked_spec_embed"}
"""Only for training them; some published files lack it."""
_ROWS: Final = 4
"""Windows Whisper reads at once on a GPU. Always as many, filled up with silence: with another number the
sums are taken in another order, and a word may change."""


def model_weights(name: str, options: Mapping[str, Any]) -> Weights:
    """The weights the options name; raises ``WeightsError``."""
    return _found(name, str(options["model"]), _WEIGHTS, str(options.get("revision", "main")))


def _found(name: str, model: str, filename: str, revision: str) -> Weights:
    if Path(model).is_dir():
        return find_weights(name, filename, explicit=Path(model))
    if Path(model).is_absolute() or model.startswith((".", "~")):
        raise WeightsError(f"{name}: there is no folder {model} ([plugins.{name}] model)")
    try:
        return find_weights(name, filename, repo=model, revision=revision)
    except WeightsError as error:  # its advice names the option most plugins have
        table = f"[plugins.{name}]"
        raise WeightsError(str(error).replace(f"{table} weights", f"{table} model")) from error


class Transformer:
    """Reads windows of at most 30 s: Whisper one by one on a CPU and in batches of one size elsewhere, other
    models one by one, since the padding of a batch changes what they read."""

    def __init__(self, name: str, options: Mapping[str, Any], device: str) -> None:
        found = model_weights(name, options)
        folder = found.path.parent
        beside = _beside(name, options, found)
        config = read_json(name, folder / "config.json")
        if config.get("auto_map"):
            raise WeightsError(f"{name}: {folder} asks to run its own code; such models are not loaded")
        kind = str(config.get("model_type"))
        self._whisper = kind == "whisper"
        with hushed():
            self._model = self._loaded(name, kind, found).to(device)
            self._prepare, self._tokenizer = _readers(name, folder)
        self._device = device
        self._rows = _ROWS if self._whisper and device != "cpu" else 1
        self._how = _whisper_options(name, self._model, folder, options) if self._whisper else {}
        if not self._whisper and "language" in options:
            raise PluginError(f"{name}: language is for Whisper; {folder.name} is a {kind} model")
        self.rate = int(self._prepare.sampling_rate)
        length = getattr(self._prepare, "chunk_length", WINDOW)
        if self._whisper and length != WINDOW:
            raise PluginError(f"{name}: {folder.name} reads {length} s at once, not {WINDOW:g} s")
        described = [found.sha256, *(f"{path.name}={sha256_of(path)}" for path in beside)]
        self.digest = hashlib.sha256(":".join(described).encode()).hexdigest()

    def _loaded(self, name: str, kind: str, found: Weights) -> Any:
        import torch
        from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq
        from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

        if not self._whisper and kind not in MODEL_FOR_CTC_MAPPING_NAMES:
            raise PluginError(
                f"{name}: {found.path.parent} is a {kind!r} model; whisper and models with a CTC head "
                f"({', '.join(sorted(MODEL_FOR_CTC_MAPPING_NAMES))}) can be used"
            )
        auto: Any = AutoModelForSpeechSeq2Seq if self._whisper else AutoModelForCTC
        try:
            model, loaded = auto.from_pretrained(
                found.path.parent,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{name}: {found.path} cannot be loaded ({error})") from error
        missing = sorted(key for key in loaded["missing_keys"] if key.rpartition(".")[2] not in _UNUSED)
        if missing:
            raise WeightsError(
                f"{name}: {found.path} lacks {len(missing)} weights, {missing[0]!r} first; was it trained to "
                "recognise speech?"
            )
        return model.eval()

    def read(self, windows: Sequence[Samples]) -> list[str]:
        """What is said in each window."""
        import torch

        with torch.inference_mode(), hushed():
            if not self._whisper:
                return [self._by_ctc(window) for window in windows]
            batches = [windows[at : at + self._rows] for at in range(0, len(windows), self._rows)]
            return [text for batch in batches for text in self._by_whisper(batch)]

    def _by_whisper(self, windows: Sequence[Samples]) -> list[str]:
        silence = windows[0][:1] * 0
        rows = [*windows, *[silence] * (self._rows - len(windows))]
        inputs = self._prepare(
            rows, sampling_rate=self.rate, return_tensors="pt", return_attention_mask=True
        ).to(self._device)  # features (R, bins, 3000)
        ids = self._model.generate(**inputs, **self._how)  # (R, pieces)
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [str(text) for text in texts[: len(windows)]]

    def _by_ctc(self, window: Samples) -> str:
        inputs = self._prepare(window, sampling_rate=self.rate, return_tensors="pt").to(self._device)
        best = self._model(**inputs).logits.argmax(dim=-1)  # (1, frames)
        text = str(self._tokenizer.batch_decode(best, skip_special_tokens=True)[0])
        # many of these know capitals only, which are no shouting
        return text.lower() if text.isupper() else text


def _beside(name: str, options: Mapping[str, Any], found: Weights) -> list[Path]:
    """The other files of the model, fetched where they must be: from the very revision of the weights."""
    folder = found.path.parent
    if found.origin in ("cache", "hub"):
        for filename in _BESIDE:
            if not (folder / filename).is_file():
                with suppress(WeightsError):  # what is needed is asked for below, by name
                    _found(name, str(options["model"]), filename, folder.name)
    return [folder / filename for filename in _BESIDE if (folder / filename).is_file()]


def _readers(name: str, folder: Path) -> tuple[Any, Any]:
    """What makes features of samples, and what makes text of the model's answer."""
    from transformers import AutoFeatureExtractor, AutoTokenizer

    try:
        return (
            AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        )
    except Exception as error:
        raise WeightsError(
            f"{name}: {folder} lacks what the model needs beside its weights (preprocessor_config.json and "
            f"the files of its tokenizer), or it cannot be read: {type(error).__name__}: {error}"
        ) from error


def _whisper_options(name: str, model: Any, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Always the likeliest word, in the language asked for, else in the one the model detects."""
    from transformers import GenerationConfig

    path = folder / "generation_config.json"
    if not path.is_file():
        raise WeightsError(
            f"{name}: {folder} lacks {path.name}, which names the languages; copy it from the Whisper model "
            "it was made of"
        )
    # files that say they were made from the model's own would be read without the languages
    settings = GenerationConfig.from_dict({**read_json(name, path), "_from_model_config": False})
    model.generation_config = settings
    how: dict[str, Any] = {"do_sample": False, "num_beams": 1}
    known = getattr(settings, "lang_to_id", None)
    if not getattr(settings, "is_multilingual", known is not None):
        if options.get("language", "en") != "en":
            raise PluginError(f"{name}: the model reads English only, not language {options['language']!r}")
        return how
    language = options.get("language")
    if language is not None and f"<|{language}|>" not in (known or ()):
        codes = ", ".join(sorted(code.strip("<|>") for code in known or ()))
        raise PluginError(
            f"{name}: the model does not know language {language!r}; it knows {codes or 'none'}"
        )
    return {**how, "task": "transcribe", "language": language}
