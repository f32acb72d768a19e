"""Fingerprints of pictures: copies agree after what happens to copies, different and plain pictures do not."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance

from tao_lite.data.similar import fingerprint, groups

Pictures = list[Image.Image]


def painted(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A blurry picture, such as a photo seen from afar: 6 x 5 colours by chance, blended."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def found(pictures: Pictures, frames: list[int] | None = None) -> list[list[int]]:
    prints = [fingerprint(picture, None) for picture in pictures]
    return grouped([one.hash for one in prints], np.stack([one.thumbnail for one in prints]), frames)


def grouped(hashes: list[int], thumbnails: npt.NDArray[np.uint8], frames: list[int] | None = None) -> list[list[int]]:
    owners = np.array(frames if frames else range(len(hashes)))
    return [group.tolist() for group in groups(np.array(hashes, np.uint64), thumbnails, owners)]


def test_hash_says_where_luma_rises_to_the_right() -> None:
    # 9 x 8 cells of 16 pixels. Each row rises by one level per cell, but for the first, which falls.
    cells = np.tile(np.arange(10, 19, dtype=np.uint8), (8, 1))
    cells[0] = cells[0, ::-1]
    picture = Image.fromarray(np.kron(cells, np.ones((16, 16), np.uint8))).convert("RGB")
    assert fingerprint(picture, None).hash == 0x00FFFFFFFFFFFFFF


def test_box_is_fingerprinted_as_the_picture_cut_out() -> None:
    box = (20, 10, 116, 74)
    whole, cut = fingerprint(painted(0), box), fingerprint(painted(0).crop(box), None)
    assert whole.hash == cut.hash
    assert (whole.thumbnail == cut.thumbnail).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, 75),
        lambda image: encoded(image, 30),
        lambda image: image.resize((80, 60), Image.Resampling.LANCZOS),
        lambda image: image.resize((300, 100), Image.Resampling.BILINEAR),
        lambda image: ImageEnhance.Brightness(image).enhance(0.85),
        lambda image: ImageEnhance.Contrast(image).enhance(0.9),
    ],
    ids=["JPEG 75", "JPEG 30", "half the size", "squeezed", "darker", "duller"],
)
def test_changed_copies_are_found_among_others(change) -> None:  # type: ignore[no-untyped-def]
    pictures = [painted(seed) for seed in range(40)]
    assert found([*pictures, *map(change, pictures)]) == [[index, index + 40] for index in range(40)]


def test_plain_pictures_are_like_none() -> None:
    sky = np.linspace((90, 140, 220), (200, 220, 250), 60).astype(np.uint8)[:, None].repeat(80, axis=1)
    margin = np.full((60, 80, 3), 255, np.uint8)
    margin[50:, 70:] = 0
    noise = np.random.default_rng(0).integers(-1, 2, (2, 60, 80, 3))
    plain = [np.zeros_like(sky), np.full_like(sky, 200), np.full_like(sky, 201), *(sky + noise).astype(np.uint8)]
    assert found([*map(Image.fromarray, plain), Image.fromarray(margin), Image.fromarray(margin)]) == []


def test_pictures_of_one_shape_and_different_colours_differ() -> None:
    grey = np.asarray(painted(1).convert("L"))
    red, green = (np.zeros((*grey.shape, 3), np.uint8) for _ in range(2))
    red[..., 0] = grey
    green[..., 1] = grey
    assert found([Image.fromarray(red), Image.fromarray(green)]) == []


def test_picture_much_lighter_differs() -> None:
    dark = np.asarray(painted(4)) // 2
    assert found([Image.fromarray(dark), Image.fromarray(dark + 40), Image.fromarray(dark + 100)]) == [[0, 1]]


def test_parts_of_one_frame_are_not_compared() -> None:
    assert found([painted(2), painted(2), painted(2)], [5, 5, 6]) == [[0, 1, 2]]
    assert found([painted(2), painted(2)], [5, 5]) == []


@pytest.mark.parametrize(("flips", "is_near"), [(7, True), (8, False)])
def test_hashes_are_near_up_to_seven_bits_wherever_they_lie(flips: int, is_near: bool) -> None:
    random = np.random.default_rng(flips)
    thumbnails = random.integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    hashes = [int(number) for number in random.integers(0, 2**64, 50, np.uint64)]
    changed = [number ^ sum(1 << int(bit) for bit in random.choice(64, flips, replace=False)) for number in hashes]
    expected = [[index, index + 50] for index in range(50)] if is_near else []
    assert grouped([*hashes, *changed], np.concatenate([thumbnails, thumbnails])) == expected


def test_film_of_a_still_scene_is_one_group() -> None:
    # 1,000 frames that share a band: more than are compared with each.
    thumbnail = np.asarray(painted(3).resize((16, 16)))
    hashes = [0x1234_5678_9ABC_0000 + number % 4 for number in range(1000)]
    assert grouped(hashes, np.stack([thumbnail] * 1000)) == [list(range(1000))]


def test_nothing_has_no_groups() -> None:
    assert groups(np.zeros(0, np.uint64), np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64)) == []
