"""The words in sounds. Importing this is cheap; models are read on load."""

from __future__ import annotations

from moderator.hookspecs import hookimpl
from moderator.plugin import Extractor


@hookimpl
def register_extractors() -> list[type[Extractor]]:
    """The extractor ``asr``, which is left out where there is nothing to recognise speech with."""
    from moderator_speech.extractor import SpokenWords

    return [SpokenWords]
