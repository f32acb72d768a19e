"""Rectangles and resizing, against the steps that TAO takes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from tao_lite.data.geometry import (
    AreaCrop,
    Box,
    Pixels,
    Size,
    centre_crop,
    fixed,
    letterbox,
    random_crop,
    resize,
    resize_crop,
    squeeze,
)

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)
targets = st.tuples(st.integers(16, 600), st.integers(16, 600))
unit = st.floats(0, 1, exclude_max=True)


def picture(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(height * 10_007 + width).integers(0, 256, (height, width, channels), np.uint8)


def two_steps(source: Size, cover: tuple[float, float], target: Size, left: float, top: float) -> Box:
    """TAO's way: resize the picture to cover, cut the target out; the cut in pixels of the picture.

    `left` and `top` are places between the two ends, rounded to whole pixels of the resized picture.
    """
    (height, width), (target_height, target_width) = source, target
    enlarge = max(cover[0] / height, cover[1] / width)
    resized_height, resized_width = int(height * enlarge + 1e-9), int(width * enlarge + 1e-9)
    x, y = round(left * (resized_width - target_width)), round(top * (resized_height - target_height))
    to_x, to_y = width / resized_width, height / resized_height
    return x * to_x, y * to_y, (x + target_width) * to_x, (y + target_height) * to_y


def is_within(box: Box, expected: Box, tolerances: tuple[float, float]) -> bool:
    across, down = tolerances
    return all(abs(a - b) <= t for a, b, t in zip(box, expected, (across, down, across, down), strict=True))


@given(sizes, targets, unit, unit, unit)
def test_a_random_crop_is_the_rectangle_of_the_two_steps(
    source: Size, target: Size, scale: float, left: float, top: float
) -> None:
    share = 0.45 + 0.55 * scale
    cover = target[0] / share, target[1] / share
    enlarge = max(cover[0] / source[0], cover[1] / source[1])
    expected = two_steps(source, cover, target, left, top)
    # TAO rounds the size of the resized picture down and the place to whole pixels: less than 2 of those pixels.
    assert is_within(random_crop(source, target, (scale, left, top, 0)), expected, (2 / enlarge, 2 / enlarge))


@given(sizes, targets)
def test_a_centre_crop_is_the_rectangle_of_the_two_steps(source: Size, target: Size) -> None:
    cover = target[0] + 32, target[1] + 32
    enlarge = max(cover[0] / source[0], cover[1] / source[1])
    expected = two_steps(source, cover, target, 0.5, 0.5)
    assert is_within(centre_crop(source, target), expected, (2 / enlarge, 2 / enlarge))


@given(sizes, targets, unit, unit, unit)
def test_a_crop_lies_in_the_picture_and_has_the_shape_of_the_target(
    source: Size, target: Size, scale: float, left: float, top: float
) -> None:
    for box in (random_crop(source, target, (scale, left, top, 0)), centre_crop(source, target)):
        assert 0 <= box[0] < box[2] <= source[1]
        assert 0 <= box[1] < box[3] <= source[0]
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(target[1] / target[0], rel=1e-6)


@given(sizes, unit, unit, unit, unit)
def test_a_crop_of_an_area_has_it_and_the_shape_that_is_asked_for(
    source: Size, size: float, left: float, top: float, shape: float
) -> None:
    found = AreaCrop((0.1, 0.5), (0.75, 4 / 3))(source, (64, 64), (size, left, top, shape))
    assert 0 <= found[0] < found[2] <= source[1]
    assert 0 <= found[1] < found[3] <= source[0]
    across, down = (found[2] - found[0]) / source[1], (found[3] - found[1]) / source[0]
    assert across * down == pytest.approx(0.1 + 0.4 * size, rel=1e-6)
    assert across / down == pytest.approx(0.75 * (16 / 9) ** shape, rel=1e-6)


def test_a_crop_that_is_longer_than_the_picture_is_cut_off() -> None:
    # Of 100 x 200 a quarter four times as wide as the picture is shaped: twice as long, and a quarter as high.
    crop = AreaCrop((0.25, 0.25), (16, 16))
    assert crop((100, 200), (64, 64), (0.5, 0.5, 0.0, 0.5)) == pytest.approx((0, 0, 200, 12.5))


@pytest.mark.parametrize(("scale", "share"), [(0.0, 0.45), (1 - 2**-53, 1.0), (0.5, 0.725)])
def test_a_random_crop_takes_its_share_of_the_shorter_side(scale: float, share: float) -> None:
    # The largest 2:1 rectangle in 300 x 400 pixels is 200 x 400.
    left, top, right, bottom = random_crop((300, 400), (50, 100), (scale, 0.0, 0.0, 0.0))
    assert (left, top) == (0, 0)
    assert (right, bottom) == pytest.approx((400 * share, 200 * share))


def test_a_random_crop_reaches_both_ends_of_the_picture() -> None:
    # A square of side 0.45 * 300 = 135.
    assert random_crop((300, 400), (64, 64), (0.0, 0.0, 0.0, 0.0)) == pytest.approx((0, 0, 135, 135))
    assert random_crop((300, 400), (64, 64), (0.0, 1 - 2**-53, 1 - 2**-53, 0.0)) == pytest.approx((265, 165, 400, 300))


def by_tao_deploy(image: Pixels, target: Size) -> Pixels:
    """TAO's centre crop as tao-deploy does it, with Pillow alone."""
    picture = Image.fromarray(image)
    ratio = max((target[1] + 32) / picture.width, (target[0] + 32) / picture.height)
    covering = picture.resize((int(picture.width * ratio), int(picture.height * ratio)), Image.Resampling.BILINEAR)
    left, top = round(covering.width / 2) - round(target[1] / 2), round(covering.height / 2) - round(target[0] / 2)
    return np.asarray(covering.crop((left, top, left + target[1], top + target[0])))


@pytest.mark.parametrize("target", [(64, 64), (65, 48), (16, 17)])
@pytest.mark.parametrize("source", [(321, 500), (33, 100), (47, 48), (16, 16)])
def test_taos_crop_gives_the_bits_of_the_two_steps(source: Size, target: Size) -> None:
    """321 * (96 / 321) is less than 96 in floating point, so TAO resizes to 95."""
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    np.testing.assert_array_equal(fixed(image, "tao_crop", target, "bilinear", 0), by_tao_deploy(image, target))


def test_taos_crop_of_an_endless_strip_fits_into_memory() -> None:
    strip = np.zeros((1, 2_000_000, 1), np.uint8)
    assert fixed(strip, "tao_crop", (64, 64), "bilinear", 0).shape == (64, 64, 1)


def test_a_centre_crop_keeps_seven_eighths_at_224_and_two_thirds_at_64() -> None:
    # 224 / (224 + 32) = 7/8 and 64 / (64 + 32) = 2/3 of the shorter side, 240, in the middle of 240 x 320.
    assert centre_crop((240, 320), (224, 224)) == pytest.approx((55, 15, 265, 225))
    assert centre_crop((240, 320), (64, 64)) == pytest.approx((80, 40, 240, 200))


@pytest.mark.parametrize(
    ("source", "target", "inner", "place"),
    [
        ((30, 70), (64, 64), (27, 64), (18, 0)),  # 64 * 30 / 70 = 27.4
        ((70, 30), (64, 48), (64, 27), (0, 10)),
        ((50, 100), (32, 64), (32, 64), (0, 0)),
        ((1, 9999), (32, 32), (1, 32), (15, 0)),
    ],
)
def test_a_letterbox_is_as_large_as_fits_in_the_middle(source: Size, target: Size, inner: Size, place: Size) -> None:
    assert letterbox(source, target) == (inner, place)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_letterboxed_picture_keeps_its_shape_between_bars(channels: int) -> None:
    image = picture(30, 70, channels)
    seen = fixed(image, "letterbox", (64, 64), "bilinear", 114)
    assert seen.shape == (64, 64, channels)
    assert np.array_equal(seen[18:45], resize(image, squeeze((30, 70), (27, 64)), (27, 64), "bilinear"))
    assert (seen[:18] == 114).all()
    assert (seen[45:] == 114).all()


def test_squeezing_takes_the_whole_picture() -> None:
    assert squeeze((30, 70), (64, 64)) == (0, 0, 70, 30)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 5), (16, 32)])
def test_pixels_equal_those_of_the_two_steps_where_these_round_nothing(interpolation: str, left: int, top: int) -> None:
    # With f = 1/2 a picture of 96 x 192 has to cover 64 x 64: TAO resizes it by 2/3 to 64 x 128.
    source, target = picture(96, 192), (32, 32)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    resized = Image.fromarray(source).resize((128, 64), resample)
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32)))
    uniforms = ((0.5 - 0.45) / 0.55, left / (128 - 32), top / (64 - 32), 0.0)
    box = random_crop((96, 192), target, uniforms)
    difference = resize(source, box, target, interpolation).astype(int) - expected
    # The edges differ in the 15th digit, which may turn a rounding.
    assert np.abs(difference).max() <= 1


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.tuples(st.integers(16, 40), st.integers(16, 40)), unit)
def test_any_crop_of_any_picture_can_be_resized(source: Size, target: Size, number: float) -> None:
    image = picture(*source)
    for box in (squeeze(source, target), centre_crop(source, target), random_crop(source, target, (number,) * 4)):
        assert resize(image, box, target, "bicubic").shape == (*target, 3)


@given(st.integers(0, 255), st.integers(1, 50), st.integers(1, 50), unit)
def test_an_even_picture_stays_even(value: int, height: int, width: int, number: float) -> None:
    image = np.full((height, width, 3), value, np.uint8)
    box = random_crop((height, width), (24, 16), (number,) * 4)
    assert np.array_equal(resize(image, box, (24, 16), "bilinear"), np.full((24, 16, 3), value, np.uint8))


def test_shrinking_averages_all_pixels() -> None:
    # Antialiasing: a fine chessboard becomes medium grey, not the colour of the pixels that happen to be hit.
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    small = resize(board, squeeze((64, 64), (16, 16)), (16, 16), "bilinear")
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127.5).max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_right_size_is_left_alone(channels: int) -> None:
    image = picture(20, 30, channels)
    assert resize(image, squeeze((20, 30), (20, 30)), (20, 30), "bicubic") is image


def test_one_channel_is_resized_like_each_of_three() -> None:
    image = picture(40, 50)
    box = random_crop((40, 50), (16, 16), (0.3, 0.6, 0.9, 0.0))
    together = resize(image, box, (16, 16), "bilinear")
    for channel in range(3):
        alone = resize(np.ascontiguousarray(image[:, :, channel : channel + 1]), box, (16, 16), "bilinear")
        assert np.array_equal(alone[:, :, 0], together[:, :, channel])


@given(st.integers(100, 2000), unit)
def test_a_crop_of_a_very_long_picture_is_not_empty(length: int, number: float) -> None:
    left, top, right, bottom = random_crop((1, length), (64, 64), (number,) * 4)
    assert right - left > 0.4
    assert bottom - top > 0.4


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(60, 90), unit, unit, unit)
def test_an_enlarged_random_crop_is_that_of_pillow_to_within_a_level(
    source: Size, side: int, scale: float, left: float, top: float
) -> None:
    image, box = picture(*source), random_crop(source, (side, side), (scale, left, top, 0))
    left_edge, top_edge, right_edge, bottom_edge = map(round, box)
    part = image[top_edge:bottom_edge, left_edge:right_edge]
    assume(part.size)
    fast = resize_crop(image, box, (side, side), "bilinear").astype(int)
    exact = resize(part, squeeze(part.shape[:2], (side, side)), (side, side), "bilinear")
    assert np.abs(fast - exact).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shrunken_random_crop_is_the_mean_of_the_area_that_each_pixel_covers(channels: int) -> None:
    # All of 96 x 96 onto 32 x 32: each pixel covers 3 x 3.
    image = picture(96, 96, channels)
    shrunken = resize_crop(image, (0, 0, 96, 96), (32, 32), "bilinear")
    means = image.reshape(32, 3, 32, 3, channels).mean(axis=(1, 3))
    assert np.abs(shrunken - means).max() <= 0.51


def test_a_cubic_random_crop_is_that_of_pillow() -> None:
    image, box = picture(50, 60), random_crop((50, 60), (32, 32), (0.4, 0.3, 0.2, 0.0))
    assert np.array_equal(resize_crop(image, box, (32, 32), "bicubic"), resize(image, box, (32, 32), "bicubic"))


@given(st.tuples(st.integers(1, 3000), st.integers(1, 40)), unit, unit, unit)
def test_a_random_crop_of_any_picture_holds_a_pixel(source: Size, scale: float, left: float, top: float) -> None:
    image, box = np.zeros((*source, 3), np.uint8), random_crop(source, (16, 24), (scale, left, top, 0))
    assert resize_crop(image, box, (16, 24), "bilinear").shape == (16, 24, 3)


@pytest.mark.parametrize("side", [40, 64, 72, 80, 100, 200])
def test_a_random_crop_of_an_even_slope_is_that_slope(side: int) -> None:
    # Whatever the weights: their centre is where the pixel of the result lies.
    step = 255 // side
    image = np.tile((step * np.arange(side, dtype=np.uint8))[None, :, None], (side, 1, 3))
    resized = resize_crop(image, (0, 0, side, side), (64, 64), "bilinear").astype(int)
    places = (np.arange(64) + 0.5) * side / 64 - 0.5
    inner = slice(2, -2)
    assert np.abs(resized[:, inner, 0] - step * places[inner]).max() <= 1
