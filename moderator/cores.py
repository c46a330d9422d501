"""Batches of tensor work on a CPU, each on a core of its own.

All cores sharing one batch wait for each other after every small operation; with a batch each they do not.
A batch is computed by one thread then, so results do not depend on the number of cores either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Cores:
    """Runs batches on ``device``: one core each on a CPU, one after the other elsewhere. As many cores as
    ``torch.get_num_threads()`` says when it is first used."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._pool: ThreadPoolExecutor | None = None

    def map(self, run: Callable[[T], R], batches: Sequence[T]) -> Iterable[R]:
        """``run`` on each of ``batches``; results in order. Put the longest first: no core then waits for
        one at the end."""
        import torch

        if self._device != "cpu":
            return map(run, batches)
        if self._pool is None:
            # the number of threads is a setting of the calling thread: that of others stays as it is
            self._pool = ThreadPoolExecutor(
                torch.get_num_threads(), "core", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self._pool.map(run, batches)
