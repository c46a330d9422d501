"""Logistic regression of several labels at once, with labels that are unknown for some texts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """``places`` int32 and ``values`` float32 ``(N,)`` are the features of all texts side by side,
    ``counts`` ``(B,)`` of each; ``targets`` ``(B, C)`` with NaN for unknown; ``weights`` ``(B,)``."""

    places: NDArray[np.int32]
    values: NDArray[np.float32]
    counts: NDArray[np.int64]
    size: int
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


def solve(problem: Problem, *, strength: float, iterations: int) -> NDArray[np.float32]:
    """Weights ``(size, C)`` that minimise ``strength`` × weighted log loss + ½ ‖weights‖², bias unpenalised.

    A label without any known target gets zeros. Deterministic for a fixed number of threads.
    """
    texts = _sparse(problem)  # (B, K)
    features = _transposed(problem)  # (K, B)
    known = ~np.isnan(problem.targets)
    weights = torch.from_numpy((known * problem.weights[:, None]).astype(np.float32))  # (B, C)
    targets = torch.from_numpy(np.nan_to_num(problem.targets))  # (B, C)
    rate = ((weights * targets).sum(0) / weights.sum(0).clamp(min=1)).clamp(1e-4, 1 - 1e-4)  # (C,)
    table = torch.zeros(problem.size, targets.shape[1])  # (K, C)
    bias = torch.logit(rate)
    optimiser = torch.optim.LBFGS(
        [table, bias],
        max_iter=iterations,
        history_size=10,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        logits = texts @ table + bias  # (B, C)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        error = strength * weights * (logits.sigmoid() - targets)  # (B, C)
        table.grad = features @ error + table
        bias.grad = error.sum(0)
        return strength * (losses * weights).sum() + 0.5 * table.square().sum()

    with torch.no_grad():
        optimiser.step(closure)
    return table.numpy()


def _sparse(problem: Problem) -> torch.Tensor:
    edges = np.append(0, np.cumsum(problem.counts)).astype(np.int32)
    return _csr(edges, problem.places, problem.values, (len(problem.counts), problem.size))


def _transposed(problem: Problem) -> torch.Tensor:
    """The same by feature: a second copy, because multiplying by it is several times faster."""
    order = np.argsort(problem.places, kind="stable")
    text_of = np.repeat(np.arange(len(problem.counts), dtype=np.int32), problem.counts)
    edges = np.append(0, np.cumsum(np.bincount(problem.places, minlength=problem.size))).astype(np.int32)
    return _csr(edges, text_of[order], problem.values[order], (problem.size, len(problem.counts)))


def _csr(
    edges: NDArray[np.int32], columns: NDArray[np.int32], values: NDArray[np.float32], shape: tuple[int, int]
) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compressed rows are called a beta feature
        return torch.sparse_csr_tensor(
            torch.from_numpy(edges), torch.from_numpy(columns), torch.from_numpy(values), shape
        )
