"""AlexNet and SqueezeNet: their heads, against TAO's code and torchvision."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from tao_lite.models import block_names
from tao_lite.models.architectures import Options
from tao_lite.models.families import alexnet, squeezenet
from tao_lite.spec import classification_pb2 as pb

BUILDERS = {"alexnet": alexnet.build, "squeezenet1_0": squeezenet.build}


def make(name: str, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return BUILDERS[name](Options(num_classes=10, n_layers=0, **switches))


@pytest.mark.parametrize("name", BUILDERS)
def test_torchvisions_state_gives_the_same_logits(name: str) -> None:
    reference = torchvision.models.get_model(name, num_classes=10).eval()
    network = make(name, retain_head=True).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_last_pooling_of_alexnet_belongs_to_the_papers_head() -> None:
    # 64 pixels: 15 after the first convolution, then 7, 3 and with the head 1.
    for retain_head, side in ((True, 1), (False, 3)):
        features = make("alexnet", retain_head=retain_head).get_submodule("features")
        assert features(torch.zeros(1, 3, 64, 64)).shape[2:] == (side, side)


def test_hidden_layers_of_alexnets_head_are_blocks_6_and_7() -> None:
    blocks = block_names.alexnet(pb.ModelConfig(retain_head=True))
    network = make("alexnet", retain_head=True)
    layers = [network.get_submodule(blocks[number][0]) for number in (6, 7)]
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [4096, 4096]


def test_papers_head_of_squeezenet_averages_logits_that_are_not_negative() -> None:
    network = make("squeezenet1_0", retain_head=True)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [1e-3]  # TAO's
    with torch.no_grad():
        assert network(torch.randn(4, 3, 64, 64)).min() >= 0
        assert make("squeezenet1_0")(torch.randn(4, 3, 64, 64)).min() < 0
