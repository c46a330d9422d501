"""The state of an unfinished training run, in one safetensors file: written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from moderator.errors import TrainingError

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Saved:
    """``identity`` says which run it is; ``progress`` is JSON; ``tensors`` all that was learnt."""

    identity: str
    progress: Mapping[str, Any]
    tensors: Tensors


def write_state(path: Path, saved: Saved) -> None:
    """Replace the state file, atomically."""
    metadata = {"identity": saved.identity, "progress": json.dumps(dict(saved.progress))}
    unfinished = path.with_name(path.name + ".new")
    save_file({name: copied(tensor) for name, tensor in saved.tensors.items()}, unfinished, metadata)
    unfinished.replace(path)


def read_state(path: Path, identity: str) -> Saved | None:
    """The saved state, or None if there is none. ``TrainingError`` if it is of another run or damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        progress = json.loads(metadata["progress"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); delete it to start afresh") from error
    if metadata.get("identity") != identity:
        raise TrainingError(
            f"{path} belongs to a run with another configuration or other data; delete it to start afresh, "
            "or give another output folder"
        )
    return Saved(identity, progress, tensors)


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A detached copy on the CPU, in the plain memory order that safetensors asks for."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{prefix}.{name}": copied(tensor) for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
