"""Pictures of every format, mode and orientation come out as the RGB a viewer would see."""

from __future__ import annotations

import io
import re
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from moderator.errors import MediaError
from moderator.media.image import decode_image, from_pillow, pillow_digest
from moderator.settings import Limits
from tests.media.files import animation, encoded, level, png_bomb, quadrants

LIMITS = Limits()


def corners(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[str]:
    """Colours near the four corners: top left, top right, bottom left, bottom right."""
    names = {"100": "r", "010": "g", "001": "b", "111": "w", "000": "k"}
    height, width = pixels.shape[:2]
    places = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [names["".join(str(int(value > 127)) for value in pixels[place])] for place in places]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_format(kind: str) -> None:
    done = decode_image(encoded(quadrants(), kind), LIMITS)
    (frame,) = done.frames
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape == (48, 64, 3)
    assert frame.span == (0.0, 0.0)
    assert corners(frame.pixels) == ["r", "g", "b", "w"]
    assert (done.coverage, done.problem) == (1.0, "")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quadrants(), kind, exif=exif)
    (frame,) = decode_image(data, LIMITS).frames
    expected = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}
    assert "".join(corners(frame.pixels)) == expected[orientation]
    assert frame.pixels.shape[:2] == ((48, 64) if orientation < 5 else (64, 48))


def test_broken_exif_does_not_stop_the_picture() -> None:
    data = encoded(quadrants(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert corners(decode_image(data, LIMITS).frames[0].pixels) == ["r", "g", "b", "w"]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "JPEG") for mode in ("CMYK", "L")],
        *[(mode, "TIFF") for mode in ("CMYK", "LAB", "YCbCr", "I;16", "I", "F", "1")],
        *[(mode, "PIL") for mode in ("PA", "HSV", "La", "RGBa", "RGBX")],
    ],
)
def test_every_mode(mode: str, kind: str) -> None:
    grey = Image.linear_gradient("L").rotate(90)  # dark to light, or light to dark, along a row
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode in ("La", "RGBa"):
        image = grey.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    elif mode == "PA":
        image = grey.convert("P").convert("PA")
    elif mode == "LAB":
        image = Image.merge("LAB", (grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)))
    elif mode in ("CMYK", "HSV", "YCbCr", "RGBX"):
        image = grey.convert("RGB").convert(mode)
    else:
        image = grey.convert(mode)
    done = from_pillow(image, LIMITS) if kind == "PIL" else decode_image(encoded(image, kind), LIMITS)
    (frame,) = done.frames
    assert frame.pixels.shape == (256, 256, 3)
    row = frame.pixels.mean(axis=(0, 2))
    expected = np.asarray(grey).mean(axis=0)
    tolerance = 60 if mode == "1" else 12
    assert np.abs(row.reshape(8, -1).mean(axis=1) - expected.reshape(8, -1).mean(axis=1)).max() < tolerance


def test_sixteen_bits_that_use_only_eight_are_not_black() -> None:
    image = Image.fromarray(np.asarray(Image.linear_gradient("L")).astype(np.uint16))
    assert decode_image(encoded(image, "PNG"), LIMITS).frames[0].pixels.max() == 255


def test_floating_point_pixels_must_be_finite() -> None:
    values = np.ones((8, 8), np.float32)
    values[0, 0] = np.nan
    with pytest.raises(MediaError, match="NaN"):
        decode_image(encoded(Image.fromarray(values), "TIFF"), LIMITS)


def stroke(colour: tuple[int, int, int, int], ground: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (64, 64), ground)
    image.paste(colour, (16, 28, 48, 36))
    return image


def test_dark_on_transparent_needs_one_view() -> None:
    (frame,) = decode_image(encoded(stroke((0, 0, 0, 255), (0, 0, 0, 0)), "PNG"), LIMITS).frames
    assert (frame.pixels[0, 0] == 255).all()
    assert (frame.pixels[32, 32] == 0).all()


def test_white_on_transparent_shows_on_black() -> None:
    views = decode_image(encoded(stroke((255, 255, 255, 255), (255, 255, 255, 0)), "PNG"), LIMITS).frames
    assert any((view.pixels[32, 32] != view.pixels[0, 0]).any() for view in views)


def test_colours_of_transparent_pixels_are_looked_at() -> None:
    views = decode_image(encoded(stroke((250, 0, 0, 0), (255, 255, 255, 0)), "PNG"), LIMITS).frames
    assert any((view.pixels[32, 32] == (250, 0, 0)).all() for view in views)


def test_large_transparent_pictures_keep_their_hidden_colours() -> None:
    image = stroke((250, 0, 0, 0), (255, 255, 255, 0)).resize((640, 640), Image.Resampling.NEAREST)
    hidden = Image.new("RGBA", image.size, (255, 255, 255, 0))
    hidden.paste((250, 0, 0, 0), (160, 280, 480, 360))
    views = decode_image(encoded(hidden, "PNG"), Limits(image_side=64)).frames
    assert all(max(view.pixels.shape) == 64 for view in views)
    assert any(abs(view.pixels[32, 32].astype(int) - (250, 0, 0)).max() < 10 for view in views)


def test_palette_transparency() -> None:
    image = quadrants().quantize(4)
    done = decode_image(encoded(image, "PNG", transparency=0), LIMITS)
    assert done.frames[0].pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
@pytest.mark.parametrize("count", [3, 20])
def test_animations_are_sampled_over_their_whole_length(kind: str, count: int) -> None:
    done = decode_image(animation(kind, count), LIMITS)
    assert done.problem == ""
    assert len(done.frames) == min(count, 8)
    assert done.coverage == pytest.approx(min(1.0, 8 / count))
    levels = [float(frame.pixels.mean()) for frame in done.frames]
    assert levels[0] == pytest.approx(level(0), abs=4)
    assert levels[-1] == pytest.approx(level(count - 1), abs=4)
    assert levels == sorted(levels)
    if kind != "TIFF":
        assert done.frames[0].span == pytest.approx((0.0, 0.1))
        assert done.frames[-1].span == pytest.approx(((count - 1) * 0.1, count * 0.1))


def test_large_pictures_are_shrunk() -> None:
    image = quadrants(3000, 1500)
    for kind in ("JPEG", "PNG"):
        (frame,) = decode_image(encoded(image, kind), LIMITS).frames
        assert frame.pixels.shape == (512, 1024, 3)
        assert corners(frame.pixels) == ["r", "g", "b", "w"]


def test_an_extreme_shape_keeps_a_pixel() -> None:
    (frame,) = decode_image(encoded(Image.new("RGB", (5000, 1)), "PNG"), LIMITS).frames
    assert frame.pixels.shape == (1, 1024, 3)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((60_000, 60_000), "3,600,000,000 pixels"),
        ((10_000, 7_000), "10000 x 7000 pixels"),
        ((2**31 - 1, 2**31 - 1), "4,611,686,014,132,420,609 pixels"),
    ],
)
def test_bombs_are_refused_from_their_header(size: tuple[int, int], said: str) -> None:
    with warnings.catch_warnings(), pytest.raises(MediaError) as refused:
        warnings.simplefilter("error")
        decode_image(png_bomb(*size), LIMITS)
    assert str(refused.value) == f"{said}, the limit is 64,000,000 (max_pixels)"


def test_max_pixels_may_exceed_what_pillow_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture = encoded(quadrants(), "PNG")  # 64 x 48
    assert len(decode_image(picture, Limits(max_pixels=64 * 48)).frames) == 1
    with pytest.raises(MediaError, match="the limit is 3,071"):
        decode_image(picture, Limits(max_pixels=64 * 48 - 1))


def test_a_late_frame_with_too_many_pixels_has_our_reason() -> None:
    data = bytearray(animation("GIF", 3))
    at = [match.start() for match in re.finditer(rb"\x2c\0\0\0\0", data)][-1]
    data[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)
    done = decode_image(bytes(data), LIMITS)
    assert done.frames
    assert done.problem.endswith(
        "of 3 cannot be decoded: 4,294,836,225 pixels, the limit is 64,000,000 (max_pixels)"
    )


def test_too_many_frames_are_refused() -> None:
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        with pytest.raises(MediaError, match="max_frames"):
            decode_image(animation(kind, 12), Limits(max_frames=11))
        assert decode_image(animation(kind, 12), Limits(max_frames=12)).problem == ""


def test_frames_times_size_is_bounded() -> None:
    frames = [Image.new("L", (32, 24), 200 * (number % 2)) for number in range(60)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="too much"):
        decode_image(data, Limits(max_pixels=32 * 24))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_truncated_pictures_are_errors(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(Exception):  # noqa: B017 - decoders differ in what they raise
        decode_image(data[: len(data) // 2], LIMITS)


def test_a_truncated_animation_keeps_the_frames_before_the_damage() -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(4)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    done = decode_image(data[: len(data) * 7 // 10], LIMITS)
    assert 0 < len(done.frames) < 4
    assert "cannot be decoded" in done.problem


def test_damaged_bytes_never_hang_or_escape_as_warnings() -> None:
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
            good = encoded(quadrants(), kind)
            for _ in range(30):
                bad = bytearray(good)
                for at in rng.integers(8, len(bad), 4):
                    bad[at] = rng.integers(0, 256)
                try:
                    decode_image(bytes(bad), LIMITS)
                except Exception as error:  # noqa: BLE001 - any but a warning
                    assert not isinstance(error, Warning)


def test_other_pillow_formats_are_not_tried() -> None:
    with pytest.raises(MediaError, match="not a readable picture"):
        decode_image(encoded(quadrants(), "PPM"), LIMITS)


def test_pillow_images_are_judged_and_left_alone() -> None:
    image = Image.open(io.BytesIO(animation("GIF", 5)))
    image.seek(2)
    first, again = pillow_digest(image, LIMITS), pillow_digest(image, LIMITS)
    assert len(from_pillow(image, LIMITS).frames) == 5
    assert image.tell() == 2
    assert first == again
    assert first != pillow_digest(Image.open(io.BytesIO(animation("GIF", 6))), LIMITS)


def test_only_the_first_picture_of_an_mpo_counts() -> None:
    frames = [quadrants(), Image.new("RGB", (64, 48))]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert len(decode_image(data, LIMITS).frames) == 1


def test_a_gif_frame_larger_than_its_screen_is_refused() -> None:
    data = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    at = data.index(b"\x2c")
    data[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)
    with pytest.raises(MediaError, match=r"pixels, the limit is 64,000,000 \(max_pixels\)"):
        decode_image(bytes(data), LIMITS)
