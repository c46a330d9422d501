"""All configuration, read once: defaults < ``moderator.toml`` < ``MODERATOR_*`` environment < arguments.

Scalars come from the top level of the file or the environment (``MODERATOR_DEVICE=cpu``); limits from
``[limits]`` or ``MODERATOR_LIMITS_MAX_BYTES``, and ``[review]`` alike; reviewers' roles only from
``[reviewers]``, plugin options only from ``[plugins.<name>]``.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moderator.errors import SettingsError
from moderator.types import Role

_NO_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of one part is read. Beyond a ``max_*`` limit the part goes to review with the reason;
    beyond the number of windows or frames it is sampled over its whole length and coverage recorded."""

    max_parts: int = 64
    """Parts of one item; those beyond are not looked at, and the item goes to review."""
    max_bytes: int = 64 * 1024 * 1024
    """Encoded size of one part, bytes."""
    max_pixels: int = 64_000_000
    """Width × height of one frame, from the header, before decoding."""
    max_frames: int = 10_000
    """Frames of an animation, from the header; videos are bounded by their seconds."""
    max_seconds: float = 4 * 3600.0
    """Length of one audio or video part, seconds."""
    text_window: int = 800
    """Characters of the original per text window."""
    text_overlap: int = 80
    """Characters two neighbouring text windows share."""
    text_windows: int = 400
    """Windows looked at per text part; the default covers 288,000 characters."""
    frames: int = 8
    """Frames looked at per animation, first and last included."""
    video_frames: int = 16
    """Frames looked at per picture track of a video, first and last included."""
    audio_window: float = 10.0
    """Seconds per audio window."""
    audio_windows: int = 30
    """Windows looked at per audio part or sound track of a video; the default covers 5 minutes."""
    image_side: int = 1024
    """Decoded frames are shrunk so that the longer side is at most this many pixels."""


@dataclass(frozen=True, slots=True)
class Review:
    """How the review queue works."""

    lease_seconds: float = 600.0
    """How long a claim holds without being renewed."""
    appeal_days: float = 184.0
    """Days after a decision within which it may be appealed. The default is no less than six months."""
    appeal_answer_days: float = 7.0
    """Days within which an appeal shall be answered; then it is overdue."""
    second_review_share: float = 0.0
    """Share of first decisions, drawn at random, that somebody else decides once more without seeing them."""
    golden_share: float = 0.0
    """Share of claimed tasks, drawn at random, whose right answer is known and that measure the reviewer."""
    graphic: str = "sexual=0.5, violence=0.5, self_harm=0.5"
    """What is graphic: labels with the score from which on it is so, ``image`` and ``video`` for any."""
    graphic_per_shift: int = 0
    """Graphic tasks a reviewer may claim within a shift; 0 for any number."""
    shift_hours: float = 8.0
    """Length of a shift: so far back from now graphic tasks are counted."""
    author_key: str = "author"
    """Key of a post's context that names its author, for strikes."""
    strike_days: float = 90.0
    """Days for which a decision to block counts as a strike against the author."""
    reporter_key: str = "reporter"
    """Key of a post's context that names who reported it; with ``_bot``, whether that is software."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the database keeps beside verdicts."""

    words: str = "review"
    """``review``: review tasks are found by the words of their texts, which are kept in the clear for it;
    ``none``: they are not."""

    allow_days: float = 0.0
    """Days after which `audit retain` erases posts that were allowed; 0 keeps them for ever."""
    review_days: float = 0.0
    """The same of those for review, once their tasks are finished."""
    block_days: float = 0.0
    """The same of those that were blocked."""

    def __post_init__(self) -> None:
        if self.words not in ("none", "review"):
            raise SettingsError(f"store.words: must be none or review, got {self.words!r}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. Built by ``load_settings``; passed down, never global."""

    db: str = "sqlite:///moderator.db"
    device: str = "auto"
    model: str = "default"
    """``default`` or a directory written by ``moderator train``."""
    policy: str = "default"
    """A policy name or a YAML file."""
    batch_size: int = 1024
    """Items judged together. Memory grows with it, verdicts do not depend on it."""
    plugin_timeout: float = 60.0
    """Seconds one plugin may spend on one batch of contents before its items are marked."""
    allow_plugins: tuple[str, ...] | None = None
    """Entry-point names that may be imported; ``None`` allows every installed plugin."""
    limits: Limits = field(default_factory=Limits)
    review: Review = field(default_factory=Review)
    store: Keeping = field(default_factory=Keeping)
    reviewers: Mapping[str, Role] | None = None
    """Reviewer → role. Without the table everybody has every role; with it, others are plain reviewers."""
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NO_OPTIONS)
    """Plugin name → its options."""


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **overrides: Any,
) -> Settings:
    """Read settings. ``file`` defaults to ``MODERATOR_CONFIG`` or ``./moderator.toml`` if present.

    ``overrides`` with the value ``None`` are ignored. Raises ``SettingsError`` naming the key and
    where it came from.
    """
    env = os.environ if environ is None else environ
    named = file or (Path(env["MODERATOR_CONFIG"]) if env.get("MODERATOR_CONFIG") else None)
    path = named or Path("moderator.toml")
    table: dict[str, Any] = {}
    if named is not None or path.is_file():
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    given = _from_file(table, str(path))
    _apply_environment(env, given)
    known = _scalar_fields()
    more = {key: list(value) if isinstance(value, tuple) else value for key, value in overrides.items()}
    given.scalars.update(
        {key: _checked(key, value, known, key) for key, value in more.items() if value is not None}
    )
    return Settings(
        **given.scalars,
        limits=Limits(**given.groups["limits"]),
        review=Review(**given.groups["review"]),
        store=Keeping(**given.groups["store"]),
        reviewers=given.reviewers,
        plugins=MappingProxyType(
            {name: MappingProxyType(dict(value)) for name, value in given.plugins.items()}
        ),
    )


_GROUPS = {"limits": Limits, "review": Review, "store": Keeping}
_SHARES = ("second_review_share", "golden_share")
_MAY_BE_ZERO = ("text_overlap", "graphic_per_shift", "allow_days", "review_days", "block_days", *_SHARES)
_TABLES = (*_GROUPS, "reviewers", "plugins")


@dataclass(slots=True)
class _Given:
    """What the file and the environment say."""

    scalars: dict[str, Any]
    groups: dict[str, dict[str, Any]]
    reviewers: Mapping[str, Role] | None
    plugins: dict[str, dict[str, Any]]


def _scalar_fields() -> dict[str, Any]:
    default = Settings()
    return {f.name: getattr(default, f.name) for f in dataclasses.fields(Settings) if f.name not in _TABLES}


def _group_fields(group: str) -> dict[str, Any]:
    return dataclasses.asdict(_GROUPS[group]())


def _from_file(table: dict[str, Any], where: str) -> _Given:
    tables = {name: table.pop(name, None) for name in _TABLES}
    for name, value in tables.items():
        if value is not None and not isinstance(value, dict):
            raise SettingsError(f"{where}: [{name}] must be a table")
    plugins = tables["plugins"] or {}
    for name, options in plugins.items():
        if not isinstance(options, dict):
            raise SettingsError(f"{where}: [plugins.{name}] must be a table of options")
    known = _scalar_fields()
    scalars = {key: _checked(f"{where}: {key}", value, known, key) for key, value in table.items()}
    groups = {
        group: {
            key: _checked(f"{where}: {group}.{key}", value, _group_fields(group), key)
            for key, value in (tables[group] or {}).items()
        }
        for group in _GROUPS
    }
    return _Given(scalars, groups, _roles(tables["reviewers"], where), plugins)


def _roles(table: dict[str, Any] | None, where: str) -> Mapping[str, Role] | None:
    if table is None:
        return None
    for name, role in table.items():
        if role not in list(Role):
            raise SettingsError(f"{where}: reviewers.{name}: must be {', '.join(Role)}, got {role!r}")
    return MappingProxyType({name: Role(role) for name, role in table.items()})


def _apply_environment(env: Mapping[str, str], given: _Given) -> None:
    for key, default in _scalar_fields().items():
        name = f"MODERATOR_{key.upper()}"
        if name in env:
            given.scalars[key] = _parsed(name, env[name], default, key)
    for group in _GROUPS:
        for key, default in _group_fields(group).items():
            name = f"MODERATOR_{group.upper()}_{key.upper()}"
            if name in env:
                given.groups[group][key] = _parsed(name, env[name], default, key)


def _parsed(where: str, text: str, default: Any, key: str) -> Any:
    if key == "allow_plugins":
        return tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        value = type(default)(text)
    except ValueError as error:
        raise SettingsError(f"{where}={text!r} is not a {type(default).__name__}") from error
    return _checked(where, value, {key: default}, key)


def _checked(where: str, value: Any, known: Mapping[str, Any], key: str) -> Any:
    if key not in known:
        raise SettingsError(f"{where}: unknown setting; known are {', '.join(sorted(known))}")
    if key == "allow_plugins":
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise SettingsError(f"{where}: must be a list of entry-point names, got {value!r}")
        return tuple(value)
    default = known[key]
    wanted = (int, float) if isinstance(default, float) else type(default)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise SettingsError(f"{where}: must be a {type(default).__name__}, got {value!r}")
    if isinstance(default, (int, float)) and not 0 < value < float("inf"):  # NaN is neither
        if key in _MAY_BE_ZERO and value == 0:
            return value
        raise SettingsError(f"{where}: must be above 0 and finite, got {value!r}")
    if key in _SHARES and value > 1:
        raise SettingsError(f"{where}: must be a share from 0 to 1, got {value!r}")
    return value
