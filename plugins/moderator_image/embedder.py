"""``image-timm``: an image as one summary token and a grid of tokens, each with its box of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError
from moderator.plugin import TrainableEmbedder
from moderator.types import Content, Embedding, Modality
from moderator.weights import Weights
from moderator_image import recipe
from moderator_image.pixels import Pixels, augmented, resized

if TYPE_CHECKING:
    import torch

    from moderator_image.network import ImageNetwork

_BATCH = 16


class TimmImage(TrainableEmbedder):
    """Options: ``weights`` (file or folder), ``model`` (a timm name), ``repo`` (on the hub).

    Without options, the small network that ``moderator train`` fits; see ``moderator_image.recipe``.
    """

    name: ClassVar[str] = "image-timm"
    modality: ClassVar[Modality] = Modality.IMAGE

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        recipe.check_options(self.name, self.options)
        self._loaded: ImageNetwork | None = None
        self._device = "cpu"
        self._digest = ""

    @property
    def dim(self) -> int:
        return self._network.dim

    @property
    def fingerprint(self) -> str:
        return f"1:{self._digest[:16]}"

    def weights(self) -> Sequence[Weights]:
        return [recipe.locate(self.name, self.options)[0]]

    def load(self, device: str) -> None:
        from moderator_image.network import load_network

        found, how = recipe.locate(self.name, self.options)
        self._loaded = load_network(how, found.path, self.name).to(device)
        self._device = device
        self._digest = recipe.digest(found, how)

    def initialise(self, device: str, seed: int) -> torch.nn.Module:
        import torch

        from moderator_image.network import ImageNetwork

        if not recipe.is_own(self.options):
            raise PluginError(f"{self.name}: only its own network is trained; remove model, repo and weights")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._loaded = ImageNetwork(recipe.OWN).to(device)
        self._device = device
        return self._loaded

    def inputs(self, contents: Sequence[Content], rng: np.random.Generator | None = None) -> torch.Tensor:
        """uint8 ``(B, 3, H, W)``; with ``rng``, augmented."""
        import torch

        size, how = self._network.size, self._network.interpolation
        images = [_pixels(content) for content in contents]
        made = [resized(i, size, how) if rng is None else augmented(i, size, how, rng) for i in images]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)  # (B, 3, H, W)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._network(inputs.to(self._device))  # (B, T, D)
        return tokens, tokens.new_ones(tokens.shape[:2]).bool()

    def save(self, path: Path) -> None:
        from moderator_image.network import save_network

        save_network(self._network, path, self.name)

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        import torch

        network = self._network.eval()
        result: list[Embedding] = []
        with torch.inference_mode():
            for start in range(0, len(contents), _BATCH):
                batch = contents[start : start + _BATCH]
                tokens, _ = self.forward(self.inputs(batch))  # (B, T, D)
                for row, content in zip(tokens, batch, strict=True):
                    height, width = _pixels(content).shape[:2]
                    result.append(Embedding(row, _boxes(height, width, network.grid)))
        return result

    @classmethod
    def examples(cls) -> Sequence[Content]:
        rows, columns = np.mgrid[0:120, 0:200]
        gradient = np.stack([rows * 2, columns, (rows + columns) % 256], axis=2).astype(np.uint8)
        disc = np.where(((rows - 60) ** 2 + (columns - 100) ** 2 < 1600)[..., None], gradient, 255)
        return [
            Content(Modality.IMAGE, gradient),
            Content(Modality.IMAGE, disc.astype(np.uint8)),
            Content(Modality.IMAGE, gradient[:, :7]),
            Content(Modality.IMAGE, np.zeros((1, 1, 3), dtype=np.uint8)),
        ]

    @property
    def _network(self) -> ImageNetwork:
        if self._loaded is None:
            raise PluginError(f"{self.name}: load() or initialise() comes before use")
        return self._loaded


def _pixels(content: Content) -> Pixels:
    data = content.data
    if isinstance(data, str) or data.ndim != 3 or data.shape[2] != 3 or data.dtype != np.uint8:
        shape = "text" if isinstance(data, str) else f"{data.dtype} {data.shape}"
        raise PluginError(f"image-timm: takes uint8 images (H, W, 3), got {shape}")
    return data  # type: ignore[return-value]  # checked above


def _boxes(height: int, width: int, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Pixel boxes ``x0, y0, x1, y1`` of the summary (everything) and of each cell: ``(T, 4)``."""
    rows, columns = grid
    y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    cells = np.stack(
        [x / columns * width, y / rows * height, (x + 1) / columns * width, (y + 1) / rows * height]
    )
    return np.concatenate([[[0, 0, width, height]], cells.T]).astype(np.float32)
