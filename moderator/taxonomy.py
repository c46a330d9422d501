"""The harm labels, versioned. New labels need a new version here and training, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """One harm label: ``name`` as it appears in scores and policies, ``description`` for people."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """An ordered set of labels. The order is the order of a checkpoint's label queries."""

    version: str
    labels: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)


DEFAULT = Taxonomy(
    version="1",
    labels=(
        Label("toxicity", "rude, disrespectful or unreasonable enough to make people leave"),
        Label("profanity", "swear words and obscene language, whoever they are aimed at"),
        Label("harassment", "insults, bullying or threats aimed at a person"),
        Label("hate", "attacks on people for a protected attribute"),
        Label("violence", "threats, praise or depiction of physical harm"),
        Label("sexual", "sexual acts, solicitation or nudity"),
        Label("self_harm", "suicide, self-injury or eating disorders, intent or encouragement"),
        Label("illicit", "help with crime, drugs, weapons or fraud"),
        Label("spam", "unsolicited advertising, scams and repeated bulk content"),
    ),
)
