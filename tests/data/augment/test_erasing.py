"""Random erasing: which boxes, of how many images."""

import math

import pytest
import torch
from torch import Tensor

from tao_lite.data.augment.erasing import erase, make_erase
from tao_lite.data.draws import ERASE, ERASE_AREA, ERASE_ASPECT, ERASE_LEFT, ERASE_TOP, NUM_DRAWS
from tests.data.batches import experiment, noise, some_draws


def boxes(height: int, width: int, draws: Tensor) -> list[tuple[int, int, int, int]]:
    """Of each image the first row and column that were erased, and how many."""
    images = torch.ones(len(draws), 1, height, width)
    found = []
    for image in erase(images, draws, probability=0.999)[:, 0]:
        rows, columns = ((image == 0).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        assert (image == 0).sum() == len(rows) * len(columns)
        found.append((rows[0], columns[0], len(rows), len(columns)))
    return found


def draw(**columns: float) -> Tensor:
    draws = torch.full((1, NUM_DRAWS), 0.5)
    names = {"area": ERASE_AREA, "aspect": ERASE_ASPECT, "top": ERASE_TOP, "left": ERASE_LEFT}
    for name, value in columns.items():
        draws[:, names[name]] = value
    return draws


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        # By the formulas, in an image of 100 x 200. At 0.5 the area is 0.17667 of 20000: a square of 59.4 pixels.
        ({}, (20, 70, 60, 60)),
        ({"area": 0.0, "top": 0.0, "left": 0.0}, (0, 0, 20, 20)),  # 400 pixels
        ({"area": 0.0, "top": 1.0, "left": 1.0}, (80, 180, 20, 20)),
        ({"area": 0.0, "aspect": 0.0, "top": 0.0, "left": 0.0}, (0, 0, 11, 37)),  # 10.95 x 36.5
        ({"area": 0.0, "aspect": 1.0, "top": 0.0, "left": 0.0}, (0, 0, 37, 11)),
        ({"area": 1.0, "aspect": 1.0, "left": 0.0}, (0, 0, 100, 45)),  # 149 x 44.7: as high as the image
    ],
)
def test_a_box_is_what_the_draws_say(columns: dict[str, float], expected: tuple[int, ...]) -> None:
    assert boxes(100, 200, draw(**columns)) == [expected]


def test_boxes_cover_the_shares_and_aspects_of_the_paper() -> None:
    # In 1000 x 1000 a side is rounded by a pixel at most, and is 77 (sqrt(0.02 * 0.3) of 1000) at least.
    draws = some_draws(40)
    draws[:, ERASE] = 0
    found = boxes(1000, 1000, draws)
    for top, left, height, width in found:
        assert 0.02 * 0.97 <= height * width / 1e6 <= 1 / 3 * 1.03
        assert 0.3 * 0.97 <= height / width <= 1 / 0.3 * 1.03
        assert top + height <= 1000
        assert left + width <= 1000
    logs = [math.log(height / width) for _, _, height, width in found]
    # Even on the logarithm's scale: the mean of 40 has deviation log(1 / 0.3) / sqrt(3 * 40).
    assert abs(sum(logs) / 40) < 4 * math.log(1 / 0.3) / 120**0.5


def test_the_rest_of_the_image_and_the_other_images_stay() -> None:
    images, draws = noise().float() + 1, some_draws(6)
    before = images.clone()
    draws[:, ERASE] = torch.tensor([0.0, 0.2999, 0.3, 0.9, 0.1, 0.5])
    erased = erase(images, draws, probability=0.3)
    assert torch.equal(images, before)
    assert erased.is_contiguous(memory_format=torch.channels_last)
    assert [bool((image == 0).any()) for image in erased] == [True, True, False, False, True, False]
    assert bool(((erased == images) | (erased == 0)).all())
    assert torch.equal((erased == 0).any(1), (erased == 0).all(1))  # all channels


def test_the_spec_sets_random_erasing() -> None:
    assert make_erase(experiment("")) is None
    found = make_erase(experiment("train_config { random_erasing: 0.25 }"))
    assert found is not None
    images, draws = torch.ones(2, 3, 9, 9), some_draws(2)
    draws[:, ERASE] = torch.tensor([0.2499, 0.25])
    assert [bool((image == 0).any()) for image in found(images, draws)] == [True, False]
