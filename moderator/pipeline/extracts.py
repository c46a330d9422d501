"""What extractors read out of other parts, made ready to be judged like the post's own texts.

Each extract is judged by itself. Where a post has a text of its own, what was read is also judged together
with it, as one text: a harmless caption and a harmless picture of words may mean harm side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from moderator.media.text import normalise
from moderator.media.windows import windows
from moderator.settings import Limits
from moderator.types import Content, Modality, Source


def prepared(extract: Content, origin: Content, limits: Limits) -> Iterator[Content]:
    """An extract as bounded contents that name the part and the place of ``origin``."""
    if extract.modality is not Modality.TEXT:
        yield replace(extract, part=origin.part, span=origin.span)
        return
    text = str(extract.data)
    for start, end in windows(text, limits).spans:
        plain = normalise(text[start:end])
        if plain.text.strip():
            yield replace(
                extract,
                data=text[start:end],
                normalised=plain.text,
                offsets=plain.offsets,
                part=origin.part,
                span=origin.span,
            )


def joined(contents: Sequence[Content], limits: Limits) -> Content | None:
    """The post's own text and everything read out of its other parts as one text; None where one of the two
    is missing or they do not fit into one window."""
    texts = [each for each in contents if each.modality is Modality.TEXT]
    own = [each for each in texts if each.source is Source.NATIVE]
    read = list({str(each.data): each for each in texts if each.source is not Source.NATIVE}.values())
    if not own or not read:
        return None
    text = "\n".join(str(each.data) for each in (*own, *read))
    if len(text) > limits.text_window:
        return None
    plain = normalise(text)
    return Content(Modality.TEXT, text, plain.text, plain.offsets, source=read[0].source, part=read[0].part)
