"""The extractor ``ocr``: what is written in a picture, read by RapidOCR.

RapidOCR runs the PP-OCR models (Du et al. 2020 and later) in ONNX Runtime; both come in its wheel, under
the Apache License 2.0. They read Chinese, English and the digits and signs between.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError, WeightsError
from moderator.plugin import Extractor
from moderator.types import Content, Modality, Source
from moderator.weights import Weights, sha256_of

_VERSION: Final = 1
_OPTIONS: Final = {"side": 960, "least": 0.5}
_CJK: Final = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
_SMALLEST: Final = 8
"""Pixels a picture must have each way: nothing can be written in less."""


class PictureText(Extractor):
    """Options: ``side`` (pixels; larger pictures are shrunk to it before lines are looked for), ``least``
    (from 0 to 1: lines read with less confidence are dropped).

    One extract a picture, its lines from top to bottom.
    """

    name: ClassVar[str] = "ocr"
    modality: ClassVar[Modality] = Modality.IMAGE

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        if unknown := set(self.options) - set(_OPTIONS):
            raise PluginError(f"ocr: unknown option {', '.join(sorted(unknown))}; known are side, least")
        given = {**_OPTIONS, **self.options}
        self._side, self._least = int(given["side"]), float(given["least"])
        if self._side < 32 or not 0 <= self._least <= 1:
            raise PluginError(
                f"ocr: side must be at least 32 and least from 0 to 1, got {dict(self.options)}"
            )
        self._engine: Any = None
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        if self._engine is None:
            raise PluginError("ocr: the fingerprint is known after load()")
        return self._fingerprint

    def weights(self) -> Sequence[Weights]:
        """The two models in RapidOCR's package: one finds lines, the other reads them."""
        spec = find_spec("rapidocr")
        if spec is None or spec.origin is None:
            raise WeightsError("ocr: the package rapidocr is not installed: pip install rapidocr onnxruntime")
        folder = Path(spec.origin).parent / "models"
        found = sorted(path for path in folder.glob("*.onnx") if "_det_" in path.name or "_rec_" in path.name)
        if len(found) < 2:
            raise WeightsError(f"ocr: {folder} lacks the models of rapidocr; install it anew")
        return [Weights(path, sha256_of(path), "package") for path in found]

    def load(self, device: str) -> None:
        """Always on the CPU: the models are small, and CUDA needs another build of ONNX Runtime."""
        found = self.weights()
        from rapidocr import RapidOCR

        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,
                "Global.text_score": self._least,
                "Det.limit_type": "max",
                "Det.limit_side_len": self._side,
            }
        )
        made_of = ":".join([version("rapidocr"), *(each.sha256 for each in found)])
        digest = hashlib.sha256(made_of.encode()).hexdigest()
        self._fingerprint = f"{_VERSION}:{digest[:16]}:{self._side}:{self._least:g}"

    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        """One picture at a time: a batch of lines of several pictures would be padded to the longest."""
        if self._engine is None:
            raise PluginError("ocr: load() comes before use")
        texts = [self._read(np.asarray(content.data)) for content in contents]
        return [[Content(Modality.TEXT, text, source=Source.OCR)] if text else [] for text in texts]

    def _read(self, pixels: NDArray[Any]) -> str:
        if min(pixels.shape[:2]) < _SMALLEST:
            return ""
        found = self._engine(np.ascontiguousarray(pixels[:, :, ::-1]))  # it expects BGR
        return joined_lines([str(line).strip() for line in found.txts or ()])

    @classmethod
    def examples(cls) -> Sequence[Content]:
        """A line of writing, and a blank picture."""
        from PIL import Image, ImageDraw, ImageFont

        picture = Image.new("RGB", (320, 80), "white")
        ImageDraw.Draw(picture).text((10, 20), "Hello world", fill="black", font=ImageFont.load_default(32))
        blank = np.full((64, 64, 3), 128, dtype=np.uint8)
        return [Content(Modality.IMAGE, np.asarray(picture)), Content(Modality.IMAGE, blank)]


def joined_lines(lines: Sequence[str]) -> str:
    """Lines as one text. A line break inside Chinese is no break in the sentence."""
    kept = [line for line in lines if line]
    text = "".join(kept[:1])
    for before, line in pairwise(kept):
        text += line if _CJK.match(before[-1]) and _CJK.match(line[0]) else f"\n{line}"
    return text
