"""Lists of words and phrases as a detector. Importing this is cheap; the lists are read on load."""

from __future__ import annotations

from moderator.hookspecs import hookimpl
from moderator.plugin import Detector


@hookimpl
def register_detectors() -> list[type[Detector]]:
    """The detector ``lexicon``."""
    from moderator_lexicon.detector import LexiconDetector

    return [LexiconDetector]
