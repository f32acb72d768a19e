"""EfficientNet's switches, against torchvision and TAO's code."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from tao_lite.models.architectures import Options
from tao_lite.models.families import efficientnet


def make(size: int = 0, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return efficientnet.build(Options(arch=f"efficientnet_b{size}", num_classes=10, n_layers=0, **switches))


def test_torchvisions_state_gives_the_same_logits() -> None:
    reference = torchvision.models.efficientnet_b0(num_classes=10).eval()
    network = make().eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(("size", "dropout"), [*enumerate([0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5])])
def test_papers_head_has_the_dropout_of_its_size(size: int, dropout: float) -> None:
    with torch.device("meta"):
        networks = [make(size, retain_head=True), make(size), make(size, retain_head=True, dropout=0.1)]
    assert [network.get_submodule("classifier.0").p for network in networks] == [dropout, 0.0, 0.1]


def test_residual_branches_are_dropped_more_and_more() -> None:
    rates = [layer.p for layer in make().modules() if isinstance(layer, StochasticDepth)]
    # 16 blocks of b0, and 0.2 after the last.
    assert rates == pytest.approx([0.2 * block / 16 for block in range(16)])


def test_activation_is_also_that_of_squeeze_and_excitation() -> None:
    network = make(activation="relu")
    assert not any(isinstance(layer, nn.SiLU) for layer in network.modules())
    assert isinstance(network.get_submodule("features.1.0.block.1.activation"), nn.ReLU)
    assert isinstance(network.get_submodule("features.1.0.block.1.scale_activation"), nn.Sigmoid)


def test_it_is_normalised_whatever_the_spec_says() -> None:
    with torch.device("meta"):
        assert make(use_batch_norm=False).state_dict().keys() == make().state_dict().keys()
