"""Finds and opens what the options ask for: the network trained here, or a speech encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderator.errors import PluginError, WeightsError
from moderator.weights import Weights, find_weights, read_json

if TYPE_CHECKING:
    from moderator_audio.network import AudioNetwork

OWN_FILE = "audio-logmel.safetensors"
_HUB_FILE = "model.safetensors"
_PACKAGE = "moderator/models/default"
_KNOWN = {"model", "weights"}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    unknown = set(options) - _KNOWN
    if unknown:
        raise PluginError(
            f"{name}: unknown option {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KNOWN))}"
        )
    for key, value in options.items():
        if not isinstance(value, (str, Path)) or not str(value):
            raise PluginError(f"{name}: option {key} must be a name or path, got {value!r}")
    if len(options) > 1:
        raise PluginError(f"{name}: give model (a speech encoder) or weights (of its own network), not both")


def is_own(options: Mapping[str, Any]) -> bool:
    """Whether the options mean the network trained here, not a speech encoder."""
    if "model" in options:
        return False
    given = options.get("weights")
    return given is None or not (Path(given) / "config.json").is_file()


def locate(name: str, options: Mapping[str, Any]) -> Weights:
    """Find the weights; raises ``WeightsError``.

    - nothing, or ``weights`` = a file written by training: the network trained here
    - ``weights`` or ``model`` = a folder as transformers saves them (``config.json``, ``model.safetensors``)
    - ``model`` = such a repository on the hub
    """
    if is_own(options):
        return find_weights(name, OWN_FILE, explicit=options.get("weights"), packages=[_PACKAGE])
    given = options.get("model", options.get("weights"))
    if Path(str(given)).exists():
        return find_weights(name, _HUB_FILE, explicit=given)
    return find_weights(name, _HUB_FILE, repo=str(given))


def companion(name: str, options: Mapping[str, Any], weights: Weights, filename: str) -> dict[str, Any]:
    """The JSON file ``filename`` beside the weights; ``WeightsError`` if there is none."""
    path = weights.path.parent / filename
    if not path.is_file() and weights.origin in ("cache", "hub"):
        path = find_weights(name, filename, repo=str(options["model"])).path
    return read_json(name, path)


def load_own(name: str, found: Weights) -> AudioNetwork:
    """The network trained here, every weight accounted for, in float32; raises ``WeightsError``."""
    from safetensors import SafetensorError, safe_open

    from moderator_audio.network import AudioNetwork, Recipe

    try:
        with safe_open(found.path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("embedder", "{}"))
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{name}: {found.path} is not a safetensors file ({error})") from error
    if metadata.get("name") != name:
        raise WeightsError(
            f"{name}: {found.path} was not written by training {name}; for a speech encoder of transformers "
            f"give its folder or repository: [plugins.{name}] model = …"
        )
    try:
        values = metadata["recipe"]
        network = AudioNetwork(Recipe(**{**values, "blocks": tuple(values["blocks"])}))
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{name}: {found.path} does not say how its network is built ({error})") from error
    expected = network.state_dict()
    wrong = sorted(set(expected) ^ set(stored)) or sorted(
        key for key, value in expected.items() if value.shape != stored[key].shape
    )
    if wrong:
        raise WeightsError(
            f"{name}: {found.path} does not fit its own description: {len(wrong)} weights are missing, "
            f"unknown or of another shape, {wrong[0]!r} first"
        )
    network.load_state_dict({key: value.to(expected[key].dtype) for key, value in stored.items()})
    return network
