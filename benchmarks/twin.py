"""Trains the shipped model's twin, which has whole sources left out, to measure on them.

    .venv/bin/python benchmarks/twin.py --data DATA --data data --out TWIN
    .venv/bin/python benchmarks/left_out_sources.py --twin --model TWIN --data DATA --data data [--also FILE]

The recipe is that of the shipped model, for texts alone. Left out are all sources of ``LEFT_OUT`` at once,
which is harder than one at a time: English and Chinese hate, Chinese insults, text-message spam, prompts in
Chinese, and two whole registers of the authored texts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from moderator.pipeline.models import model_directory
from moderator.settings import Settings
from moderator.train.config import AudioData, ImageData, TrainConfig, read_config
from moderator.train.reading import Reading
from moderator.train.run import Paths, train

V = TypeVar("V")
LEFT_OUT = (
    *("hatexplain_partial", "gab_hate_ghc", "swsr", "cold", "sms_spam_uci"),
    *("jade_questions", "jade_alignment", "jade_t2i", "authored_chat", "authored_story"),
)


def twin_of(config: TrainConfig) -> TrainConfig:
    text = config.text

    def without(table: Mapping[str, V]) -> dict[str, V]:
        return {name: value for name, value in table.items() if name not in LEFT_OUT}

    return replace(
        config,
        text=replace(
            text,
            leave_out=LEFT_OUT,
            caps=without(text.caps),
            assume_negative=without(text.assume_negative),
        ),
        image=ImageData(),
        audio=AudioData(),
        reading=Reading(),
        embedders={},
        fusion=replace(
            config.fusion,
            embedders=tuple(name for name in config.fusion.embedders if name.startswith("text-")),
            not_alone=(),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = twin_of(read_config(model_directory("default") / "train.toml"))
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started:7.0f} s] {line}", flush=True)

    train(config, Paths(arguments.data, arguments.out, arguments.out / "work"), Settings(), report)


if __name__ == "__main__":
    main()
