"""GoogLeNet's switches, against the paper and torchvision."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tao_lite.models.architectures import Options
from tao_lite.models.families import googlenet


def make(**switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return googlenet.build(Options(num_classes=10, n_layers=0, **switches))


def test_torchvisions_state_gives_the_same_logits_with_its_own_epsilon() -> None:
    reference = torchvision.models.googlenet(num_classes=10, aux_logits=False, init_weights=False).eval()
    network = make(retain_head=True, batch_norm_epsilon=1e-3).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_training_gives_logits_alone() -> None:
    assert isinstance(make().train()(torch.randn(2, 3, 32, 32)), Tensor)


@pytest.mark.parametrize(("retain_head", "side"), [(True, 2), (False, 4)])
def test_pooling_before_5a_belongs_to_the_papers_head(retain_head: bool, side: int) -> None:
    maps: list[Tensor] = []
    network = make(retain_head=retain_head).eval()
    network.get_submodule("inception5b").register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    network(torch.zeros(1, 3, 64, 64))
    assert maps[0].shape == (1, 1024, side, side)


def test_papers_head_drops_as_the_paper_says_unless_the_spec_does() -> None:
    dropouts = [
        make(**switches).get_submodule("dropout").p for switches in ({"retain_head": True}, {}, {"dropout": 0.1})
    ]
    assert dropouts == [0.4, 0.0, 0.1]
    assert make(retain_head=True, dropout=0.0).get_submodule("dropout").p == 0.0
