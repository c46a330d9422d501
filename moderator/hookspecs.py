"""The hooks a plugin may implement. Mark implementations with ``hookimpl``.

Each hook returns classes or files, never instances: the host decides when to construct them.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources.abc import Traversable

import pluggy

from moderator.plugin import Detector, Embedder, Extractor

PROJECT = "moderator"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_embedders() -> Iterable[type[Embedder]]:  # type: ignore[empty-body]
    """Return embedder classes. Used by ``moderator_text``, ``moderator_image``, ``moderator_audio``."""


@hookspec
def register_detectors() -> Iterable[type[Detector]]:  # type: ignore[empty-body]
    """Return detector classes. Used by ``moderator_lexicon``."""


@hookspec
def register_extractors() -> Iterable[type[Extractor]]:  # type: ignore[empty-body]
    """Return extractor classes. Used by ``moderator_ocr``, ``moderator_speech``."""


@hookspec
def register_policies() -> Iterable[Traversable]:  # type: ignore[empty-body]
    """Return policy files (YAML, policy name = file name without suffix). Used by ``moderator.rules``."""
