"""Folding batch norm: the same outputs from fewer operations."""

import copy

import pytest
import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tao_lite.models.architectures import build
from tao_lite.models.fold import folded
from tao_lite.spec import classification_pb2 as pb


def trained(model_config: str) -> nn.Module:
    """The network with statistics and factors as after a training: nothing is 0 or 1."""
    torch.manual_seed(0)
    network = build(text_format.Parse(f'input_image_size: "3,64,64" {model_config}', pb.ModelConfig()), 3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    return network


def num_batch_norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize(
    "model_config",
    [
        'arch: "resnet" n_layers: 10 use_batch_norm: true',
        pytest.param('arch: "vgg" n_layers: 16 use_batch_norm: true use_bias: true', marks=pytest.mark.slow),
        'arch: "mobilenet_v2" use_batch_norm: true',
        'arch: "efficientnet_b0"',
        'arch: "cspdarknet_tiny" use_batch_norm: true',
    ],
)
def test_a_folded_network_computes_the_same_without_batch_norm(model_config: str) -> None:
    network = trained(model_config)
    before = copy.deepcopy(network.state_dict())
    network.train()
    light = folded(network)
    images = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(light(images), network(images), rtol=1e-4, atol=1e-4)
    assert num_batch_norms(network) > 0
    assert num_batch_norms(light) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class _Shared(nn.Module):
    """Reads a convolution with and without its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.normal_(self.norm.bias)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images)
        return torch.cat([values, self.norm(values)], dim=1)


def test_a_convolution_that_others_read_too_is_left_as_it_is() -> None:
    network, images = _Shared(), torch.randn(2, 3, 8, 8)
    light = folded(network)
    assert num_batch_norms(light) == 1
    assert torch.equal(light(images), network(images))


class _DependsOnData(nn.Module):
    """Can't be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.norm(self.conv(images))
        return values if values.sum() > 0 else -values


def test_a_network_that_cannot_be_traced_is_used_as_it_is() -> None:
    network = _DependsOnData()
    assert folded(network) is network
    assert not network.training
