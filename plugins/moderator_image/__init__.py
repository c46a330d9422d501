"""Image embedder: a small network trained here, or any ``timm`` model."""

from __future__ import annotations

from collections.abc import Iterable

from moderator.hookspecs import hookimpl
from moderator.plugin import Embedder
from moderator_image.embedder import TimmImage


@hookimpl
def register_embedders() -> Iterable[type[Embedder]]:
    return [TimmImage]
