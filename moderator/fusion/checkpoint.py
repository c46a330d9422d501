"""One safetensors file holds a fusion model: weights, configuration, taxonomy, calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moderator.errors import CheckpointError
from moderator.fusion.calibration import Calibration
from moderator.fusion.config import FusionConfig
from moderator.fusion.metadata import FORMAT, METADATA, read_metadata
from moderator.fusion.model import FusionModel, build
from moderator.taxonomy import Taxonomy
from moderator.weights import sha256_of


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A fusion model ready for use. ``digest`` is the SHA-256 of the file it was read from."""

    model: FusionModel
    calibration: Calibration
    digest: str

    @property
    def config(self) -> FusionConfig:
        return self.model.config


def save_checkpoint(path: Path, model: FusionModel, calibration: Calibration) -> None:
    """Write ``path``. Weights are stored in half precision: they are read back to fp32 the same way
    everywhere, and what is measured after reading is what is shipped."""
    described = {
        "format": FORMAT,
        "config": json.loads(model.config.to_json()),
        "taxonomy": model.config.taxonomy,
        "calibration": json.loads(calibration.to_json()),
        "embedders": {spec.name: spec.fingerprint for spec in model.config.embedders},
    }
    state = {name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # one key only: the order of several is not fixed, and the same model must give the same digest
    save_file(state, path, metadata={METADATA: json.dumps(described, sort_keys=True)})


def load_checkpoint(path: Path, taxonomy: Taxonomy, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint, which may know labels beyond those of the taxonomy. Raises ``CheckpointError`` if
    it is missing, damaged, of another format, or trained for another taxonomy."""
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    config = FusionConfig.from_json(json.dumps(metadata.get("config")))
    if config.taxonomy != taxonomy.version or config.labels[: len(taxonomy)] != taxonomy.names:
        raise CheckpointError(
            f"{path}: trained for taxonomy {config.taxonomy} {list(config.labels)}, "
            f"this software uses {taxonomy.version} {list(taxonomy.names)}"
        )
    model = build(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights do not fit the configuration: {error}") from error
    calibration = Calibration.from_json(json.dumps(metadata.get("calibration")), config.labels)
    return Checkpoint(model.to(device).eval(), calibration, sha256_of(path))
