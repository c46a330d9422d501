"""Where the time of a training goes: a few steps of each stage, watched by PyTorch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

_WAIT, _WARM, _WATCHED = 2, 1, 8
"""Steps passed over, steps that warm the profiler up, steps that are recorded."""
_ROWS = 25

_folder: ContextVar[Path | None] = ContextVar("profile", default=None)


@contextmanager
def profiling(folder: Path | None) -> Iterator[None]:
    """Within it each stage leaves ``<stage>.txt``, a table of operations, and ``<stage>.json``, a trace for
    chrome://tracing or Perfetto, in ``folder``. None: nothing is watched."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


@contextmanager
def stage(name: str) -> Iterator[Callable[[], None]]:
    """Gives what is to be called after each step of a stage. A stage is watched once."""
    folder = _folder.get()
    if folder is None or (folder / f"{name}.txt").exists():
        yield lambda: None
        return

    def written(made: profile) -> None:
        made.export_chrome_trace(str(folder / f"{name}.json"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = made.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=_ROWS)
        (folder / f"{name}.txt").write_text(f"{_WATCHED} steps of {name}\n{table}\n", encoding="utf-8")

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(
        activities=activities,
        schedule=schedule(wait=_WAIT, warmup=_WARM, active=_WATCHED, repeat=1),
        on_trace_ready=written,
    ) as running:
        yield running.step
