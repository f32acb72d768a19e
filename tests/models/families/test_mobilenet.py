"""MobileNet versions 1 and 2, against their papers and the libraries they come from."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from tao_lite.models.architectures import Options
from tao_lite.models.families import adapt, mobilenet


def make(version: int, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return mobilenet.build(Options(arch=f"mobilenet_v{version}", num_classes=10, n_layers=0, **switches))


@pytest.mark.parametrize("version", [1, 2])
def test_state_of_the_library_gives_the_same_logits(version: int) -> None:
    reference = (
        timm.create_model("mobilenetv1_100", num_classes=10)
        if version == 1
        else torchvision.models.mobilenet_v2(num_classes=10)
    ).eval()
    network = make(version).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_version_1_has_the_widths_of_the_paper() -> None:
    # arXiv:1704.04861, table 1: a convolution, then 13 pairs of a depthwise and a 1x1 convolution.
    layers = adapt.convolutions(make(1))
    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert [layer.out_channels for layer in layers if layer.groups == 1] == widths
    strides = [layer.stride[0] for layer in layers if layer.groups > 1]
    assert strides == [1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1]


def test_projections_are_added_to_the_shortcuts_that_have_none_and_start_as_identity() -> None:
    plain, projected = make(2), make(2, all_projections=True)
    added = projected.state_dict().keys() - plain.state_dict().keys()
    # arXiv:1801.04381, table 2: stages of 1, 2, 3, 4, 3, 3 and 1 blocks; all but the first of each have a shortcut.
    blocks = [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert sorted(added) == sorted(f"features.{block}.downsample.0.weight" for block in blocks)
    assert plain.state_dict().keys() <= projected.state_dict().keys()
    projected.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(projected.eval()(images), plain.eval()(images))
