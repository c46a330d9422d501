"""Several processes that train one model: each has batches of its own, gradients are averaged after each.

``accelerate launch`` and ``torchrun`` start them and tell each its place in the environment. Without them
there is one process, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

from moderator import gpu

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""How long processes wait for the first one, which does alone what needs to be done once."""


def place() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def best_device() -> str:
    """Where to train: the GPU of this process (see ``together``), if there is one."""
    if not torch.cuda.is_available():
        return "cpu"
    gpu.prepare()
    return "cuda"


@contextmanager
def together() -> Iterator[None]:
    """Within it the processes know each other. Each uses the GPU of its number on its machine, if any."""
    if count() == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    try:
        yield
        distributed.barrier()  # one that leaves while another still listens may abort
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does the block, then all others: they find its files there."""
    if count() > 1 and place() > 0:
        distributed.barrier()
    yield
    if count() > 1 and place() == 0:
        distributed.barrier()


def share_of(batches: Sequence[T]) -> Sequence[T]:
    """This process's part of batches that all have drawn alike, as many for each."""
    whole = len(batches) - len(batches) % count()
    return batches[place() : whole : count()]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            distributed.all_reduce(gradient)
            parameter.grad = gradient / count()
