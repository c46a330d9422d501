"""Writes the texts the shipped policies' thresholds are derived from, as JSONL for `moderator calibrate`.

    .venv/bin/python benchmarks/calibration_texts.py --data DATA --data data --out calibration.jsonl
    .venv/bin/moderator calibrate calibration.jsonl --policy default --review 0.8 --out default.yaml

Texts the model was not trained on: held-out rows of its sources, and sources its configuration leaves out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from moderator.pipeline.models import model_directory
from moderator.taxonomy import DEFAULT
from moderator.train.config import read_config
from moderator.train.examples import at_most, read_text
from moderator.train.folders import DataFolders
from moderator.train.material import gather_texts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--own", type=int, default=400, help="held-out rows of each source at most")
    parser.add_argument("--other", type=int, default=1000, help="rows of each source left out at most")
    arguments = parser.parse_args()
    config = read_config(model_directory("default") / "train.toml")
    data = DataFolders(tuple(arguments.data))
    own = [each for each in gather_texts(config, data, DEFAULT) if each.split == "valid"]
    other = read_text(
        data.files(config.text.files),
        labels=DEFAULT.names,
        only=config.text.leave_out,
        max_per_source=arguments.other,
    )
    chosen = at_most(own, arguments.own) + other
    with arguments.out.open("w", encoding="utf-8") as file:
        for each in chosen:
            row = {
                "id": each.item.id,
                "dataset": each.dataset,
                "lang": each.lang,
                "text": each.item.parts[0].value,
                "labels": dict(each.labels),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(chosen)} texts of {len({each.dataset for each in chosen})} sources")


if __name__ == "__main__":
    main()
