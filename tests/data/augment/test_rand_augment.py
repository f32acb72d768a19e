"""RandAugment's operations, each against torchvision, and which image gets which."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment as TorchvisionRandAugment

from tao_lite.data.augment import rand_augment as numbers
from tao_lite.data.augment.rand_augment import NUM_OPERATIONS, RandAugment
from tao_lite.data.draws import NUM_DRAWS, OPERATIONS, SIGNS
from tests.data.batches import noise, some_draws

GEOMETRY = {
    numbers.SHEAR_X: "ShearX",
    numbers.SHEAR_Y: "ShearY",
    numbers.TRANSLATE_X: "TranslateX",
    numbers.TRANSLATE_Y: "TranslateY",
    numbers.ROTATE: "Rotate",
}
VALUES = {
    numbers.IDENTITY: "Identity",
    numbers.COLOR: "Color",
    numbers.SHARPNESS: "Sharpness",
    numbers.BRIGHTNESS: "Brightness",
    numbers.CONTRAST: "Contrast",
    numbers.POSTERIZE: "Posterize",
    numbers.SOLARIZE: "Solarize",
    numbers.AUTO_CONTRAST: "AutoContrast",
    numbers.EQUALIZE: "Equalize",
}
REFERENCE = TorchvisionRandAugment(interpolation=InterpolationMode.BILINEAR)


def pictures(channels: int = 3, height: int = 26, width: int = 20) -> Tensor:
    """Noise over all values, over few, with a channel of one value, mostly dark."""
    images = noise(4, channels, height, width)
    images[1] = images[1] // 3 + 60
    images[2, 0] = 77
    images[3] = (images[3].float() ** 2 / 255).to(torch.uint8)
    return images


def rand_augment(magnitude: float = 9, fill: float = 0, channels: int = 3) -> RandAugment:
    return RandAugment(2, magnitude, [fill] * channels)


def after(images: Tensor, operation: int, *, is_negative: bool, how: RandAugment) -> Tensor:
    every = torch.ones(len(images), dtype=torch.bool)
    return how.apply_one(images, every * operation, every & is_negative)


def by_torchvision(image: object, name: str, magnitude: int, size: tuple[int, int], *, is_negative: bool) -> object:
    """The image after torchvision's operation, at bin 3 * magnitude of 0 to 30."""
    bins, is_signed = REFERENCE._AUGMENTATION_SPACE[name]
    levels = bins(31, *size)
    strength = 0.0 if levels is None else float(levels[3 * magnitude])
    strength = -strength if is_signed and is_negative else strength
    return REFERENCE._apply_image_or_video_transform(
        image, name, strength, interpolation=REFERENCE.interpolation, fill=REFERENCE._fill
    )


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def furthest(found: Tensor, expected: object) -> float:
    """The largest difference from a tensor or from a picture of Pillow."""
    if not isinstance(expected, Tensor):
        expected = torch.from_numpy(np.array(expected)).view(*found.shape[1:], -1).permute(2, 0, 1)
    return (found.float() - expected.float()).abs().max().item()


def test_the_operations_are_those_of_torchvision() -> None:
    assert {**GEOMETRY, **VALUES}.keys() == set(range(NUM_OPERATIONS))
    assert {*GEOMETRY.values(), *VALUES.values()} == set(REFERENCE._AUGMENTATION_SPACE)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_negative", [False, True])
@pytest.mark.parametrize("magnitude", [0, 3, 9, 10])
@pytest.mark.parametrize("operation", GEOMETRY)
def test_geometry_is_that_of_torchvision(operation: int, magnitude: int, is_negative: bool, channels: int) -> None:
    """Its formula on tensors. One level apart where float32 rounds to the other side of a half."""
    images, how = pictures(channels), rand_augment(magnitude, channels=channels)
    found = after(images, operation, is_negative=is_negative, how=how)
    for image, changed in zip(images, found, strict=True):
        expected = by_torchvision(image, GEOMETRY[operation], magnitude, (26, 20), is_negative=is_negative)
        assert furthest(changed, expected) <= 1
    assert magnitude == 0 or not torch.equal(found, images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_negative", [False, True])
@pytest.mark.parametrize("magnitude", [0, 3, 9, 10])
@pytest.mark.parametrize("operation", VALUES)
def test_colours_are_those_of_torchvision(operation: int, magnitude: int, is_negative: bool, channels: int) -> None:
    """Its way with pictures of Pillow, whose means and blurs are whole numbers and whose results are cut off.

    A whole number is 0.5 away at most and counts 0.9 times, so less than one level is between both before ours are
    rounded and Pillow's are cut off: one level after.
    """
    images, how = pictures(channels), rand_augment(magnitude, channels=channels)
    found = after(images, operation, is_negative=is_negative, how=how)
    for image, changed in zip(images, found, strict=True):
        expected = by_torchvision(pillow(image), VALUES[operation], magnitude, (26, 20), is_negative=is_negative)
        assert furthest(changed, expected) <= 1


@pytest.mark.parametrize("operation", [numbers.POSTERIZE, numbers.SOLARIZE, numbers.EQUALIZE])
def test_operations_in_whole_numbers_are_exactly_those_of_torchvision(operation: int) -> None:
    images = pictures()
    for image, changed in zip(images, after(images, operation, is_negative=False, how=rand_augment()), strict=True):
        expected = by_torchvision(image, VALUES[operation], 9, (26, 20), is_negative=False)
        assert furthest(changed, expected) == 0


@pytest.mark.parametrize("operation", GEOMETRY)
def test_what_comes_from_outside_is_the_fill(operation: int) -> None:
    """As torchvision has it, outside is 0: so it is for the distance from the fill, in float32."""
    images = pictures()
    found = after(images, operation, is_negative=False, how=rand_augment(fill=90))
    for image, changed in zip(images, found, strict=True):
        distance = by_torchvision(image.float() - 90, GEOMETRY[operation], 9, (26, 20), is_negative=False)
        assert isinstance(distance, Tensor)
        assert furthest(changed, distance + 90) <= 0.5 + 1e-3  # rounding
    assert (found == 90).float().mean() > 0.02


def one_each(images: Tensor, how: RandAugment) -> Tensor:
    """Images 0 to 13 after the operations 0 to 13, every other one the other way round."""
    each = torch.arange(NUM_OPERATIONS)
    return how.apply_one(images, each, each % 2 == 0)


def test_each_image_gets_its_own_operation_and_no_other() -> None:
    images, how = noise(NUM_OPERATIONS, 3, 26, 20), rand_augment()
    found = one_each(images, how)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for number in range(NUM_OPERATIONS):
        alone = after(images, number, is_negative=number % 2 == 0, how=how)
        assert torch.equal(found[number], alone[number]), number


def test_a_device_that_must_not_be_waited_for_computes_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    images, how = noise(NUM_OPERATIONS, 3, 26, 20), rand_augment(fill=90)
    expected = one_each(images, how)
    monkeypatch.setattr("tao_lite.data.augment.per_image.WAIT_FREE", ())
    found = one_each(images, how)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_draws_choose_operations_evenly_and_the_way_round() -> None:
    draws = torch.zeros(4 * NUM_OPERATIONS, NUM_DRAWS)
    operation = torch.arange(4 * NUM_OPERATIONS) // 4
    # The ends of each of the 14 intervals, with the sign on either side of a half.
    draws[:, OPERATIONS[0]] = operation / NUM_OPERATIONS + 1e-6
    draws[2::4, OPERATIONS[0]] += 1 / NUM_OPERATIONS - 2e-6
    draws[-2, OPERATIONS[0]] = 1 - 2.0**-24
    draws[1::2, SIGNS[0]] = 0.5
    images = pictures()[:1].expand(len(draws), -1, -1, -1)
    found = RandAugment(1, 9, [0.0] * 3)(images, draws)
    assert torch.equal(found, rand_augment().apply_one(images, operation, draws[:, SIGNS[0]] < 0.5))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_operations_come_one_after_the_other(count: int) -> None:
    images, draws, how = noise(8, 3, 26, 20), some_draws(8), RandAugment(count, 9, [90.0] * 3)
    expected = images
    for number in range(count):
        chosen = (draws[:, OPERATIONS[number]] * NUM_OPERATIONS).long()
        expected = how.apply_one(expected, chosen, draws[:, SIGNS[number]] < 0.5)
    assert torch.equal(how(images, draws), expected)
    assert how.state_dict() == {}
