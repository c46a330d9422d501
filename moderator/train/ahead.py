"""The next batch is made while a GPU computes: making one takes as long as a step there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(made: Iterable[T], device: str) -> Iterator[T]:
    """The items of ``made`` in order, each made in a thread of its own while the one before is used. On a CPU
    they are made when they are asked for: threads would only get in each other's way."""
    if device == "cpu":
        yield from made
        return
    source = iter(made)
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, source, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, source, _END)
            yield item  # type: ignore[misc]
