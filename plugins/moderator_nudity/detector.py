"""The detector ``nudity``: uncovered parts of the body in pictures, found by NudeNet.

NudeNet is a YOLOv8 network run in ONNX Runtime; its smaller model comes in its wheel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from moderator.errors import PluginError, WeightsError
from moderator.plugin import Detector
from moderator.types import Content, Evidence, Modality, Signal, SignalSpec
from moderator.weights import Weights, sha256_of

_VERSION: Final = 1
_CLASSES: Final = {
    "FEMALE_GENITALIA_EXPOSED": "nudity",
    "MALE_GENITALIA_EXPOSED": "nudity",
    "ANUS_EXPOSED": "nudity",
    "FEMALE_BREAST_EXPOSED": "nudity",
    "BUTTOCKS_EXPOSED": "nudity_partial",
}
_SIGNALS: Final = (
    SignalSpec("nudity", description="uncovered genitals, anus or female breasts in a picture"),
    SignalSpec("nudity_partial", description="uncovered buttocks in a picture"),
)


class NudityDetector(Detector):
    """No options. Evidence boxes are pixels of the picture.

    It ``clears``: with it, a picture alone is judged, for nudity; docs/limits.md says for what it is not.
    """

    name: ClassVar[str] = "nudity"
    modality: ClassVar[Modality] = Modality.IMAGE
    clears: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        if self.options:
            raise PluginError(f"nudity: unknown option {', '.join(sorted(self.options))}; it has none")
        self._network: Any = None
        self._digest = ""

    @property
    def signals(self) -> Sequence[SignalSpec]:
        return _SIGNALS

    @property
    def fingerprint(self) -> str:
        if self._network is None:
            raise PluginError("nudity: the fingerprint is known after load()")
        return f"{_VERSION}:{self._digest[:16]}"

    def weights(self) -> Sequence[Weights]:
        spec = find_spec("nudenet")
        path = Path(spec.origin).parent / "320n.onnx" if spec is not None and spec.origin else None
        if path is None or not path.is_file():
            raise WeightsError("nudity: the package nudenet is not installed: pip install nudenet")
        return [Weights(path, sha256_of(path), "package")]

    def load(self, device: str) -> None:
        """Always on the CPU: the network is small, and CUDA needs another build of ONNX Runtime."""
        self._digest = self.weights()[0].sha256
        from nudenet import NudeDetector

        self._network = NudeDetector()

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        """The surest of each kind is the score; all that were found are evidence."""
        if self._network is None:
            raise PluginError("nudity: load() comes before use")
        return [self._detect(content) for content in contents]

    def _detect(self, content: Content) -> list[Signal]:
        pixels = np.asarray(content.data)  # (H, W, 3)
        height, width = pixels.shape[:2]
        by_signal: dict[str, list[tuple[float, Evidence]]] = {}
        for found in self._network.detect(np.ascontiguousarray(pixels[:, :, ::-1])):  # it expects BGR
            name = _CLASSES.get(found["class"])
            if name is None:
                continue
            x, y, w, h = found["box"]
            box = (float(x), float(y), float(min(x + w, width)), float(min(y + h, height)))
            place = Evidence(self.name, content.part, box, found["class"].lower().replace("_", " "))
            by_signal.setdefault(name, []).append((float(found["score"]), place))
        return [
            Signal(name, max(score for score, _ in places), tuple(place for _, place in places))
            for name, places in sorted(by_signal.items())
        ]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        """Noise and a plain colour: nothing to see in either."""
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        plain = np.full((20, 30, 3), 200, dtype=np.uint8)
        return [Content(Modality.IMAGE, noise), Content(Modality.IMAGE, plain)]
