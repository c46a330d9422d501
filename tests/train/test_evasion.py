"""Evasive spellings: drawn by a seed, of training rows only, in one fold with what they spell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moderator.errors import TrainingError
from moderator.media.text import normalise
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.crossfit import _fold
from moderator.train.evasion import EVASIONS
from moderator.train.folders import DataFolders
from moderator.train.material import gather_texts

ENGLISH = "You are a stupid idiot and nobody in this town likes you"
CHINESE = "你就是一个大傻瓜没有人喜欢你快滚开吧"
CONFIG = """
[text]
files = ["rows.jsonl"]
evasion = {share}
valid_share = 0.3
[fusion]
embedders = ["text-lexical"]
"""


@pytest.mark.parametrize("name", EVASIONS)
def test_each_changes_its_script_and_is_drawn_by_the_seed(name: str) -> None:
    text = CHINESE if name == "homophones" else ENGLISH
    made = EVASIONS[name](text, np.random.default_rng(1))
    assert made == EVASIONS[name](text, np.random.default_rng(1))
    assert made != text
    assert any(EVASIONS[name](text, np.random.default_rng(seed)) != made for seed in range(2, 6))


@pytest.mark.parametrize("name", ["zero_width", "lookalikes"])
def test_normalisation_undoes_what_it_can_for_certain(name: str) -> None:
    made = EVASIONS[name](ENGLISH, np.random.default_rng(3))
    assert normalise(made).text == ENGLISH


def test_homophones_sound_alike() -> None:
    from pypinyin import lazy_pinyin

    made = EVASIONS["homophones"](CHINESE, np.random.default_rng(2))
    assert "".join(lazy_pinyin(made)) == "".join(lazy_pinyin(CHINESE))


def folder_with(tmp_path: Path, share: float) -> Path:
    rows = [
        {"dataset": "forum", "lang": "en", "text": f"{ENGLISH} {number}", "labels": {"toxicity": number % 2}}
        for number in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.format(share=share), encoding="utf-8")
    return config


def test_a_share_of_the_training_rows_is_there_twice(tmp_path: Path) -> None:
    plain, both = (
        gather_texts(read_config(folder_with(tmp_path, share)), DataFolders((tmp_path,)), DEFAULT)
        for share in (0.0, 0.5)
    )
    kept, before = ([str(each.item.parts[0].value) for each in rows] for rows in (both, plain))
    assert kept[: len(plain)] == before
    added = both[len(plain) :]
    assert 40 <= len(added) <= 100
    originals = {str(each.item.parts[0].value): each for each in plain}
    for copy in added:
        original = originals[copy.group]
        assert copy.split == original.split == "train"
        assert copy.labels == original.labels
        assert copy.item.parts[0].value != original.item.parts[0].value
        assert _fold(copy) == _fold(original)


def test_a_share_is_between_none_and_all(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"text\.evasion must be from 0 to 1, got 1\.5"):
        read_config(folder_with(tmp_path, 1.5))
