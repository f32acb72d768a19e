"""Residual blocks that go as a whole: which can, which cost least, and networks that are rebuilt without them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import PruneError
from tao_lite.models import architectures
from tao_lite.pruning import blocks, importance, taylor
from tao_lite.pruning.criteria import Rule
from tao_lite.spec import classification_pb2 as pb
from tests.checkpoints import answering

SHAPE = (3, 32, 32)


def resnet() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = models.resnet18(num_classes=5).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network


def cheapest(
    network: nn.Module, count: int, judge: importance.Judge, *, is_summed: bool, excluded: tuple[str, ...] = ()
) -> tuple[str, ...]:
    rule = Rule(normalizer="off", excluded_layers=excluded)
    return blocks.cheapest(network, SHAPE, rule=rule, judge=judge, count=count, is_summed=is_summed)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (resnet, ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]),  # the others change size or width
        # arXiv:1801.04381, table 2: of each group of equal widths, all but the first.
        (models.mobilenet_v2, [f"features.{number}" for number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]),
        (models.vgg11, []),
    ],
)
def test_blocks_that_add_to_their_input_can_go(make: Callable[[], nn.Module], expected: list[str]) -> None:
    assert blocks.removable(make()) == expected


def test_without_a_block_the_network_computes_what_it_did_with_an_empty_branch() -> None:
    network, images = resnet(), torch.randn(2, *SHAPE)
    emptied = copy.deepcopy(network)
    for name in ("weight", "bias"):
        nn.init.zeros_(emptied.get_parameter(f"layer2.1.bn2.{name}"))
    with torch.inference_mode():
        # What the block gets is not below 0, so that the activation at its end changes nothing.
        assert torch.equal(blocks.without(network, ["layer2.1"])(images), emptied(images))
        assert not torch.equal(network(images), emptied(images))


def test_the_block_that_does_least_goes_first() -> None:
    network, images = resnet(), torch.randn(8, *SHAPE)
    with torch.no_grad():
        network.get_parameter("layer3.1.bn1.weight").mul_(1e-3)
        network.get_parameter("layer3.1.conv2.weight").mul_(1e-3)
    batches = [(images, torch.arange(8) % 5)]
    assert cheapest(network, 1, taylor.by_loss(network, batches), is_summed=True) == ("layer3.1",)
    assert cheapest(network, 1, importance.by_batch_norms(network), is_summed=False) == ("layer3.1",)
    two = cheapest(network, 2, taylor.by_loss(network, batches), is_summed=True)
    assert len(two) == 2
    assert "layer3.1" in two
    without = cheapest(network, 1, importance.by_batch_norms(network), is_summed=False, excluded=("layer3.1.conv1",))
    assert without != ("layer3.1",)


def test_more_blocks_than_can_go_are_refused_by_name() -> None:
    network = resnet()
    with pytest.raises(PruneError, match=r"blocks is 6, but of ResNet 5 can go: layer1\.0, layer1\.1, layer2\.1"):
        cheapest(network, 6, importance.by_weights(network), is_summed=False)


def test_a_checkpoint_without_blocks_is_rebuilt(tmp_path: Path) -> None:
    config = 'arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,32,32"'
    path = answering(tmp_path, config, "torch")
    whole = checkpoints.load(path)
    smaller = blocks.without(checkpoints.network(whole).eval(), ["layer1.1", "layer3.1"])
    checkpoints.save(path, replace(whole, network=smaller.state_dict()))
    again, images = checkpoints.network(checkpoints.load(path)).eval(), torch.randn(2, *SHAPE)
    with torch.inference_mode():
        assert torch.equal(again(images), smaller(images))
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in checkpoints.network(whole).parameters())


def test_only_residual_blocks_may_be_absent() -> None:
    model = pb.ModelConfig(arch="resnet", n_layers=18, use_batch_norm=True, input_image_size="3,32,32")
    network = architectures.build(model, 5)
    kept = {
        name: tensor for name, tensor in network.state_dict().items() if not name.startswith(("layer2.0", "layer3"))
    }
    blocks.remove_absent(network, kept)
    # The first changes the width, and of the whole stage it can't be known that nothing is left.
    assert {"layer2.0", "layer3.0"} <= {name for name, _ in network.named_modules()}
    assert not isinstance(network.get_submodule("layer2.0"), nn.Identity)
