"""Numbers in 8 bits, and an encoder stored in them: one file that needs no other.

Every row of a matrix, an output channel of a linear layer or a word of an embedding, is stored as whole
numbers from -127 to 127 and one scale (Jacob et al. 2018, symmetric). Products round their input the same
way, each token by itself: with one scale for a whole batch, as is common, a text's scores would depend on
its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from moderator.errors import WeightsError

if TYPE_CHECKING:
    import torch

_FORMAT = "moderator-text-int8-1"
_KEY = "encoder"
_SCALE = ".scale"
_DAMAGED = "export the model again, or fetch the file again"


@dataclass(frozen=True, slots=True)
class Stored:
    """What such a file says of the encoder in it. ``config`` and ``tokenizer``: the two JSON files of a model
    folder. ``chunk`` and ``gloss``: the options it was exported with, which stay its defaults."""

    config: Mapping[str, Any]
    tokenizer: str
    chunk: int
    gloss: bool


def rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``(N, D)`` float → int8 ``(N, D)`` and the scale of each row, float32 ``(N, 1)``."""
    import torch

    scale = rows.abs().amax(dim=1, keepdim=True).float().clamp_(min=1e-12).div_(127)  # (N, 1)
    return (rows / scale).round_().to(torch.int8), scale


class Int8Product:
    """A linear layer in 8 bits; called as one in floating point is."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        # weights that were stored in 8 bits come out of this as they were stored
        rows, scale = rounded(weight)
        self._weight = rows.t()  # (in, out)
        self._scale = scale[:, 0].contiguous()  # (out,)
        self._bias = bias.float()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 ``(N, in)`` → float32 ``(N, out)``."""
        import torch

        tokens, scale = rounded(x)
        sums = torch._int_mm(tokens, self._weight)  # (N, out) int32, exact
        # a token that is not finite has a scale that is not, and stays so
        return torch.addcmul(self._bias, sums * self._scale, scale)


def save_stored(path: Path, model: torch.nn.Module, about: Stored) -> None:
    """Write ``model`` with its linear layers and embeddings in 8 bits, all else as it is."""
    from safetensors.torch import save_file
    from torch import nn

    matrices = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding))
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        kept = value.detach().cpu().contiguous()
        if name in matrices:
            kept, scale = rounded(kept)
            tensors[name + _SCALE] = scale[:, 0].contiguous()
        tensors[name] = kept
    # one key only: the order of several is not fixed, and the same encoder must give the same digest
    save_file(
        tensors, path, metadata={_KEY: json.dumps({"format": _FORMAT, **asdict(about)}, sort_keys=True)}
    )


def stored_in(path: Path) -> Stored | None:
    """What the file says of its encoder; None for weights of another kind. ``WeightsError`` if it cannot be
    read or is of another version."""
    try:
        with safe_open(path, framework="np") as file:
            said = (file.metadata() or {}).get(_KEY)
        if said is None:
            return None
        values = json.loads(said)
        if values.pop("format", "") != _FORMAT:
            raise WeightsError(f"{path}: an encoder in another format than {_FORMAT}; {_DAMAGED}")
        about = Stored(
            dict(values["config"]), str(values["tokenizer"]), int(values["chunk"]), bool(values["gloss"])
        )
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}; {_DAMAGED}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: does not describe its encoder: {error!r}; {_DAMAGED}") from error
    return about


def read_stored(path: Path) -> dict[str, torch.Tensor]:
    """The weights in floating point, by their names. ``WeightsError`` where they are not as ``save_stored``
    writes them."""
    import torch

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}; {_DAMAGED}") from error
    weights = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE):
            continue
        weights[name] = value
        if value.dtype is torch.int8:
            scale = tensors.get(name + _SCALE)
            if scale is None or scale.shape != value.shape[:1] or not torch.isfinite(scale).all():
                raise WeightsError(f"{path}: {name} has no scale for each of its rows; {_DAMAGED}")
            weights[name] = value.float() * scale[:, None]
    return weights
