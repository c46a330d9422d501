"""Does a text get the same action as a picture of it? Authored texts, English and Chinese.

    .venv/bin/python benchmarks/text_in_pictures.py [--model DIR] [--count 100] [--lang en] [--photographs D]

Of ``count`` texts of each language that are flagged and as many that are allowed, how many keep their action
when the post is a picture of the text and nothing else. Pictures are drawn as in training (fonts, colours,
noise, JPEG; photographs behind the words where a folder of them is given), with another seed. The model may
have trained on the texts: what is measured is reading.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from PIL import Image

from moderator import Moderator
from moderator.pipeline.models import model_directory
from moderator.train.config import read_config
from moderator.train.writing import draw, fonts_of
from moderator.types import Action

AUTHORED = Path(__file__).parents[1] / "data" / "authored"
SEED = 11


def texts(lang: str) -> list[str]:
    rows = [
        json.loads(line)
        for label in ("harassment", "spam", "violence", "illicit")
        for line in (AUTHORED / f"{label}.{lang}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    # the fonts have no emoji
    shown = [row["text"] for row in rows if all(ord(sign) < 0x10000 for sign in row["text"])]
    found = [text for text in shown if (20 < len(text) < 220 if lang == "en" else 8 < len(text) < 110)]
    random.Random(5).shuffle(found)
    return found


def picture(text: str, lang: str = "en", photographs: list[Path] | None = None) -> Image.Image:
    config = read_config(model_directory("default") / "train.toml")
    fonts = fonts_of(config.reading.fonts)[lang]
    return Image.fromarray(draw(text, fonts, photographs or [], SEED))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--lang", choices=("en", "zh"), action="append")
    parser.add_argument("--photographs", type=Path)
    arguments = parser.parse_args()
    behind = sorted(arguments.photographs.rglob("*.jpg")) if arguments.photographs else []
    with Moderator.load(model=arguments.model) as moderator:
        for lang in arguments.lang or ("en", "zh"):
            groups: dict[str, list[tuple[str, Action]]] = {"flagged": [], "allowed": []}
            for text in texts(lang):
                action = moderator.check(text=text).action
                group = groups["allowed" if action is Action.ALLOW else "flagged"]
                if len(group) < arguments.count:
                    group.append((text, action))
                if all(len(group) == arguments.count for group in groups.values()):
                    break
            for name, group in groups.items():
                seen = [moderator.check(image=picture(text, lang, behind)).action for text, _ in group]
                same = sum(action is then for action, (_, then) in zip(seen, group, strict=True))
                let = sum(action is Action.ALLOW for action in seen)
                print(
                    f"{lang} {name}: {same} of {len(group)} get the same action as a picture, {let} allowed"
                )


if __name__ == "__main__":
    main()
