"""The detector ``hashes``: pictures that are on a list, found again by their perceptual hash.

The hash is PDQ (Dalton, 2019): 256 bits of the low frequencies of a picture's brightness. Copies that were
scaled, recompressed or recoloured differ by a few bits, other pictures by about 128. Cropped or tilted copies
are other pictures to it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from moderator.errors import PluginError
from moderator.plugin import Detector
from moderator.types import Content, Evidence, Modality, Signal, SignalSpec
from moderator_hashes.lists import HashList, read_list
from moderator_hashes.matching import MAX_DISTANCE, Found, Matcher

_VERSION: Final = 1
_OPTIONS: Final = ("lists", "distance", "quality")
_DISTANCE: Final = 31
_QUALITY: Final = 50
_MAX_QUALITY: Final = 100
_MAX_EVIDENCE: Final = 5
_SCALE: Final = 64
# PDQ derives the hashes of the turned picture from the picture as it is. It samples pixels a little off the
# middle, which makes them inexact where pixels are few: after half a turn, most pictures of 256 pixels a side
# were missed. Up to this many pixels the picture itself is flipped, which costs four times as much.
_SMALL: Final = 512 * 512
_TRANSPOSED: Final = 6
_SIGNAL: Final = SignalSpec(
    "hash_match",
    description="likeness to a picture of a configured list: 1 the same, 0.52 just so",
)


class HashDetector(Detector):
    """Finds listed pictures, also turned or mirrored.

    Options: ``lists`` (a list of files, or a table of name = file; without a table a list is called by its
    file's name; the formats are in ``moderator_hashes.lists``), ``distance`` (how many of the 256 bits may
    differ; default 31), ``quality`` (0 to 100; a picture whose hash PDQ gives a lower one is not compared;
    default 50).

    ``hash_match`` is 1 − distance / 64 of the nearest entry, whatever the option ``distance`` is: 1 for the
    same hash, 0.84 for 10 bits, 0.52 for 31, the published threshold. Without lists nothing is found, and the
    package pdqhash is not needed.
    """

    name: ClassVar[str] = "hashes"
    modality: ClassVar[Modality] = Modality.IMAGE

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        for key in self.options:
            if key not in _OPTIONS:
                raise PluginError(f"hashes: unknown option {key!r}; known are {', '.join(_OPTIONS)}")
        self._files = _files(self.options.get("lists", ()))
        self._distance = self._number("distance", _DISTANCE, MAX_DISTANCE)
        self._quality = self._number("quality", _QUALITY, _MAX_QUALITY)
        self._lists: tuple[HashList, ...] = ()
        self._ends: tuple[int, ...] = ()
        self._matcher: Matcher | None = None
        self._pdq: Any = None
        self._fingerprint = ""

    @property
    def signals(self) -> Sequence[SignalSpec]:
        return (_SIGNAL,)

    @property
    def fingerprint(self) -> str:
        if not self._fingerprint:
            raise PluginError("hashes: the fingerprint is known after load()")
        return self._fingerprint

    def load(self, device: str) -> None:
        """Read the lists; ``device`` does not matter."""
        if not self._files:
            self._fingerprint = f"{_VERSION}:no lists"
            return
        try:
            import pdqhash
        except ImportError as error:
            raise PluginError(
                f"hashes: lists are configured, but pdqhash cannot be imported ({error}); "
                'pip install "moderator[hashes]"'
            ) from error
        lists = tuple(read_list(name, path) for name, path in self._files.items())
        self._pdq = pdqhash
        self._lists = lists
        self._ends = tuple(accumulate(len(each.hashes) for each in lists))
        self._matcher = Matcher(np.concatenate([each.hashes for each in lists]))
        whole = hashlib.sha256(f"{self._distance} {self._quality}\n".encode())
        for each in lists:
            whole.update(f"{each.name}\0{each.digest}\n".encode())
        self._fingerprint = f"{_VERSION}:pdqhash {pdqhash.__version__}:{whole.hexdigest()[:16]}"

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        """The nearest entry is the score; the nearest five are evidence."""
        if not self._fingerprint:
            raise PluginError("hashes: load() comes before use")
        if self._matcher is None:
            return [[] for _ in contents]
        return [self._detect(self._matcher, content) for content in contents]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        """Two patterns of large shapes, and a plain colour, which has no hash."""
        y, x = np.mgrid[0:1:96j, 0:1:128j]
        plain = np.zeros((96, 128))
        patterns = (np.sin(7 * x + 3 * y) * np.cos(11 * y), np.sin(13 * x * y) + np.cos(9 * x - 4 * y), plain)
        return [
            Content(Modality.IMAGE, (127 + 60 * np.repeat(each[:, :, None], 3, axis=2)).astype(np.uint8))
            for each in patterns
        ]

    def _detect(self, matcher: Matcher, content: Content) -> list[Signal]:
        pixels = np.asarray(content.data)  # (H, W, 3)
        variants, quality = pdq_hashes(self._pdq, pixels)
        if quality < self._quality:
            return []
        found = matcher.within(variants, self._distance)
        if not found:
            return []
        height, width = pixels.shape[:2]
        box = (0.0, 0.0, float(width), float(height))
        evidence = tuple(
            Evidence(self.name, content.part, box, self._detail(each)) for each in found[:_MAX_EVIDENCE]
        )
        return [Signal(_SIGNAL.name, 1.0 - found[0].distance / _SCALE, evidence)]

    def _detail(self, found: Found) -> str:
        number = bisect_right(self._ends, found.entry)
        source = self._lists[number]
        index = found.entry - (self._ends[number] - len(source.hashes))
        said = [f"{source.name}: {found.distance} of 256 bits differ"]
        said += ["turned or mirrored"] if found.query else []
        said += [source.about[int(source.which[index])]]
        return "; ".join(each for each in said if each)

    def _number(self, key: str, default: int, most: int) -> int:
        value = self.options.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise PluginError(f"hashes: option {key} must be a whole number from 0 to {most}, got {value!r}")
        return value


def pdq_hashes(pdqhash: Any, pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], int]:
    """The hashes ``(8, 32)`` of a picture and of it turned and mirrored; and their quality, 0 to 100."""
    height, width = pixels.shape[:2]
    if height * width > _SMALL:
        bits, quality = pdqhash.compute_dihedral(pixels)
    else:
        flips = (pixels, pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1])
        computed = [pdqhash.compute_dihedral(each) for each in flips]
        quality = computed[0][1]
        bits = [hashes[place] for hashes, _ in computed for place in (0, _TRANSPOSED)]
    return np.packbits(np.array(bits, dtype=np.uint8), axis=1), int(quality)


def _files(value: object) -> dict[str, Path]:
    """The files of the option ``lists`` by the name of the list."""
    if isinstance(value, (str, Path)):
        value = [value]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)):
        pairs = [(Path(each).stem if isinstance(each, (str, Path)) else "", each) for each in value]
    else:
        raise PluginError(
            f"hashes: option lists must be a list of files or a table of name = file, got {value!r}"
        )
    files: dict[str, Path] = {}
    for name, path in pairs:
        if not (isinstance(name, str) and name.strip() and isinstance(path, (str, Path)) and str(path)):
            raise PluginError(f"hashes: option lists must name files, got {path!r}")
        if name in files:
            raise PluginError(
                f"hashes: two lists are called {name!r}; give them names: lists = {{name = file}}"
            )
        files[name] = Path(path).expanduser()
    return files
