"""How long ``moderator --help`` takes, against ``python -c "import click"``: at most 2.5 times as long.

python benchmarks/help_speed.py [ROUNDS]    exits with 1 beyond the limit
"""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT = 2.5


def seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(rounds: int) -> int:
    # interleaved, best of all rounds: another process on the machine slows both alike
    click, ours = [], []
    for _ in range(rounds):
        click.append(seconds("-c", "import click"))
        ours.append(seconds("-m", "moderator", "--help"))
    ratio = min(ours) / min(click)
    print(f"import click     {min(click) * 1000:6.1f} ms")
    print(f"moderator --help {min(ours) * 1000:6.1f} ms   {ratio:.2f} times (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
