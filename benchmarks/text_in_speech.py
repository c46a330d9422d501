"""Does a text get the same action as its words spoken? English texts, said by espeak-ng.

    .venv/bin/python benchmarks/text_in_speech.py [FILE.jsonl …] [--count 50] [--model FOLDER|REPOSITORY]

Of ``count`` texts that are flagged and as many that are allowed, how many keep their action when the post is
a sound of the text and nothing else; and how many of the words are read as they were said. Lines of a file
have a ``text``; without a file they are the authored ones, which the model may have trained on: what is
measured is listening. Without ``--model``, PocketSphinx listens. A synthetic voice without any noise is not
what people sound like: figures hold for it alone.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator import Moderator
from moderator.settings import load_settings
from moderator.types import Action, Content, Modality

AUTHORED = Path(__file__).parents[1] / "data" / "authored"
_HEADER = 44  # bytes before the samples in what espeak-ng writes to a pipe
RATE = 22_050


def texts(files: Sequence[Path]) -> list[str]:
    """Texts that are spoken within a window of sound."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    found = [str(json.loads(line)["text"]) for line in lines]
    found = [text for text in found if text.isascii() and 20 < len(text) < 110]
    random.Random(5).shuffle(found)
    return found


def spoken(text: str) -> NDArray[np.float32]:
    """The text said by espeak-ng at ``RATE``."""
    command = ["espeak-ng", "-v", "en-us", "-s", "150", "--stdin", "--stdout"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    samples = np.frombuffer(done.stdout[_HEADER : len(done.stdout) // 2 * 2], dtype="<i2")
    return samples.astype(np.float32) / np.float32(32768)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def errors(said: Sequence[str], read: Sequence[str]) -> int:
    """Words to change, add or leave out to make one of the other."""
    row = list(range(len(read) + 1))
    for above, word in enumerate(said):
        made = [above + 1]
        for at, other in enumerate(read):
            made.append(min(row[at + 1] + 1, made[at] + 1, row[at] + (word != other)))
        row = made
    return row[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--model", help="of transformers; its transcripts then clear a sound")
    given = parser.parse_args()
    labels = ("harassment", "spam", "violence", "illicit")
    files = given.files or [AUTHORED / f"{label}.en.jsonl" for label in labels]
    # cleared by what was read, or all that is allowed as a text would go to review as a sound
    options: dict[str, Any] = {"clears": True, **({"model": given.model} if given.model else {})}
    settings = load_settings()
    settings = replace(settings, plugins={**settings.plugins, "asr": options})
    groups: dict[str, list[tuple[str, Action]]] = {"flagged": [], "allowed": []}
    with Moderator.load(settings=settings) as moderator:
        for text in texts(files):
            action = moderator.check(text=text).action
            group = groups["allowed" if action is Action.ALLOW else "flagged"]
            if len(group) < given.count:
                group.append((text, action))
            if all(len(each) >= given.count for each in groups.values()):
                break
        wrong = total = 0
        for name, group in groups.items():
            same = passed = 0
            for text, action in group:
                samples = spoken(text)
                heard = moderator.check(audio=(samples, RATE)).action
                same += heard is action
                passed += heard is Action.ALLOW
                sound = Content(Modality.AUDIO, samples, rate=RATE)
                (extracts,) = moderator.host.extractors["asr"].extract_batch([sound])
                read = words(" ".join(str(each.data) for each in extracts))
                wrong += errors(words(text), read)
                total += len(words(text))
            print(
                f"{name} as text: {same} of {len(group)} get the same action as speech, {passed} are allowed"
            )
        print(f"by {given.model or 'PocketSphinx'}; {wrong / max(1, total):.0%} of the words are misread")


if __name__ == "__main__":
    main()
