"""Which image network is meant and where its weights are, from the options alone (no torch here)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moderator.errors import PluginError, WeightsError
from moderator.weights import Weights, find_weights

OWN_FILE = "image-timm.safetensors"
_HUB_FILE = "model.safetensors"
_HUB_CONFIG = "config.json"
_PACKAGE = "moderator/models/default"
_KNOWN = {"model", "weights", "repo"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build a network. ``arguments`` go to ``timm.create_model``; ``dim`` 0 means the width of the
    model itself, without projection; ``data`` holds ``input_size``, ``mean``, ``std``, ``interpolation``
    where they differ from what timm says of the model."""

    model: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    dim: int = 0

    def json(self, name: str) -> str:
        """What the metadata of a weights file says. One key only: safetensors writes several in any order."""
        return json.dumps({"name": name, "recipe": asdict(self)}, sort_keys=True)


OWN = Recipe(
    model="resnet10t",
    arguments={"channels": [32, 64, 128, 192], "stem_width": 16},
    data={
        "input_size": [3, 160, 160],
        "mean": [0.45, 0.45, 0.45],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
    },
    dim=128,
)
"""The network that is trained here: ResNet-D with one block a stage (He et al. 2016, 2019), 0.9 M weights."""


def check_options(name: str, options: Mapping[str, Any]) -> None:
    unknown = set(options) - _KNOWN
    if unknown:
        raise PluginError(
            f"{name}: unknown option {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KNOWN))}"
        )
    for key, value in options.items():
        if not isinstance(value, (str, Path)) or not str(value):
            raise PluginError(f"{name}: option {key} must be a name or path, got {value!r}")


def is_own(options: Mapping[str, Any]) -> bool:
    """Whether the options mean the network trained here, not a timm model with weights of its own."""
    if "model" in options or "repo" in options:
        return False
    given = options.get("weights")
    return given is None or not (Path(given).is_dir() and (Path(given) / _HUB_CONFIG).is_file())


def locate(name: str, options: Mapping[str, Any]) -> tuple[Weights, Recipe]:
    """Find the weights and the recipe that goes with them; raises ``WeightsError``, ``PluginError``.

    - nothing, or ``weights`` = a file written by training: the network trained here
    - ``weights`` = a folder as timm saves them (``config.json`` and ``model.safetensors``)
    - ``model`` = a timm name with ``weights`` = its safetensors file
    - ``repo`` = such a folder on the hub; ``model`` alone: the repository timm knows for it
    """
    given = options.get("weights")
    if is_own(options):
        found = find_weights(name, OWN_FILE, explicit=given, packages=[_PACKAGE])
        return found, _own_recipe(name, found)
    if given is not None:
        found = find_weights(name, _HUB_FILE, explicit=given)
        beside = found.path.parent / _HUB_CONFIG
        config = beside if beside.is_file() else None
    else:
        repo = str(options.get("repo") or _known_repo(name, str(options["model"])))
        found = find_weights(name, _HUB_FILE, repo=repo)
        config = find_weights(name, _HUB_CONFIG, repo=repo).path
    return found, _foreign_recipe(name, options.get("model"), config)


def digest(found: Weights, recipe: Recipe) -> str:
    """Hex digest of all that decides the output: the weights, and what is read beside them."""
    if recipe.dim:  # the recipe lies inside the weights file
        return found.sha256
    return hashlib.sha256(f"{found.sha256} {recipe.json('')}".encode()).hexdigest()


def _own_recipe(name: str, found: Weights) -> Recipe:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(found.path, framework="np") as file:
            metadata = json.loads((file.metadata() or {}).get("embedder", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{name}: {found.path} is not a safetensors file ({error})") from error
    if metadata.get("name") != name:
        raise WeightsError(
            f"{name}: {found.path} was not written by training {name}; for weights of a timm model name the "
            f"model too: [plugins.{name}] model = …"
        )
    try:
        return Recipe(**metadata["recipe"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{name}: {found.path} does not say how its network is built ({error})") from error


def _foreign_recipe(name: str, model: Any, config: Path | None) -> Recipe:
    if config is None:
        if model is None:
            raise PluginError(
                f"{name}: give the timm model these weights belong to: [plugins.{name}] model = …"
            )
        return Recipe(str(model))
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        data = values.get("pretrained_cfg", values)
        wanted = ("input_size", "mean", "std", "interpolation")
        return Recipe(
            str(model or values["architecture"]),
            # The head is not built, however many classes it was trained for.
            {key: value for key, value in (values.get("model_args") or {}).items() if key != "num_classes"},
            {key: data[key] for key in wanted if key in data},
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{name}: {config} does not describe a timm model ({error!r})") from error


def _known_repo(name: str, model: str) -> str:
    import timm

    config = timm.get_pretrained_cfg(model, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"{name}: timm knows no published weights for {model!r}; give [plugins.{name}] weights or repo"
        )
    repo = str(config.hf_hub_id)
    return repo if not repo.endswith("/") else repo + model
