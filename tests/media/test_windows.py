"""Long text is cut without gaps, or sampled evenly with an honest coverage."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from moderator.media.windows import windows
from moderator.settings import Limits

TEXTS = st.text(st.sampled_from("ab ,.\n漢"), max_size=400)
LIMITS = st.builds(
    lambda window, overlap, count: Limits(text_window=window, text_overlap=overlap, text_windows=count),
    st.integers(1, 50),
    st.integers(0, 60),
    st.integers(1, 12),
)


@given(TEXTS, LIMITS)
def test_windows_are_bounded_ordered_and_their_coverage_is_true(text: str, limits: Limits) -> None:
    cut = windows(text, limits)
    assert len(cut.spans) <= limits.text_windows
    assert all(0 <= start < end <= len(text) for start, end in cut.spans)
    assert all(end - start <= limits.text_window for start, end in cut.spans)
    assert list(cut.spans) == sorted(cut.spans)
    seen = {at for start, end in cut.spans for at in range(start, end)}
    assert cut.coverage == (len(seen) / len(text) if text else 1.0)
    if text:
        assert cut.spans[0][0] == 0
        if limits.text_windows > 1:
            assert cut.spans[-1][1] == len(text)


def test_defaults_cover_what_the_settings_promise() -> None:
    assert windows("word " * (288_000 // 5), Limits()).coverage == 1.0
    assert windows("x" * 288_000, Limits()).coverage == 1.0


def test_far_longer_text_is_sampled_over_its_whole_length() -> None:
    limits = replace(Limits(), text_windows=10)
    cut = windows("word " * 20_000, limits)
    assert len(cut.spans) == 10
    assert cut.spans[0][0] == 0
    assert cut.spans[-1][1] == 100_000
    gaps = [after[0] - before[0] for before, after in zip(cut.spans, cut.spans[1:], strict=False)]
    assert max(gaps) - min(gaps) < 100
    assert 0.07 < cut.coverage < 0.09


def test_words_are_kept_whole() -> None:
    text = " ".join(f"word{number}" for number in range(2000))
    for start, end in windows(text, Limits()).spans:
        assert start == 0 or not (text[start - 1].isalnum() and text[start].isalnum())
        assert end == len(text) or not (text[end - 1].isalnum() and text[end].isalnum())


def test_a_window_smaller_than_the_overlap_still_moves_on() -> None:
    assert windows("abcdef" * 10, Limits(text_window=2, text_overlap=80, text_windows=100)).coverage == 1.0
