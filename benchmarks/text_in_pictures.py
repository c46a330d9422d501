"""Does a text get the same action as a picture of it? Authored English texts, rendered plainly.

    .venv/bin/python benchmarks/text_in_pictures.py [--count 100]

Of ``count`` texts that are flagged and as many that are allowed, how many keep their action when the post is
a picture of the text and nothing else. The model may have trained on the texts: what is measured is reading.
Clean black on white: photographs and decorated letters are read worse.
"""

from __future__ import annotations

import argparse
import json
import random
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from moderator import Moderator
from moderator.types import Action

AUTHORED = Path(__file__).parents[1] / "data" / "authored"


def texts() -> list[str]:
    rows = [
        json.loads(line)
        for label in ("harassment", "spam", "violence", "illicit")
        for line in (AUTHORED / f"{label}.en.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    # the font at hand has Latin letters only
    found = [row["text"] for row in rows if row["text"].isascii() and 20 < len(row["text"]) < 220]
    random.Random(5).shuffle(found)
    return found


def picture(text: str) -> Image.Image:
    lines = textwrap.wrap(text, 46)
    image = Image.new("RGB", (760, 30 + 38 * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((15, 12 + 38 * number), line, fill="black", font=ImageFont.load_default(26))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    count = parser.parse_args().count
    groups: dict[str, list[tuple[str, Action]]] = {"flagged": [], "allowed": []}
    with Moderator.load() as moderator:
        for text in texts():
            action = moderator.check(text=text).action
            group = groups["allowed" if action is Action.ALLOW else "flagged"]
            if len(group) < count:
                group.append((text, action))
        for name, group in groups.items():
            same = sum(moderator.check(image=picture(text)).action is action for text, action in group)
            print(f"{name} as text: {same} of {len(group)} get the same action as a picture")


if __name__ == "__main__":
    main()
