"""Nudity in pictures. Importing this is cheap; the model is read on load."""

from __future__ import annotations

from moderator.hookspecs import hookimpl
from moderator.plugin import Detector


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """The detector ``nudity``."""
    from moderator_nudity.detector import NudityDetector

    return [NudityDetector]
