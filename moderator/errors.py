"""Every error the toolkit raises on purpose. Each message names the thing, the value and the way out."""

from __future__ import annotations


class ModeratorError(Exception):
    """Base of all errors raised on purpose; its text is meant for the person at the keyboard."""


class SettingsError(ModeratorError):
    """A setting is unknown, malformed or out of range."""


class PolicyError(ModeratorError):
    """A policy cannot be loaded. ``problems`` holds one ``file:line: message`` per finding, without a line
    where there is no file."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class PluginError(ModeratorError):
    """A plugin breaks its contract or cannot be used."""


class WeightsError(ModeratorError):
    """Weights are missing, or their digest is not the one pinned."""


class CheckpointError(ModeratorError):
    """A fusion checkpoint does not fit this software, taxonomy or these embedders."""


class MediaError(ModeratorError):
    """A part of an item cannot be judged as it is: missing, empty, oversized or undecodable."""


class SourceError(ModeratorError):
    """An input (file, directory, database) cannot be opened at all, or an output cannot be written."""


class StoreError(ModeratorError):
    """The database cannot be reached, is of another version, or refused a write."""


class QueueError(ModeratorError):
    """A review task cannot take the requested act."""


class RestrictedQueueError(QueueError):
    """The task is in a queue that takes another role."""


class TrainingError(ModeratorError):
    """A training run cannot start or go on: data or configuration do not fit."""


class AuditError(ModeratorError):
    """The log, a proof or a checkpoint is not what it should be, or cannot be read."""
