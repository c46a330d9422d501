"""The text in pictures. Importing this is cheap; models are read on load."""

from __future__ import annotations

from moderator.hookspecs import hookimpl
from moderator.plugin import Extractor


@hookimpl
def register_extractors() -> list[type[Extractor]]:
    """The extractor ``ocr``."""
    from moderator_ocr.reader import PictureText

    return [PictureText]
