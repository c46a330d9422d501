"""The policies that ship with the toolkit, registered like those of any other plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from moderator.hookspecs import hookimpl


@hookimpl
def register_policies() -> list[Traversable]:
    """``default`` for general communities, ``strict`` for spaces with children or little staff."""
    folder = files(__name__)
    return [folder / "default.yaml", folder / "strict.yaml"]
