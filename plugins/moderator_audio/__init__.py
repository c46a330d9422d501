"""Audio embedder: log-mel features and a small network trained here, or any speech encoder."""

from __future__ import annotations

from collections.abc import Iterable

from moderator.hookspecs import hookimpl
from moderator.plugin import Embedder
from moderator_audio.embedder import LogMelAudio


@hookimpl
def register_embedders() -> Iterable[type[Embedder]]:
    return [LogMelAudio]
