"""Pixels of the images that a training shows."""

import pytest
import torch

from tao_lite.data.preprocess import Preprocess
from tao_lite.stages.train.watching import _number, _pixels


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_images_are_shown_as_they_were(mode: str, channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess(mode, channels)
    assert torch.equal(_pixels(preprocess(images), preprocess), images)


def test_pixels_beyond_black_and_white_are_cut_off() -> None:
    preprocess = Preprocess("tf", 1)
    assert _pixels(torch.tensor([[[[-1.5, 1.5]]]]), preprocess).tolist() == [[[[0, 255]]]]


@pytest.mark.parametrize(("text", "value"), [("1e-05", 1e-5), ('"resnet"', "resnet"), ("true", "true"), ('""', "")])
def test_settings_are_numbers_or_words(text: str, value: float | str) -> None:
    assert _number(text) == value
