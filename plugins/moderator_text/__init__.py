"""Text embedders: a transformers encoder (MiniLM by default) and hashed character n-grams."""

from __future__ import annotations

from collections.abc import Iterable

from moderator.hookspecs import hookimpl
from moderator.plugin import Embedder
from moderator_text.encoder import TransformerText
from moderator_text.lexical import LexicalText


@hookimpl
def register_embedders() -> Iterable[type[Embedder]]:
    return [TransformerText, LexicalText]
