"""From the contents of an item to the inputs of the fusion model.

A post of one text and one picture is one view. A long text is several contents (windows), so it is
several views, each with one window and the pictures beside it; an item's score is the highest of its
views, so that harm at the end of a long text weighs as much as at its start. What was read out of a part is
a view by itself: the words in a picture must not change what is seen in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from moderator.fusion.collate import View
from moderator.media.language import language_of
from moderator.types import Content, Embedding, Modality, Source


@dataclass(frozen=True, slots=True, eq=False)
class ItemView:
    """A view, and the contents it was made of (for saying where a score came from)."""

    view: View
    contents: tuple[Content, ...]


def views_of(
    contents: Sequence[Content],
    embeddings: Sequence[Mapping[str, Embedding]],
    sources: Collection[Source] = (Source.NATIVE,),
) -> list[ItemView]:
    """The views of one item. ``embeddings[i]``: embedder name → embedding of ``contents[i]``. Content from
    anywhere but ``sources`` is taken as native: the model has not seen it named otherwise.

    Contents without any embedding are left out. The number of views is that of the modality with the
    most contents; the others take turns, so that every content is in at least one view.
    """
    by_modality: dict[Modality, list[int]] = {}
    read: list[int] = []
    for index, (content, given) in enumerate(zip(contents, embeddings, strict=True)):
        if given and content.source.is_read:
            read.append(index)
        elif given:
            by_modality.setdefault(content.modality, []).append(index)
    count = max((len(indices) for indices in by_modality.values()), default=0)
    views = []
    turns = [[indices[turn % len(indices)] for indices in by_modality.values()] for turn in range(count)]
    for chosen in (*turns, *([index] for index in read)):
        tokens = {name: each.tokens for index in chosen for name, each in embeddings[index].items()}
        origins = {
            name: contents[index].source
            for index in chosen
            for name in embeddings[index]
            if contents[index].source in sources
        }
        texts = [contents[index] for index in chosen if contents[index].modality is Modality.TEXT]
        language = language_of(str(texts[0].data)) if texts else ""
        views.append(ItemView(View(tokens, origins, language), tuple(contents[index] for index in chosen)))
    return views
