"""The text in pictures: read in both languages, blank pictures give nothing, options are checked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from moderator.errors import PluginError
from moderator.testing import check_plugin
from moderator.types import Content, Modality, Source
from moderator_ocr.reader import PictureText, joined_lines


def picture(*lines: str, size: int = 28, width: int = 640) -> Content:
    """Lines of writing on white."""
    image = Image.new("RGB", (width, (size + 14) * len(lines) + 20), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((12, 10 + number * (size + 14)), line, fill="black", font=font)
    return Content(Modality.IMAGE, np.asarray(image))


@pytest.fixture(scope="module")
def reader() -> PictureText:
    made = PictureText()
    made.load("cpu")
    return made


def test_the_contract_holds() -> None:
    assert [result for result in check_plugin(PictureText()) if not result.ok] == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Send me your address or else",),
        ("First line of the poster", "and the second line of it"),
        ("FREE iPhone 15, click now!",),
    ],
)
def test_lines_are_read_from_top_to_bottom(reader: PictureText, lines: tuple[str, ...]) -> None:
    (made,) = reader.extract_batch([picture(*lines)])
    (extract,) = made
    assert extract.modality is Modality.TEXT and extract.source is Source.OCR
    squeezed = str(extract.data).replace(" ", "").lower()
    assert squeezed == "\n".join(lines).replace(" ", "").lower()


def test_pictures_without_writing_give_nothing(reader: PictureText) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    plain = np.zeros((50, 50, 3), dtype=np.uint8)
    contents = [Content(Modality.IMAGE, noise), Content(Modality.IMAGE, plain)]
    assert reader.extract_batch(contents) == [[], []]


def test_chinese_lines_are_joined_without_a_break() -> None:
    assert joined_lines(["今天天气", "很好", "", "Hello", "你好"]) == "今天天气很好\nHello\n你好"
    assert joined_lines([]) == ""


@pytest.mark.parametrize("options", [{"side": 8}, {"least": 2.0}, {"languages": "de"}])
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(PluginError, match="ocr"):
        PictureText(options)


def test_the_fingerprint_says_what_was_read_with() -> None:
    small = PictureText({"side": 320})
    with pytest.raises(PluginError, match="load"):
        _ = small.fingerprint
    small.load("cpu")
    other = PictureText()
    other.load("cpu")
    assert small.fingerprint != other.fingerprint
    assert {weights.origin for weights in small.weights()} == {"package"}
