"""Moderator: judge posts made of text, images and audio together. Names load lazily."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderator.hookspecs import hookimpl
    from moderator.pipeline.moderator import Moderator
    from moderator.types import Action, Item, Modality, Verdict

__version__ = "0.1.0"

_HOME = {
    "Moderator": "moderator.pipeline.moderator",
    "Item": "moderator.types",
    "Verdict": "moderator.types",
    "Action": "moderator.types",
    "Modality": "moderator.types",
    "hookimpl": "moderator.hookspecs",
}

__all__ = ["Action", "Item", "Modality", "Moderator", "Verdict", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'moderator' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
