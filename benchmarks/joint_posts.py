"""Posts whose harm only shows in the whole: a caption and the words in a picture, harmless each by itself.

    .venv/bin/python benchmarks/joint_posts.py [--model DIR] [--posts FILE …] [--fonts LANG=FILE …]

The words are drawn into pictures and read by the model's own reader. Two ways to score each post: as it is,
and by the higher of its two parts judged one by one (what a moderator with a model for each modality can do).
By label, and by the highest of the harms a post has or might have; the posts are held out from training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderator import Moderator
from moderator.pipeline.models import model_directory
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.intervals import interval
from moderator.train.metrics import auroc, average_precision
from moderator.train.reading import Post, read_posts
from moderator.train.writing import draw, fonts_of

POSTS = [
    Path(__file__).parents[1] / "data" / "authored" / "functional" / f"joint.{lang}.jsonl"
    for lang in ("en", "zh")
]
HARMS = ("harassment", "hate", "violence", "sexual", "self_harm", "illicit", "spam")
FEWEST = 4


def scored(
    moderator: Moderator, posts: list[Post], fonts: dict[str, list[Path]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str], list[str]]:
    """Scores of the posts and of the higher of their parts, ``(N, labels)`` both, and the actions of both."""
    whole, apart = np.zeros((len(posts), len(DEFAULT.names))), np.zeros((len(posts), len(DEFAULT.names)))
    actions: list[str] = []
    parts: list[str] = []
    for row, post in enumerate(posts):
        picture = Image.fromarray(draw(post.written, fonts[post.lang], seed=7))
        verdict = moderator.check(text=post.caption, image=picture)
        alone = [moderator.check(text=post.caption), moderator.check(image=picture)]
        for each in (verdict, *alone):
            if not each.scores:
                raise SystemExit(f"{post.id} could not be judged: {'; '.join(each.degraded)}")
        whole[row] = [verdict.scores[name] for name in DEFAULT.names]
        apart[row] = np.max([[each.scores[name] for name in DEFAULT.names] for each in alone], axis=0)
        actions.append(verdict.action.value)
        parts.append(max((each.action for each in alone), key=lambda action: action.severity).value)
    return whole, apart, actions, parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--posts", type=Path, action="append")
    parser.add_argument("--fonts", action="append", help="LANG=FILE; default: those of the training")
    arguments = parser.parse_args()
    named: dict[str, list[str]] = {}
    for given in arguments.fonts or ():
        lang, _, file = given.partition("=")
        named.setdefault(lang, []).append(file)
    config = read_config(model_directory("default") / "train.toml")
    fonts = fonts_of(named or config.reading.fonts)
    posts = read_posts(arguments.posts or POSTS, DEFAULT.names)
    with Moderator.load(model=arguments.model) as moderator:
        whole, apart, actions, parts = scored(moderator, posts, fonts)
    truth = np.array([[post.labels.get(name, np.nan) for name in DEFAULT.names] for post in posts])
    any_harm = np.nanmax(truth[:, [DEFAULT.names.index(name) for name in HARMS]], axis=1)
    print("label       lang  posts harmful   AUROC of the post      of its parts           AUPRC of both")
    for lang in ("all", *sorted({post.lang for post in posts})):
        here = np.array([lang in ("all", post.lang) for post in posts])
        lines = [("any harm", any_harm, whole.max(axis=1), apart.max(axis=1))]
        lines += [(name, truth[:, c], whole[:, c], apart[:, c]) for c, name in enumerate(DEFAULT.names)]
        for name, labels, ours, theirs in lines:
            at = here & ~np.isnan(labels)
            yes = labels[at] >= 0.5
            if min(yes.sum(), (~yes).sum()) < FEWEST:
                continue
            figures = [
                f"{auroc(yes, each[at]):.3f} ({low:.3f}-{high:.3f})"
                for each in (ours, theirs)
                for low, high in [interval(auroc, yes, each[at])]
            ]
            both = "/".join(f"{average_precision(yes, each[at]):.3f}" for each in (ours, theirs))
            print(f"{name:11} {lang:5} {at.sum():5} {yes.sum():7}   {'   '.join(figures)}   {both}")
    for name, harmful in (("harmful", True), ("harmless", False)):
        rows = np.flatnonzero((any_harm >= 0.5) == harmful)
        flagged = [sum(each[row] != "allow" for row in rows) for each in (actions, parts)]
        print(f"{name}: {flagged[0]} of {len(rows)} posts flagged; by the parts alone {flagged[1]}")


if __name__ == "__main__":
    main()
