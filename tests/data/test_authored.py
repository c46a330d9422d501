"""The authored data is what its README says: balanced, varied, without copies; test cases stay held out."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderator.taxonomy import DEFAULT

ROOT = Path(__file__).parents[2]
AUTHORED = ROOT / "data" / "authored"
LABELS = ("harassment", "hate", "violence", "sexual", "self_harm", "illicit", "spam")
REGISTERS = {"post", "chat", "comment", "prompt", "story", "advert", "caption", "article"}
FEWEST = 400
"""Of each label, language and side."""
ALIKE = 0.5
"""Shared character 5-grams (Jaccard) from which two texts count as copies of each other."""


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files() -> list[tuple[str, str]]:
    return [(label, lang) for label in LABELS for lang in ("en", "zh")]


def every_row() -> Iterator[dict[str, Any]]:
    for path in sorted(AUTHORED.rglob("*.jsonl")):
        yield from rows_of(path)


def whole_text(row: dict[str, Any]) -> str:
    """Of a post with words in a picture both."""
    return "\n".join(filter(None, (row["text"], row.get("picture_text"))))


@pytest.mark.parametrize(("label", "lang"), files())
def test_each_file_is_balanced_and_varied(label: str, lang: str) -> None:
    rows = rows_of(AUTHORED / f"{label}.{lang}.jsonl")
    sides = Counter(row["labels"].get(label) for row in rows)
    assert min(sides[0], sides[1]) >= FEWEST
    assert max(sides[0], sides[1]) <= 1.5 * min(sides[0], sides[1])
    registers = Counter(row["dataset"].removeprefix("authored_") for row in rows)
    assert set(registers) == REGISTERS
    assert min(registers.values()) >= 0.04 * len(rows)
    sizes = sorted(len(row["text"]) if lang == "zh" else len(row["text"].split()) for row in rows)
    assert sizes[len(sizes) // 10] <= 20 and sizes[-len(sizes) // 10] >= 30 and sizes[-1] <= 450


def test_every_row_is_complete() -> None:
    for row in every_row():
        assert row["text"].strip() == row["text"] != ""
        assert set(row["labels"]) <= set(DEFAULT.names) and row["labels"], row["id"]
        assert set(row["labels"].values()) <= {0, 1}, row["id"]
        assert row["lang"] in ("en", "zh") and row["lic"] == "CC0-1.0", row["id"]
        chinese = re.search("[\u4e00-\u9fff]", row["text"]) is not None
        assert chinese or row["lang"] == "en", row["id"]


def test_no_id_twice_and_no_text_like_another() -> None:
    rows = list(every_row())
    assert max(Counter(row["id"] for row in rows).values()) == 1
    seen: list[set[str]] = []
    holders: dict[str, list[int]] = defaultdict(list)
    alike = []
    for number, row in enumerate(rows):
        text = " ".join(whole_text(row).lower().split())
        grams = {text[at : at + 5] for at in range(max(1, len(text) - 4))}
        shared = Counter(other for gram in grams for other in holders[gram])
        for other, count in shared.most_common(1):
            paired = {row["text"], row.get("picture_text", "")} & {
                *(rows[other]["text"], rows[other].get("picture_text", ""))
            }
            # of a minimal pair one part is the same on purpose
            paired = paired if "picture_text" in row and "picture_text" in rows[other] else set()
            if not paired and count / len(grams | seen[other]) > ALIKE:
                alike.append((rows[other]["id"], row["id"]))
        for gram in grams:
            holders[gram].append(number)
        seen.append(grams)
    assert alike == []


def slots(name: str) -> dict[str, Any]:
    return tomllib.loads((AUTHORED / "slots" / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("folder", "fewest"), [("joint", 350), ("functional", 100)])
def test_posts_of_two_parts_are_pairs_that_only_differ_in_one(folder: str, lang: str, fewest: int) -> None:
    name = f"joint.{lang}.jsonl" if folder == "functional" else f"{lang}.jsonl"
    rows = rows_of(AUTHORED / folder / name)
    harmful = [row for row in rows if any(row["labels"].values())]
    assert len(rows) >= fewest and 0.4 <= len(harmful) / len(rows) <= 0.6
    harmless = [row for row in rows if not any(row["labels"].values())]
    shared = {row["text"] for row in harmful} & {row["text"] for row in harmless}
    shared |= {row["picture_text"] for row in harmful} & {row["picture_text"] for row in harmless}
    assert len(shared) >= 0.25 * len(rows)
    assert len({whole_text(row) for row in rows}) == len(rows)


def test_posts_held_out_share_no_part_with_those_trained_on() -> None:
    parts: list[set[str]] = []
    for pattern in ("joint/*.jsonl", "functional/joint.*.jsonl"):
        rows = [row for path in AUTHORED.glob(pattern) for row in rows_of(path)]
        parts.append({" ".join(row[key].lower().split()) for row in rows for key in ("text", "picture_text")})
    assert not {each for each in parts[0] & parts[1] if len(each) > 12}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["hate", "hate_more"])
def test_sentences_with_slots_on_hate_are_balanced(name: str, lang: str) -> None:
    table = slots(f"{name}.{lang}")
    sides = Counter[int]()
    for template in table["templates"]:
        sides[template["labels"]["hate"]] += len(template["texts"])
        assert set(template["labels"]) <= set(DEFAULT.names)
    assert min(sides.values()) >= 200 and max(sides.values()) <= 1.5 * min(sides.values())
    assert len(table["slots"]["groups"]) >= 45 and len(table["templates"]) >= 40


def test_sentences_with_slots_use_all_slots_and_are_there_once() -> None:
    seen = Counter[str]()
    for path in sorted((AUTHORED / "slots").glob("*.toml")):
        table = slots(path.stem)
        texts = [text for template in table["templates"] for text in template["texts"]]
        seen.update(texts)
        used = {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}
        assert used == set(table["slots"]), path.name
        if path.stem.startswith("plain"):
            labels = {(name, value) for each in table["templates"] for name, value in each["labels"].items()}
            assert labels == {(name, 0) for name in DEFAULT.names}
    assert max(seen.values()) == 1
    held_out = {
        row["text"]
        for lang in ("en", "zh")
        for row in rows_of(AUTHORED / "functional" / f"hate.{lang}.jsonl")
    }
    assert not held_out & set(seen)


def test_functional_cases_are_balanced_and_never_trained_on() -> None:
    for lang in ("en", "zh"):
        rows = rows_of(AUTHORED / "functional" / f"hate.{lang}.jsonl")
        share = sum(row["labels"]["hate"] for row in rows) / len(rows)
        assert len(rows) >= 300 and 0.4 <= share <= 0.6
        cases = Counter(row["functionality"] for row in rows)
        assert len(cases) >= 20 and min(cases.values()) >= 10
        assert all(row["target"] for row in rows)
    config = tomllib.loads((ROOT / "moderator/models/default/train.toml").read_text(encoding="utf-8"))
    assert not any("functional" in file or "**" in file for file in config["text"]["files"])
