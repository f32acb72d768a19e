"""Normalisation, against formulas and identities."""

import pytest
import torch

from tao_lite.data.preprocess import CAFFE_MEAN, Preprocess, make_preprocess
from tao_lite.errors import SpecError
from tests.data.batches import experiment, noise, one_pixel

MODES = ["caffe", "torch", "tf"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # Blue 30, green 20, red 10, less ImageNet's means.
        ("caffe", (30 - 103.939, 20 - 116.779, 10 - 123.68)),
        ("torch", ((10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225)),
        ("tf", (10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1)),
    ],
)
def test_a_colour_pixel_becomes_what_the_formula_says(mode: str, expected: tuple[float, ...]) -> None:
    pixel = one_pixel(10, 20, 30).to(torch.uint8)
    assert Preprocess.of_mode(mode, 3)(pixel).flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"), [("caffe", 200 - 117.3786), ("torch", (200 / 255 - 0.449) / 0.226), ("tf", 200 / 127.5 - 1)]
)
def test_a_grey_pixel_becomes_what_the_formula_says(mode: str, expected: float) -> None:
    assert Preprocess.of_mode(mode, 1)(one_pixel(200).to(torch.uint8)).item() == pytest.approx(expected, rel=1e-6)


def test_caffe_subtracts_another_mean_if_one_is_given() -> None:
    # In the order blue, green, red.
    pixel = one_pixel(10, 20, 30).to(torch.uint8)
    assert Preprocess.of_mode("caffe", 3, (1.0, 2.0, 3.0))(pixel).flatten().tolist() == [29, 18, 7]
    assert Preprocess.of_mode("caffe", 1, (100.5,))(one_pixel(50).to(torch.uint8)).item() == -50.5


def test_tf_covers_minus_one_to_one() -> None:
    assert Preprocess.of_mode("tf", 3)(one_pixel(0, 255, 255).to(torch.uint8)).flatten().tolist() == pytest.approx(
        [-1, 1, 1], abs=1e-6
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_whole_batches_become_float32_and_stay_channels_last(mode: str, channels: int) -> None:
    images = noise(channels=channels)
    values = Preprocess.of_mode(mode, channels)(images)
    assert values.dtype == torch.float32
    assert values.shape == images.shape
    assert values.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_normalising_equals_the_textbook_formula(mode: str, channels: int) -> None:
    images = noise(channels=channels)
    values = images.double()
    if mode == "caffe":
        mean = torch.tensor([103.939, 116.779, 123.68] if channels == 3 else [117.3786], dtype=torch.float64)
        expected = values.flip(1) - mean.view(-1, 1, 1)
    elif mode == "torch":
        mean = torch.tensor([0.485, 0.456, 0.406] if channels == 3 else [0.449], dtype=torch.float64)
        std = torch.tensor([0.229, 0.224, 0.225] if channels == 3 else [0.226], dtype=torch.float64)
        expected = (values / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    else:
        expected = values / 127.5 - 1
    assert (Preprocess.of_mode(mode, channels)(images) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("mode", MODES)
def test_an_image_gives_the_same_bits_in_any_batch_layout_and_type(mode: str) -> None:
    preprocess, images = Preprocess.of_mode(mode, 3), noise(batch=5)
    together = preprocess(images)
    for index in range(5):
        assert torch.equal(preprocess(images[index : index + 1]), together[index : index + 1])
    assert torch.equal(preprocess(images.contiguous()), together)
    assert torch.equal(preprocess(images.float()), together)


@pytest.mark.parametrize("mode", MODES)
def test_normalising_leaves_its_input_alone(mode: str) -> None:
    for images in (noise(), noise().float()):
        before = images.clone()
        Preprocess.of_mode(mode, 3)(images)
        assert torch.equal(images, before)


TAO = "compat: TAO_EXACT "


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("3,32,32", [(200 / 255 - mean) / 0.224 for mean in (0.485, 0.456, 0.406)]),
        ("1,32,32", [(200 / 255 - 0.449) / 0.224]),
    ],
)
def test_tao_divides_by_the_same_deviation_throughout(size: str, expected: list[float]) -> None:
    pixel = one_pixel(*[200] * len(expected)).to(torch.uint8)
    for ignored in ("", mean(r=3)):
        text = f'model_config {{ input_image_size: "{size}" }} train_config {{ preprocess_mode: "torch" {ignored} }}'
        preprocess = make_preprocess(experiment(TAO + text))
        assert preprocess(pixel).flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", ["caffe", "tf"])
def test_tao_normalises_otherwise_as_documented(mode: str) -> None:
    text = f'model_config {{ input_image_size: "3,32,32" }} train_config {{ preprocess_mode: "{mode}" }}'
    exact, corrected = (make_preprocess(experiment(prefix + text)) for prefix in (TAO, ""))
    assert (exact.order, exact.mean, exact.factors) == (corrected.order, corrected.mean, corrected.factors)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_exported_computes_the_same(mode: str, channels: int) -> None:
    preprocess, images = Preprocess.of_mode(mode, channels), noise(channels=channels)
    assert (preprocess.exportable(images) - preprocess(images)).abs().max() < 1e-5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_images_are_shown_as_they_were(mode: str, channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess.of_mode(mode, channels)
    assert torch.equal(preprocess.inverse(preprocess(images)), images)


def test_pixels_beyond_black_and_white_are_cut_off() -> None:
    assert Preprocess.of_mode("tf", 1).inverse(torch.tensor([[[[-1.5, 1.5]]]])).tolist() == [[[[0, 255]]]]


def test_normalisation_adds_nothing_to_a_state_dict() -> None:
    assert Preprocess.of_mode("torch", 3).state_dict() == {}


def test_the_spec_sets_normalisation() -> None:
    size = 'model_config { input_image_size: "3,32,32" } '
    caffe = make_preprocess(experiment(size))
    assert (caffe.order, caffe.mean, caffe.factors) == ("BGR", CAFFE_MEAN[3], (1, 1, 1))
    torch_mode = make_preprocess(experiment(size + 'train_config { preprocess_mode: "torch" }'))
    assert (torch_mode.order, torch_mode.mean) == ("RGB", (255 * 0.485, 255 * 0.456, 255 * 0.406))


def mean(**values: float) -> str:
    return " ".join(f'image_mean {{ key: "{key}" value: {value} }}' for key, value in values.items())


def test_the_spec_sets_the_mean_by_channel() -> None:
    colour = f'model_config {{ input_image_size: "3,32,32" }} train_config {{ {mean(r=3, g=2, b=1)} }}'
    assert make_preprocess(experiment(colour)).mean == (1, 2, 3)
    grey = f'model_config {{ input_image_size: "1,32,32" }} train_config {{ {mean(l=99)} }}'
    assert make_preprocess(experiment(grey)).mean == (99,)


def test_a_mean_without_a_channel_is_an_error() -> None:
    text = f'model_config {{ input_image_size: "3,32,32" }} train_config {{ {mean(r=3, b=1)} }}'
    with pytest.raises(SpecError) as caught:
        make_preprocess(experiment(text))
    assert str(caught.value) == ("train_config.image_mean: no key 'g'; set all of b, g, r, or none for ImageNet's mean")


@pytest.mark.parametrize("size", ["3,32,32", "1,32,32"])
@pytest.mark.parametrize("train", [*(f'preprocess_mode: "{mode}"' for mode in MODES), mean(r=3, g=2, b=1, l=9)])
def test_the_mean_pixel_becomes_zero(train: str, size: str) -> None:
    text = f'model_config {{ input_image_size: "{size}" }} train_config {{ {train} }}'
    preprocess = make_preprocess(experiment(text))
    assert preprocess(one_pixel(*preprocess.mean_pixel)).abs().max() < 1e-5


def test_a_mean_outside_caffe_mode_is_ignored() -> None:
    text = f'model_config {{ input_image_size: "3,32,32" }} train_config {{ preprocess_mode: "tf" {mean(r=3)} }}'
    assert make_preprocess(experiment(text)).mean == (127.5, 127.5, 127.5)
