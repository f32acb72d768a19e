"""Augmentation on the device, against formulas and identities."""

import colorsys

import pytest
import torch
from torch import Tensor

from tao_lite.data.augment import hsv
from tao_lite.data.augment.augment import Augment, Colour, change_colour, make_augment
from tao_lite.data.augment.mixes import Mixup
from tao_lite.data.augment.rand_augment import ROTATE, RandAugment
from tao_lite.data.augment.turning import Flip
from tao_lite.data.draws import CONTRAST, FLIP, HUE, NUM_DRAWS, SATURATION
from tao_lite.data.preprocess import Preprocess
from tests.data.batches import experiment, noise, one_pixel, some_draws

TAO = "compat: TAO_EXACT "


@pytest.mark.parametrize("channels", [1, 3])
def test_half_of_the_draws_flip(channels: int) -> None:
    images, draws = noise(batch=4, channels=channels), torch.ones(4, NUM_DRAWS)
    draws[:, FLIP] = torch.tensor([0.0, 0.5, 0.4999, 0.9999])
    flipped = Augment(Flip(0.5, 0))(images, draws)
    assert flipped.dtype == torch.uint8
    assert flipped.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(flipped[0], images[0].flip(2))
    assert torch.equal(flipped[1], images[1])
    assert torch.equal(flipped[2], images[2].flip(2))
    assert torch.equal(flipped[3], images[3])


def test_flipping_twice_is_nothing() -> None:
    images, draws = noise(), torch.zeros(6, NUM_DRAWS)
    flip = Augment(Flip(0.5, 0))
    assert not torch.equal(flip(images, draws), images)
    assert torch.equal(flip(flip(images, draws), draws), images)


def test_no_augmentation_is_nothing() -> None:
    images = noise()
    assert Augment()(images, some_draws(6)) is images


def test_medium_draws_change_no_colour() -> None:
    images = noise()
    changed = Augment(Colour())(images, torch.full((6, NUM_DRAWS), 0.5))
    assert changed.dtype == torch.float32
    assert (changed - images).abs().max() < 1e-3


def ones(batch: int) -> Tensor:
    return torch.ones(batch)


@pytest.mark.parametrize(("degrees", "shift"), [(120.0, 1), (240.0, 2), (-120.0, 2), (360.0, 0)])
def test_turning_the_hue_by_a_third_moves_each_channel_on(degrees: float, shift: int) -> None:
    # By 120 degrees red becomes green: what the red channel held, the green one holds.
    images = noise()
    turned = change_colour(images, ones(6) * degrees, ones(6), ones(6))
    assert (turned - images.roll(shift, dims=1)).abs().max() < 1e-3


@pytest.mark.parametrize("degrees", [-25.0, -10.0, 5.0, 25.0])
@pytest.mark.parametrize("colour", [(150, 120, 110), (90, 130, 100), (100, 110, 140)])
def test_hue_turns_in_the_direction_of_the_colour_wheel(degrees: float, colour: tuple[int, int, int]) -> None:
    turned = change_colour(one_pixel(*colour), ones(1) * degrees, ones(1), ones(1)).flatten() / 255
    before, after = (colorsys.rgb_to_hsv(*values)[0] * 360 for values in ([c / 255 for c in colour], turned.tolist()))
    # The wheel of HSV is a hexagon, whose angles differ from a circle's by less than 1.2 degrees at any point.
    assert (after - before + 180) % 360 - 180 == pytest.approx(degrees, abs=2.4)


def test_turning_the_hue_there_and_back_is_nothing() -> None:
    images = noise().float() * 0.2 + 100
    there = change_colour(images, ones(6) * 25, ones(6), ones(6))
    assert (there - images).abs().max() > 5
    assert (change_colour(there, ones(6) * -25, ones(6), ones(6)) - images).abs().max() < 1e-3


def test_saturation_scales_the_distance_from_grey() -> None:
    # (100, 130, 70) is 0, 30 and -30 from its mean, 100.
    changed = change_colour(one_pixel(100, 130, 70), torch.zeros(1), ones(1) * 1.2, ones(1))
    assert changed.flatten().tolist() == pytest.approx([100, 136, 64], abs=1e-4)


def test_no_saturation_is_grey() -> None:
    changed = change_colour(one_pixel(10, 20, 60), ones(1) * 17, torch.zeros(1), ones(1))
    assert changed.flatten().tolist() == pytest.approx([30, 30, 30], abs=1e-4)


def test_contrast_scales_the_distance_from_medium_grey() -> None:
    # 127.5 + 1.1 * (100 - 127.5) = 97.25; likewise 130.25 and 64.25.
    changed = change_colour(one_pixel(100, 130, 70), torch.zeros(1), ones(1), ones(1) * 1.1)
    assert changed.flatten().tolist() == pytest.approx([97.25, 130.25, 64.25], abs=1e-4)


def by_colorsys(pixel: list[int], degrees: float, saturation: float, contrast: float) -> list[float]:
    """TAO's steps with Python's own formulas: the channels taken as blue, green, red, in 0 .. 1, hue first."""
    blue, green, red = (value / 255 for value in pixel)
    hue, colourfulness, value = colorsys.rgb_to_hsv(red, green, blue)
    turned = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, colourfulness, value)
    hue, colourfulness, value = colorsys.rgb_to_hsv(*turned)
    changed = colorsys.hsv_to_rgb(hue, min(max(colourfulness + saturation, 0), 1), value)
    return [255 * min(max((channel - 0.5) * contrast + 0.5, 0), 1) for channel in reversed(changed)]


@pytest.mark.parametrize(
    ("degrees", "saturation", "contrast"),
    [(25.0, 0.2, 1.1), (-25.0, -0.2, 0.9), (10.0, 0.1, 1.0), (-3.0, 0.0, 1.05), (0.0, 0.2, 1.0)],
)
def test_the_colours_of_tao_are_those_of_its_steps_one_by_one(
    degrees: float, saturation: float, contrast: float
) -> None:
    images = noise(batch=3)
    images[0, :, :, 0] = torch.arange(9, dtype=torch.uint8) * 31  # greys, from black on
    images[0, :, 0, 1] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    changed = hsv.change_colour(images, *(ones(3) * value for value in (degrees, saturation, contrast)))
    assert changed.dtype == torch.uint8
    assert changed.is_contiguous(memory_format=torch.channels_last)
    for image, found in zip(images.flatten(2).unbind(), changed.flatten(2).unbind(), strict=True):
        for pixel, colour in zip(image.T.tolist(), found.T.tolist(), strict=True):
            expected = by_colorsys(pixel, degrees, saturation, contrast)
            # Fractions are cut off; a thousandth is left for rounding in 32 bits.
            assert all(exact - 1 - 1e-3 < value < exact + 1e-3 for value, exact in zip(colour, expected, strict=True))


def test_tao_tints_greys_blue_where_saturation_rises() -> None:
    # A grey has hue 0, which in BGR is the third channel's: value 100 stays, the others are 100 * (1 - 0.2).
    changed = hsv.change_colour(one_pixel(100, 100, 100).to(torch.uint8), ones(1) * 25, ones(1) * 0.2, ones(1))
    assert changed.flatten().tolist() == [80, 80, 100]


def test_the_spec_chooses_the_colours_of_tao() -> None:
    text = 'model_config { input_image_size: "3,32,32" } train_config { enable_color_augmentation: true }'
    images, draws = noise(batch=5), some_draws(5)
    draws[:, FLIP] = 1
    found = make_augment(experiment(TAO + text))(images, draws)
    either_way = 2 * draws - 1
    expected = hsv.change_colour(
        images, either_way[:, HUE] * 25, either_way[:, SATURATION] * 0.2, 1 + either_way[:, CONTRAST] * 0.1
    )
    assert torch.equal(found, expected)
    assert found.dtype == torch.uint8


def test_medium_draws_change_no_pixel_in_tao() -> None:
    images = noise()
    draws = torch.full((6, NUM_DRAWS), 0.5)
    assert torch.equal(Augment(Colour(exact=True))(images, draws), images)


def test_greys_keep_their_colour() -> None:
    grey = torch.arange(0, 256, 5, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    changed = change_colour(grey, torch.full((52,), 25.0), torch.full((52,), 1.2), torch.ones(52))
    assert (changed - grey).abs().max() < 1e-3


def test_colours_stay_in_range() -> None:
    images = torch.tensor([0.0, 255.0]).view(2, 1, 1, 1) * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    changed = change_colour(images, torch.tensor([25.0, 25.0]), ones(2) * 1.2, ones(2) * 1.1)
    assert changed.min() == 0
    assert changed.max() == 255


def test_the_ends_of_the_draws_are_the_limits_of_tao() -> None:
    images = noise(batch=2)
    draws = torch.zeros(2, NUM_DRAWS)
    draws[1, [HUE, SATURATION, CONTRAST]] = 1
    expected = change_colour(images, torch.tensor([-25.0, 25.0]), torch.tensor([0.8, 1.2]), torch.tensor([0.9, 1.1]))
    assert (Augment(Colour())(images, draws) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("exact", [False, True])
def test_augmentation_gives_the_same_bits_in_any_batch(exact: bool) -> None:
    images, draws = noise(batch=5), some_draws(5)
    augment = Augment(Flip(0.5, 0), Colour(exact=exact))
    together = augment(images, draws)
    assert together.is_contiguous(memory_format=torch.channels_last)
    for index in range(5):
        part = slice(index, index + 1)
        assert torch.equal(augment(images[part], draws[part]), together[part])


@pytest.mark.parametrize("exact", [False, True])
def test_autocast_takes_no_precision_away(exact: bool) -> None:
    images, draws, labels = noise(), some_draws(6), torch.arange(6)
    augment, preprocess, mixup = (
        Augment(Flip(0.5, 0), Colour(exact=exact)),
        Preprocess.of_mode("torch", 3),
        Mixup(0.4),
    )
    expected = mixup(preprocess(augment(images, draws)), labels, draws)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixup(preprocess(augment(images, draws)), labels, draws)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def steps(train: str, size: str = "3,32,32") -> list[object]:
    """What the spec makes of this train_config."""
    text = f'model_config {{ input_image_size: "{size}" }} train_config {{ preprocess_mode: "tf" {train} }}'
    return list(make_augment(experiment(text)).steps)


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("", ["Flip"]),
        ("hflip_probability: 0", []),
        ("disable_horizontal_flip: true", []),
        ("disable_horizontal_flip: true vflip_probability: 0.5", ["Flip"]),
        ("enable_color_augmentation: true", ["Flip", "Colour"]),
        ("enable_color_augmentation: true random_color { }", ["Flip", "Jitter"]),
        (
            "random_color { } random_blur { } random_rotate { } rand_augment { }",
            ["Flip", "Rotate", "RandAugment", "Blur", "Jitter"],
        ),
    ],
)
def test_the_spec_sets_augmentation(train: str, expected: list[str]) -> None:
    assert [type(step).__name__ for step in steps(train)] == expected


def test_the_spec_sets_rand_augment() -> None:
    (found,) = steps("disable_horizontal_flip: true rand_augment { num_operations: 3 magnitude: 10 }")
    assert isinstance(found, RandAugment)
    assert found.num_operations == 3
    assert found.strengths[ROTATE].item() == pytest.approx(0.5)  # the sine of 30 degrees
    assert found.fill.flatten().tolist() == pytest.approx([127.5] * 3)


def test_rand_augment_stands_between_flip_and_colour() -> None:
    rand_augment, images, draws = RandAugment(2, 9, [0.0] * 3), noise(), some_draws(6)
    flip, colour = Augment(Flip(0.5, 0)), Augment(Colour())
    found = Augment(Flip(0.5, 0), rand_augment, Colour())(images, draws)
    assert torch.equal(found, colour(rand_augment(flip(images, draws), draws), draws))


def test_colour_of_grey_images_is_ignored() -> None:
    assert [type(step) for step in steps("enable_color_augmentation: true", "1,32,32")] == [Flip]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("exact", "tolerance"), [(False, 1e-4), (True, 1 / 50)])  # a fraction may turn a cut
def test_a_gpu_computes_the_same_without_waiting_for_it(exact: bool, tolerance: float) -> None:
    images, draws, labels = noise(), some_draws(6), torch.arange(6)
    augment, preprocess, mixup = (
        Augment(Flip(0.5, 0), Colour(exact=exact)),
        Preprocess.of_mode("torch", 3),
        Mixup(0.4),
    )
    expected = mixup(preprocess(augment(images, draws)), labels, draws)
    preprocess.cuda()
    mixup.cuda()
    on_device = [tensor.cuda() for tensor in (images, draws, labels)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = mixup(preprocess(augment(on_device[0], on_device[1])), on_device[2], on_device[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all((a.cpu() - b).abs().max() < tolerance for a, b in zip(found, expected, strict=True))
