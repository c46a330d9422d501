"""The model card is that of the weights beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from moderator.pipeline.models import model_directory
from moderator.train.config import read_config

ROOT = Path(__file__).parents[1]
FOLDER = model_directory("default")
CARD = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_its_files_and_digests_are_those_that_ship() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("model_card", ROOT / "benchmarks" / "model_card.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    assert module.files_table() in CARD, "run benchmarks/model_card.py and look at what changed"
    assert CARD.count(module.BEGIN) == CARD.count(module.END) == 1


def test_every_source_it_was_trained_on_is_named() -> None:
    config = read_config(FOLDER / "train.toml")
    text = {*config.text.leave_out, *config.text.validation}
    named = {*text, *config.image.datasets, *config.audio.backgrounds}
    missing = sorted(name for name in named if name not in CARD)
    assert missing == []
    for word in ("authored", "CC0", "MIT", "Apache-2.0", "CC-BY", "must not"):
        assert word in CARD, word
