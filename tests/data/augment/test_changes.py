"""Mirroring, quarter turns, blur and jitter: against torchvision, and which image gets what."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as reference

from tao_lite.data import draws as columns_of
from tao_lite.data.augment.augment import Augment
from tao_lite.data.augment.blur import Blur
from tao_lite.data.augment.jitter import Jitter
from tao_lite.data.augment.turning import ANGLES, Flip, Rotate
from tao_lite.data.draws import BRIGHTNESS, CONTRAST, HUE, NUM_DRAWS, SATURATION
from tests.data.batches import noise, some_draws

ALL = (
    Flip(0.3, 0.4),
    Rotate(0.6, ANGLES),
    Blur(0.5, 2),
    Jitter(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.2),
)
STEPS = pytest.mark.parametrize("step", ALL, ids=lambda step: type(step).__name__)


def drawn(batch: int, **columns: float | list[float]) -> Tensor:
    """Draws of a half, but for those that are named."""
    draws = torch.full((batch, NUM_DRAWS), 0.5)
    for name, value in columns.items():
        draws[:, getattr(columns_of, name.upper())] = torch.tensor(value)
    return draws


def furthest(found: Tensor, expected: Tensor) -> float:
    return (found.float() - expected.float()).abs().max().item()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_mirrored_by_their_draws(channels: int) -> None:
    images = noise(4, channels)
    draws = drawn(4, flip=[0.1, 0.1, 0.3, 0.9], vertical_flip=[0.39, 0.4, 0.1, 0.9])
    found = Flip(0.3, 0.4)(images, draws)
    expected = [images[0].flip(2).flip(1), images[1].flip(2), images[2].flip(1), images[3]]
    assert torch.equal(found, torch.stack(expected))


def test_images_are_turned_counter_clockwise_by_their_draws() -> None:
    images = noise(5, 3, 8, 8)
    draws = drawn(5, rotate=[0.0, 0.59, 0.3, 0.6, 0.1], angle=[0.33, 0.34, 0.99, 0.1, 0.67])
    found = Rotate(0.6, ANGLES)(images, draws)
    angles = [90, 180, 270, 0, 270]
    turned = [reference.rotate(image, angle) for image, angle in zip(images, angles, strict=True)]
    assert torch.equal(found, torch.stack(turned))


def test_images_that_are_no_squares_may_be_turned_by_a_half() -> None:
    images = noise(2)
    assert torch.equal(Rotate(1, [180])(images, drawn(2)), images.flip(2, 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("largest", "draw"), [(1.0, 0.3), (1.0, 0.999), (2.0, 0.5), (4.0, 0.9)])
def test_a_blur_is_that_of_torchvision(channels: int, largest: float, draw: float) -> None:
    images = noise(2, channels, 40, 28)
    found = Blur(1, largest)(images, drawn(2, radius=draw))
    width = 2 * int(3 * largest) + 1
    expected = reference.gaussian_blur(images, [width, width], [draw * largest] * 2)
    assert furthest(found, expected) <= 1
    assert furthest(found, images) >= 3


def test_each_image_is_blurred_by_its_own_draws() -> None:
    images = noise(4, 3, 16, 16)
    draws = drawn(4, blur=[0.49, 0.5, 0.1, 0.1], radius=[0.9, 0.9, 0.0, 0.2])
    found = Blur(0.5, 2)(images, draws)
    assert [not torch.equal(*pair) for pair in zip(found, images, strict=True)] == [True, False, False, True]
    assert furthest(found[0], images[0].float().mean()) < furthest(found[3], images[3].float().mean())


def by_torchvision(image: Tensor, factors: list[float], hue: float) -> Tensor:
    """Brightness, contrast, saturation and hue in float32."""
    values = image.float() / 255
    for change, factor in zip(
        (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation), factors, strict=True
    ):
        values = change(values, factor)
    changed: Tensor = reference.adjust_hue(values, hue) * 255
    return changed


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("hue", [0.0, 0.1, 0.5])
def test_colours_are_those_of_torchvision(strength: float, hue: float) -> None:
    images, draws = noise(6, 3, 20, 12), some_draws(6)
    images[0] = images[0] // 3 + 60
    images[1] = images[1, :1]  # greys
    found = Jitter(brightness=strength, contrast=strength, saturation=strength, hue=hue)(images, draws)
    for image, changed, draw in zip(images, found, (2 * draws - 1).tolist(), strict=True):
        factors = [max(0.0, 1 + strength * draw[column]) for column in (BRIGHTNESS, CONTRAST, SATURATION)]
        assert furthest(changed, by_torchvision(image, factors, hue * draw[HUE])) <= 1


def test_grey_images_change_in_brightness_and_contrast_only() -> None:
    images, draws = noise(4, 1), some_draws(4)
    assert torch.equal(Jitter(brightness=0, contrast=0, saturation=2, hue=0.5)(images, draws), images)
    assert furthest(Jitter(brightness=0.5, contrast=0, saturation=0, hue=0)(images, draws), images) > 10


@STEPS
def test_an_image_gives_the_same_bits_in_any_batch(step: nn.Module) -> None:
    images, draws = noise(8, 3, 24, 24), some_draws(8)
    together = step(images, draws)
    assert together.dtype == torch.uint8
    assert together.is_contiguous(memory_format=torch.channels_last)
    alone = [step(images[one : one + 1], draws[one : one + 1]) for one in range(8)]
    assert torch.equal(together, torch.cat(alone))


@STEPS
def test_a_device_that_must_not_be_waited_for_computes_the_same_bits(
    step: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, draws = noise(8, 3, 24, 24), some_draws(8)
    expected = step(images, draws)
    monkeypatch.setattr("tao_lite.data.augment.per_image.WAIT_FREE", ())
    found = step(images, draws)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@STEPS
def test_autocast_takes_no_precision_away(step: nn.Module) -> None:
    images, draws = noise(8, 3, 24, 24), some_draws(8)
    expected = step(images, draws)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(step(images, draws), expected)


def test_there_is_nothing_to_save() -> None:
    assert Augment(*ALL).state_dict() == {}
