from __future__ import annotations

import pytest

from moderator.train.shares import shares


def test_sources_are_drawn_by_the_square_root_of_their_size() -> None:
    assert shares(["a", "b"], [100, 900], {}).tolist() == pytest.approx([0.25, 0.75])


def test_the_first_pattern_that_fits_counts() -> None:
    emphasis = {"own_plain": 1.0, "own_*": 3.0}
    found = shares(["own_chat", "own_plain", "mail"], [100, 100, 100], emphasis)
    assert found.tolist() == pytest.approx([0.6, 0.2, 0.2])
