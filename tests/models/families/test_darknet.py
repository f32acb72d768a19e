"""Darknet and its cross-stage-partial kin, against TAO's code, the papers and timm."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from tao_lite.models.architectures import Options
from tao_lite.models.families import adapt, darknet

KINDS = [("darknet", 19), ("darknet", 53), ("cspdarknet", 19), ("cspdarknet", 53), ("cspdarknet_tiny", 0)]

# Kernel size, inputs and outputs in the order of computation. arXiv:1612.08242, table 6.
DARKNET_19 = [
    *[(3, 3, 32), (3, 32, 64), (3, 64, 128), (1, 128, 64), (3, 64, 128), (3, 128, 256), (1, 256, 128), (3, 128, 256)],
    *[(3, 256, 512), (1, 512, 256), (3, 256, 512), (1, 512, 256), (3, 256, 512)],
    *[(3, 512, 1024), (1, 1024, 512), (3, 512, 1024), (1, 1024, 512), (3, 512, 1024)],
]
# arXiv:2011.08036, figure of YOLOv4-tiny, with the widths of TAO.
TINY = [
    *[(3, 3, 32), (3, 32, 64), (3, 64, 64), (3, 32, 32), (3, 32, 32), (1, 64, 64)],
    *[(3, 128, 128), (3, 64, 64), (3, 64, 64), (1, 128, 128)],
    *[(3, 256, 256), (3, 128, 128), (3, 128, 128), (1, 256, 256), (3, 512, 512)],
]


def crossed(width: int, pairs: int) -> list[tuple[int, int, int]]:
    """Stage of TAO's cspdarknet with 19 layers: open, part in two, pairs of 1x1 and 3x3, two transitions."""
    half = width // 2
    parts = [(3, half, width), (1, width, half), (1, width, half)]
    return [*parts, *[(1, half, half), (3, half, half)] * pairs, (1, half, half), (1, width, width)]


CSPDARKNET_19 = [
    *[(3, 3, 32), (3, 32, 64)],
    *(layer for width, pairs in ((128, 1), (256, 1), (512, 2), (1024, 2)) for layer in crossed(width, pairs)),
]


def make(arch: str, n_layers: int, **switches: Any) -> nn.Module:
    torch.manual_seed(0)
    return darknet.build(Options(arch=arch, n_layers=n_layers, num_classes=10, **switches))


def on_meta(arch: str, n_layers: int, **switches: Any) -> nn.Module:
    with torch.device("meta"):
        return make(arch, n_layers, **switches)


def layers(network: nn.Module) -> list[tuple[int, int, int]]:
    return [(layer.kernel_size[0], layer.in_channels, layer.out_channels) for layer in adapt.convolutions(network)]


def parameters(plan: list[tuple[int, int, int]], features: int) -> int:
    """Convolutions without bias, two per normalised channel, and a head of ten classes."""
    return sum(size**2 * inputs * outputs + 2 * outputs for size, inputs, outputs in plan) + 10 * (features + 1)


@pytest.mark.parametrize(
    ("arch", "n_layers", "plan", "features"),
    [
        ("darknet", 19, DARKNET_19, 1024),
        ("cspdarknet", 19, CSPDARKNET_19, 1024),
        ("cspdarknet_tiny", 0, TINY, 512),
    ],
)
def test_own_networks_have_the_layers_of_tao(
    arch: str, n_layers: int, plan: list[tuple[int, int, int]], features: int
) -> None:
    network = on_meta(arch, n_layers)
    assert sorted(layers(network)) == sorted(plan)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters(plan, features)


def test_darknet_19_is_as_large_as_the_paper_says() -> None:
    # 18 convolutions and the head; 5.58 billion operations, two for each product, at 224 pixels.
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += 2 * output[0].numel() * layer.weight[0].numel()

    network = on_meta("darknet", 19)
    for layer in adapt.convolutions(network):
        layer.register_forward_hook(count)
    network(torch.zeros(1, 3, 224, 224, device="meta"))
    head_of_1000_classes = 2 * 1024 * 1000 * 7 * 7
    assert round((total + head_of_1000_classes) / 1e9, 2) == 5.58


@pytest.mark.parametrize(("arch", "n_layers"), KINDS)
@pytest.mark.parametrize(("height", "width", "expected"), [(224, 224, (7, 7)), (33, 65, (2, 3)), (16, 17, (1, 1))])
def test_total_stride_is_32_rounded_up(
    arch: str, n_layers: int, height: int, width: int, expected: tuple[int, int]
) -> None:
    network = on_meta(arch, n_layers)
    stem, stages = network.get_submodule("stem"), network.get_submodule("stages")
    assert stages(stem(torch.zeros(2, 3, height, width, device="meta"))).shape[2:] == expected


@pytest.mark.parametrize("arch", ["darknet", "cspdarknet"])
def test_timms_state_gives_the_same_logits(arch: str) -> None:
    reference = timm.create_model(f"{arch}53", num_classes=10).eval()
    network = make(arch, 53).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(("arch", "n_layers", "slope"), [(*kind, 0.01 if kind[1] == 53 else 0.1) for kind in KINDS])
def test_unset_activation_is_that_of_the_definition(arch: str, n_layers: int, slope: float) -> None:
    found = {layer.negative_slope for layer in on_meta(arch, n_layers).modules() if isinstance(layer, nn.LeakyReLU)}
    assert found == {slope}


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_no_branch_is_dead_with_relu(use_batch_norm: bool) -> None:
    network = make("cspdarknet", 53, activation="relu", use_batch_norm=use_batch_norm)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
