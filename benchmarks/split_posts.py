"""Harm that only the whole post shows: a sentence torn in two, a caption and words written in a picture.

    .venv/bin/python benchmarks/split_posts.py FILE … --label toxicity [--source NAME …] [--count 150]

FILES are labelled texts (as for ``moderator evaluate``) that the model was not trained on. As many harmful as
harmless ones of 8 to 40 words are taken. Three ways to score each: the post as it is, the higher of its two
parts judged one by one (what a moderator with a model for each modality can do), and the sentence as one text
(the most that could be reached).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from text_in_pictures import picture

from moderator import Moderator
from moderator.taxonomy import DEFAULT
from moderator.train.examples import Example, read_text
from moderator.train.intervals import interval
from moderator.train.metrics import auroc


def halves(text: str) -> tuple[str, str]:
    words = text.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def chosen(examples: list[Example], label: str, count: int) -> list[tuple[str, bool]]:
    """As many harmful as harmless texts; the font at hand has Latin letters only."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for each in examples:
        text = str(each.item.parts[0].value)
        if label in each.labels and text.isascii() and 8 <= len(text.split()) <= 40:
            found[each.labels[label] >= 0.5].append(" ".join(text.split()))
    return [(text, harmful) for harmful, texts in found.items() for text in texts[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--label", default="toxicity", choices=DEFAULT.names)
    parser.add_argument("--source", action="append")
    parser.add_argument("--count", type=int, default=150)
    arguments = parser.parse_args()
    examples = read_text(arguments.files, labels=DEFAULT.names, only=arguments.source)
    posts = chosen(examples, arguments.label, arguments.count)
    truth = np.array([harmful for _, harmful in posts])
    if truth.all() or not truth.any():
        raise SystemExit("both harmful and harmless texts of 8 to 40 words are needed")
    scores: dict[str, list[float]] = {"the post": [], "the higher of its parts": [], "the sentence": []}
    with Moderator.load() as moderator:
        for text, _ in posts:
            first, second = halves(text)
            shown = picture(second)
            verdicts = {
                "the post": [moderator.check(text=first, image=shown)],
                "the higher of its parts": [moderator.check(text=first), moderator.check(image=shown)],
                "the sentence": [moderator.check(text=text)],
            }
            for name, given in verdicts.items():
                scores[name].append(max(verdict.scores[arguments.label] for verdict in given))
    print(f"{truth.sum()} harmful and {(~truth).sum()} harmless sentences, {arguments.label}: AUROC")
    for name, values in scores.items():
        low, high = interval(auroc, truth, np.array(values))
        print(f"{name:24} {auroc(truth, np.array(values)):.3f} ({low:.3f}-{high:.3f})")


if __name__ == "__main__":
    main()
