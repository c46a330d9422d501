"""Tokens for training come from weights that never saw the row they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from moderator.plugin import FittedEmbedder
from moderator.train.crossfit import FOLDS, cross_fitted
from moderator.train.examples import Example
from moderator.types import Content, Embedding, Item, Modality

LABELS = ("toxicity", "spam")


class Memory(FittedEmbedder):
    """Its only knowledge is which texts it was fitted to: a token says whether it knows the text."""

    name = "memory"
    modality = Modality.TEXT
    fits: list[int] = []  # noqa: RUF012 - counts over all instances

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._seen: set[int] = set()
        self._targets = 0.0

    @property
    def fingerprint(self) -> str:
        return "1:memory"

    @property
    def dim(self) -> int:
        return 2

    def load(self, device: str) -> None:
        state = load_file(self.options["weights"])
        self._seen, self._targets = set(state["seen"].tolist()), float(state["targets"][0])

    def fit(
        self,
        contents: Sequence[Content],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        progress: Callable[[str], None],
    ) -> None:
        assert len(contents) == len(targets) == len(weights)
        assert targets.shape[1] == len(LABELS)
        Memory.fits.append(len(contents))
        self._seen = {code(content) for content in contents}
        self._targets = float(np.nansum(targets))

    def save(self, path: Path) -> None:
        save_file({"seen": np.array(sorted(self._seen)), "targets": np.array([self._targets])}, path)

    def embed_batch(self, contents: Sequence[Content]) -> list[Embedding]:
        return [
            Embedding(
                torch.tensor([[float(code(each) in self._seen), self._targets]]), np.zeros((1, 2), np.float32)
            )
            for each in contents
        ]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return ()


def code(content: Content) -> int:
    return int.from_bytes(str(content.data).encode()[-6:], "big")


def example(text: str, split: str = "train") -> Example:
    return Example(Item.of(text=text), {"spam": 1.0}, "source", "en", split)


def fresh(options: Mapping[str, object]) -> Memory:
    return Memory(options)


def run(examples: Sequence[Example], folder: Path) -> tuple[list[Any], list[str]]:
    lines: list[str] = []
    cache = cross_fitted(fresh, examples, folder, folder, LABELS, lines.append)
    return [cache[index] for index in range(len(examples))], lines


def test_no_row_is_embedded_by_weights_that_saw_it(tmp_path: Path) -> None:
    training = [example(f"text {number:03}") for number in range(60)]
    held_out = [example(f"held {number:03}", "valid") for number in range(10)]
    empty = [example(" \u200b"), example("", "valid")]
    twice = [example("text 007"), example("text 007")]
    examples = [*training, *held_out, *empty, *twice]
    Memory.fits.clear()
    tokens, lines = run(examples, tmp_path)
    for each, made in zip(examples, tokens, strict=True):
        if each in empty:
            assert made is None
        else:
            assert made.tolist()[0][0] == 0.0, each.item.parts[0].value
    assert len(Memory.fits) == FOLDS + 1
    assert Memory.fits[-1] == 62  # the final weights saw all training rows, and no other
    assert sum(Memory.fits[:-1]) == (FOLDS - 1) * 62
    assert len([line for line in lines if "fitting" in line]) == FOLDS + 1
    # validation rows are embedded by the final weights, as new content will be
    assert {made.tolist()[0][1] for made in tokens[60:70]} == {62.0}
    assert load_file(tmp_path / "memory.safetensors")["targets"][0] == 62.0


def test_weights_that_are_there_are_not_fitted_again(tmp_path: Path) -> None:
    examples = [example(f"text {number:03}") for number in range(40)]
    first, _ = run(examples, tmp_path)
    (tmp_path / "memory.fold2.safetensors").unlink()
    Memory.fits.clear()
    second, lines = run(examples, tmp_path)
    assert len(Memory.fits) == 1
    assert lines == ["memory: fitting fold 3/4"]
    assert [made.tolist() for made in first] == [made.tolist() for made in second]
    assert not list(tmp_path.glob("*.partial"))
