"""Encoders of transformers, from a folder or from one file; code that comes with a model is never run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moderator.errors import WeightsError
from moderator.hushed import hushed
from moderator_text.int8 import Stored, read_stored

_OFFSET = ("roberta", "xlm-roberta", "camembert")
_POOLED = ("bert", "roberta", "xlm-roberta")
"""Architectures with a pooler, which is of no use here."""


def from_folder(name: str, weights: Path) -> Any:
    """The encoder of the folder that holds ``weights``, in float32. ``WeightsError`` if it lacks some."""
    import torch
    from transformers import AutoConfig, AutoModel

    folder = weights.parent
    _without_code(name, folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with hushed():
        model, loaded = AutoModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **_unpooled(config),
        )
    if missing := sorted(key for key in loaded["missing_keys"] if "pooler" not in key):
        raise WeightsError(f"{name}: {weights} lacks {len(missing)} weights, {missing[0]!r} first")
    return model


def from_file(name: str, weights: Path, about: Stored) -> Any:
    """The encoder stored in ``weights``, in float32 again. ``WeightsError`` if they are not all there."""
    from transformers import AutoConfig, AutoModel

    _without_code(name, weights, about.config)
    values = read_stored(weights)
    try:
        config = AutoConfig.for_model(**about.config)
        with hushed():
            model = AutoModel.from_config(config, trust_remote_code=False, **_unpooled(config))
        model.load_state_dict(values)
    except (RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise WeightsError(f"{name}: {weights} does not hold the encoder it describes: {said}") from error
    return model


def positions(config: Any) -> int:
    """How many word pieces an encoder takes beside [CLS] and [SEP]."""
    limit = int(getattr(config, "max_position_embeddings", 514)) - 2
    if config.model_type in _OFFSET:  # positions start after the padding's
        limit -= int(config.pad_token_id or 0) + 1
    return limit


def _without_code(name: str, place: Path, config: Mapping[str, Any]) -> None:
    if config.get("auto_map"):
        raise WeightsError(f"{name}: {place} asks to run its own code; such models are not loaded")


def _unpooled(config: Any) -> dict[str, Any]:
    return {"add_pooling_layer": False} if config.model_type in _POOLED else {}
