"""Tokens on disk: made once per example and fingerprint, whatever list the example is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from moderator.testing import fake_embedder
from moderator.train.examples import Example
from moderator.train.material import contents_of
from moderator.train.tokens import TokenCache, cache_tokens
from moderator.types import Content, Item


def examples(*texts: str) -> list[Example]:
    return [Example(Item.of(text=text), {"spam": 0.0}, "forum", "en", "train") for text in texts]


class Reader:
    """Decodes examples, which happens once for each that is embedded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given = 0

    def decode(self, example: Example) -> Sequence[Content]:
        self.given += 1
        return contents_of(example.item)

    def cached(self, *texts: str) -> TokenCache:
        embedder = fake_embedder(torch.from_numpy)()
        embedder.load("cpu")
        return cache_tokens(embedder, examples(*texts), self.folder, self.decode, lambda done, total: None)


def test_other_lists_reuse_what_is_there(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    first = reader.cached("one", "two", "one")
    assert reader.given == 2
    second = reader.cached("three", "two")
    assert reader.given == 3
    alone = Reader(tmp_path / "elsewhere").cached("two")
    for tokens in (first[1], second[1]):
        torch.testing.assert_close(tokens, alone[0])
    torch.testing.assert_close(first[0], first[2])


def test_what_was_written_and_not_noted_is_made_again(tmp_path: Path) -> None:
    before = Reader(tmp_path).cached("one", "two")
    expected = [before[index] for index in range(2)]
    for pattern in ("*.f16", "*.index"):
        with next(tmp_path.glob(pattern)).open("ab") as file:
            file.write(b"torn")
    reader = Reader(tmp_path)
    after = reader.cached("one", "two", "four")
    assert reader.given == 1
    torch.testing.assert_close([after[0], after[1]], expected)
    assert after[2] is not None


def test_a_longer_list_has_nothing_where_others_are(tmp_path: Path) -> None:
    made = Reader(tmp_path).cached("one", "two")
    longer = made.among(1, 2)
    assert longer.present.tolist() == [False, True, True, False, False]
    torch.testing.assert_close(longer[2], made[1])
