"""Sentences with slots, filled in: one wording about many groups teaches that the group is not the harm.

A TOML file holds ``[slots]`` (name → fillers) and ``[[templates]]`` (``kind``, ``labels``, ``texts`` with
``{name}`` where a filler goes); ``lang``, ``dataset`` and ``id`` hold for all of them. In the manner of
HateCheck's templates (Röttger et al. 2021).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moderator.errors import TrainingError

_SLOT = re.compile(r"\{([^{}]*)\}")
_FILLINGS = 8
"""Of each text, at most; a text without slots is there once."""


def filled(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as in a JSONL file of labelled texts, and ``group``, the text unfilled. Which fillers a text gets
    depends on the text alone. Raises ``TrainingError`` naming what is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        slots = {str(name): [str(each) for each in fillers] for name, fillers in table["slots"].items()}
        number = 0
        for template in table["templates"]:
            for text in template["texts"]:
                for filling in _fillings(text, slots):
                    number += 1
                    yield {
                        "id": f"{table['id']}-{number:05d}",
                        "dataset": table["dataset"],
                        "lang": table["lang"],
                        "text": filling,
                        "labels": template["labels"],
                        "kind": template["kind"],
                        "group": text,
                        "lic": "CC0-1.0",
                    }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read as TOML: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path}: not a file of sentences with slots: {error!r}") from error


def _fillings(text: str, slots: dict[str, list[str]]) -> Iterator[str]:
    names = list(dict.fromkeys(_SLOT.findall(text)))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    orders = {name: rng.permutation(len(slots[name])) for name in names}
    count = min((_FILLINGS, *map(len, orders.values()))) if names else 1
    for number in range(count):
        chosen = {name: slots[name][order[number]] for name, order in orders.items()}
        made = _SLOT.sub(lambda match, chosen=chosen: chosen[match[1]], text)  # type: ignore[misc]
        yield made[:1].upper() + made[1:] if text[:1] == "{" else made
