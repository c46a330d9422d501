"""What a plugin must look like before it is used, and what an extractor must give."""

from __future__ import annotations

import inspect
import re
from typing import Final, TypeVar

from moderator.errors import PluginError
from moderator.plugin import Detector, Plugin
from moderator.types import Content, Modality, SignalSpec, Source

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SIGNAL: Final = re.compile(r"[a-z_][a-z0-9_]*")  # a plain variable in policy conditions
_CONTEXT: Final = "item"  # as moderator.policy.schema has it, which lies above

P = TypeVar("P", bound=Plugin)


def checked_class(made: object, base: type[P]) -> type[P]:
    """``made`` as a usable subclass of ``base``; raises ``PluginError`` saying what is wrong with it."""
    if not (isinstance(made, type) and issubclass(made, base)):
        raise PluginError(f"{made!r} is not a subclass of {base.__name__}")
    checked_identity(made)
    if inspect.isabstract(made):
        raise PluginError(f"{made.name}: does not define {', '.join(sorted(made.__abstractmethods__))}")
    return made


def checked_identity(made: type[Plugin]) -> None:
    """Raise ``PluginError`` unless ``made`` has a well-formed ``name`` and a ``modality``."""
    name = getattr(made, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise PluginError(
            f"{made.__qualname__}: name {name!r} must be lower-case letters and digits, joined by dashes"
        )
    modality = getattr(made, "modality", None)
    if not isinstance(modality, Modality):
        raise PluginError(f"{name}: modality {modality!r} must be a member of moderator.types.Modality")


def checked_signals(detector: Detector) -> tuple[SignalSpec, ...]:
    """The signals ``detector`` declares; raises ``PluginError`` if a policy could not use them."""
    specs = tuple(detector.signals)
    for spec in specs:
        if not _SIGNAL.fullmatch(spec.name):
            raise PluginError(
                f"signal {spec.name!r} must be lower-case letters, digits and underscores, no digit first"
            )
        if spec.name == _CONTEXT:
            raise PluginError(f"signal {spec.name!r} is what policies call a post's context; rename it")
        if not spec.low < spec.high:
            raise PluginError(f"signal {spec.name!r} has an empty range [{spec.low}, {spec.high}]")
    if len({spec.name for spec in specs}) < len(specs):
        raise PluginError(f"a signal is declared twice: {', '.join(spec.name for spec in specs)}")
    return specs


def problem_with_extracts(extracts: object) -> str:
    """What is wrong with an extractor's result for one content, or nothing."""
    if not isinstance(extracts, list):
        return f"got {type(extracts).__name__}, expected a list of Content"
    for each in extracts:
        if not isinstance(each, Content):
            return f"got {type(each).__name__} among the extracts, expected Content"
        if each.source is Source.NATIVE:
            return "an extract's source is native; it must say where the content comes from"
        if each.modality is Modality.TEXT and not isinstance(each.data, str):
            return f"a text extract's data is {type(each.data).__name__}, expected str"
    return ""
