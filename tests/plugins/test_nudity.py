"""Nudity in pictures: the contract, the mapping of what the network finds, options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moderator.errors import PluginError
from moderator.testing import check_plugin, make_image
from moderator_nudity.detector import NudityDetector


def test_the_contract_holds() -> None:
    assert [result for result in check_plugin(NudityDetector()) if not result.ok] == []


def test_harmless_pictures_give_no_signal() -> None:
    detector = NudityDetector()
    detector.load("cpu")
    assert detector.detect_batch([make_image(320, 240), make_image(64, 300, seed=3)]) == [[], []]


class _Network:
    """Says what it was told, and keeps the picture it was shown."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.found = found
        self.shown: Any = None

    def detect(self, pixels: Any) -> list[dict[str, Any]]:
        self.shown = pixels
        return self.found


def test_what_is_found_becomes_signals_and_boxes() -> None:
    """No picture of the kind lies in the repository, so the network's answer is given."""
    network = _Network(
        [
            {"class": "FACE_FEMALE", "score": 0.9, "box": [0, 0, 5, 5]},
            {"class": "FEMALE_BREAST_EXPOSED", "score": 0.7, "box": [10, 5, 20, 20]},
            {"class": "ANUS_EXPOSED", "score": 0.4, "box": [30, 20, 40, 40]},
            {"class": "BUTTOCKS_EXPOSED", "score": 0.6, "box": [1, 2, 3, 4]},
            {"class": "FEMALE_BREAST_COVERED", "score": 0.99, "box": [1, 2, 3, 4]},
        ]
    )
    detector = NudityDetector()
    detector._network = network
    content = make_image(48, 32)
    ((nudity, partial),) = detector.detect_batch([content])
    assert (nudity.name, nudity.score) == ("nudity", 0.7)
    assert [place.span for place in nudity.evidence] == [(10, 5, 30, 25), (30, 20, 48, 32)]
    assert nudity.evidence[0].detail == "female breast exposed"
    assert (partial.name, partial.score) == ("nudity_partial", 0.6)
    assert np.array_equal(network.shown, np.asarray(content.data)[:, :, ::-1])  # BGR


def test_it_has_no_options() -> None:
    with pytest.raises(PluginError, match="threshold"):
        NudityDetector({"threshold": 0.5})
