"""Memory of a long scan: resident size after every batch must not grow with the number of lines.

.venv/bin/python benchmarks/scan_memory.py [--lines 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scan_speed import WORDS

from moderator.pipeline.moderator import Moderator
from moderator.scan.runner import Summary, run_scan
from moderator.sources import VerdictWriter, open_sources
from moderator.store import Store


def resident_mib() -> float:
    """Resident set of this process, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    arguments = parser.parse_args()
    sizes: list[tuple[int, float]] = []
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, Moderator.load(device="cpu") as moderator:
        path = Path(folder) / "posts.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number in range(arguments.lines):
                text = " ".join(rng.choices(WORDS, k=6))
                file.write(json.dumps({"id": str(number), "text": text}) + "\n")

        def watch(summary: Summary, _batch: Sequence[Any]) -> None:
            sizes.append((summary.items, resident_mib()))

        with (
            Store.open(f"sqlite:///{folder}/scan.db") as store,
            VerdictWriter(Path(folder) / "verdicts.jsonl") as writer,
        ):
            summary = run_scan(moderator, open_sources([path]), store, writer=writer, watch=watch)
    for share in (0.02, 0.1, 0.25, 0.5, 0.75, 1.0):
        items, size = sizes[min(len(sizes) - 1, int(share * len(sizes)))]
        print(f"after {items:>7} items: {size:8.1f} MiB")
    settled = [size for items, size in sizes if items >= arguments.lines * 0.1]
    print(f"{summary.items} items, {summary.rate:.0f} items/s; growth after the first tenth: ", end="")
    print(f"{settled[-1] - settled[0]:+.1f} MiB")


if __name__ == "__main__":
    main()
