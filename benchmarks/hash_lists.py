"""How long known pictures take to be found: hashing one, and comparing it with lists of several lengths.

    .venv/bin/python benchmarks/hash_lists.py [--pictures 20] [--side 1024]

Lists are random hashes; matching takes as long whatever they say, unless very many of them match. Needs the
extra ``hashes``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pdqhash
from numpy.typing import NDArray

from moderator_hashes.detector import pdq_hashes
from moderator_hashes.lists import HASH_BYTES
from moderator_hashes.matching import Matcher

SIZES = (1_000, 100_000, 1_000_000)
DISTANCE = 31


def milliseconds(act: Callable[[NDArray[np.uint8]], object], things: list[NDArray[np.uint8]]) -> float:
    """The median over ``things``."""
    taken = []
    for thing in things:
        start = time.perf_counter()
        act(thing)
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--side", type=int, default=1024, help="the longer side, in pixels")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (arguments.side * 3 // 4, arguments.side, 3)
    pictures = [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(arguments.pictures)]
    queries = [pdq_hashes(pdqhash, pixels)[0] for pixels in pictures]
    hashing = milliseconds(lambda pixels: pdq_hashes(pdqhash, pixels), pictures)
    print(f"hashing a picture of {shape[1]} x {shape[0]}: {hashing:.1f} ms")
    print("list          ms of matching   pictures/s, hashing included")
    for size in SIZES:
        matcher = Matcher(rng.integers(0, 256, (size, HASH_BYTES), dtype=np.uint8))
        matching = milliseconds(partial(matcher.within, distance=DISTANCE), queries)
        print(f"{size:>9,}   {matching:>16.2f}   {1000 / (hashing + matching):>28.1f}")


if __name__ == "__main__":
    main()
