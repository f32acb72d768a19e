"""VGG's switches, against the paper, TAO's code and torchvision."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from tao_lite.models.architectures import Options
from tao_lite.models.families import vgg


def on_meta(n_layers: int = 16, **switches: Any) -> nn.Module:
    with torch.device("meta"):
        return vgg.build(Options(num_classes=10, n_layers=n_layers, **switches))


def sides(network: nn.Module, *, height: int = 64, width: int = 96) -> tuple[int, ...]:
    """Height and width of the last map."""
    features = network.get_submodule("features")
    return tuple(features(torch.zeros(1, 3, height, width, device="meta")).shape[2:])


def test_strided_convolutions_in_the_place_of_pooling_open_blocks_2_to_5() -> None:
    network = on_meta(use_pooling=False, use_batch_norm=False)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    # Blocks of 2, 2, 3, 3, 3 convolutions.
    assert [number for number, layer in enumerate(convolutions) if layer.stride == (2, 2)] == [2, 4, 7, 10]
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in network.modules())


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_pooling_changes_no_name(use_batch_norm: bool) -> None:
    pooled, strided = (on_meta(19, use_pooling=value, use_batch_norm=use_batch_norm) for value in (True, False))
    assert list(pooled.state_dict()) == list(strided.state_dict())


@pytest.mark.parametrize(
    ("use_pooling", "retain_head", "expected"),
    [(True, True, (2, 3)), (True, False, (4, 6)), (False, True, (4, 6)), (False, False, (4, 6))],
)
def test_fifth_pooling_belongs_to_the_papers_head(
    use_pooling: bool, retain_head: bool, expected: tuple[int, int]
) -> None:
    assert sides(on_meta(use_pooling=use_pooling, retain_head=retain_head)) == expected


def test_odd_sides_are_rounded_up() -> None:
    # 17 -> 9 -> 5 -> 3 -> 2 -> 1
    assert sides(on_meta(retain_head=True), height=17, width=33) == (1, 2)


@pytest.mark.slow
def test_torchvisions_state_gives_the_same_logits() -> None:
    torch.manual_seed(1)
    reference = torchvision.models.vgg16_bn(num_classes=10).eval()
    network = vgg.build(Options(num_classes=10, n_layers=16, retain_head=True, use_bias=True)).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_papers_head_drops_after_both_hidden_layers() -> None:
    network = on_meta(retain_head=True, dropout=0.3)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    # TAO's default, where torchvision has a half
    plain = on_meta(retain_head=True)
    assert [layer.p for layer in plain.modules() if isinstance(layer, nn.Dropout)] == [0.0, 0.0]
