"""Known pictures, found by perceptual hash. Importing this is cheap; the lists are read on load."""

from __future__ import annotations

from moderator.hookspecs import hookimpl
from moderator.plugin import Detector


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """The detector ``hashes``."""
    from moderator_hashes.detector import HashDetector

    return [HashDetector]
