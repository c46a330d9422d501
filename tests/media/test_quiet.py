"""Warnings of decoders stay inside, from any number of threads, and the filters come back as they were."""

from __future__ import annotations

import threading
import warnings

import pytest

from moderator.media.quiet import quiet


def test_warnings_inside_are_ignored_and_outside_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn("inside", UserWarning, stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("outside", UserWarning, stacklevel=1)


def test_overlapping_threads_restore_the_filters() -> None:
    before = list(warnings.filters)
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with quiet():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(10)
    with quiet():
        second_in.set()
        first_out.wait(10)
        warnings.warn("the other thread has left", UserWarning, stacklevel=1)
    thread.join()
    assert list(warnings.filters) == before
