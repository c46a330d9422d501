"""Sentences with slots: filled the same way every time, split by their wording."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderator.errors import TrainingError
from moderator.train.examples import read_text

FILE = """
lang = "en"
dataset = "mine"
id = "m"
[slots]
groups = ["ants", "bees", "cats", "dogs", "elks", "foxes", "goats", "hens", "ibises", "jays"]
things = ["tea", "rain"]
[[templates]]
kind = "liking"
labels = { hate = 0 }
texts = ["{groups} like {things}, said the {groups}.", "i like {groups}", "Nothing to fill."]
[[templates]]
kind = "disliking"
labels = { hate = 1, toxicity = 1 }
texts = ["no {groups} here"]
"""


def test_texts_are_filled_and_split_together(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE, encoding="utf-8")
    made = read_text([path], labels=("hate", "toxicity"), valid_share=0.5)
    again = read_text([path], labels=("hate", "toxicity"), valid_share=0.5)
    texts = [str(each.item.parts[0].value) for each in made]
    assert texts == [str(each.item.parts[0].value) for each in again]
    assert len(texts) == len(set(texts)) == 2 + 8 + 1 + 8  # no more than the smallest slot has, or eight
    assert not any("{" in text for text in texts)
    said = next(text for text in texts if "said the" in text)
    first = said.split()[0].lower()
    assert said[0].isupper() and said.endswith(f"said the {first}.")
    assert {each.dataset for each in made} == {"mine"} and {each.lang for each in made} == {"en"}
    for group in {each.group for each in made}:
        assert len({each.split for each in made if each.group == group}) == 1
    assert {tuple(each.labels.items()) for each in made if "here" in str(each.item.parts[0].value)} == {
        (("hate", 1.0), ("toxicity", 1.0))
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{things}", "{thing}"), "KeyError\\('thing'\\)"),
        (("[slots]", "[slot]"), "KeyError\\('slots'\\)"),
        (("lang =", "lang"), "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE.replace(*change), encoding="utf-8")
    with pytest.raises(TrainingError, match=said):
        read_text([path], labels=("hate",))
