"""What is frozen stays, bit for bit, and nothing else does."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tao_lite.models.architectures import blocks, build
from tao_lite.models.freeze import Frozen, freeze, rate_shares, train_mode
from tao_lite.spec import classification_pb2 as pb

RESNET_10 = pb.ModelConfig(
    arch="resnet", n_layers=10, input_image_size="3,32,32", use_batch_norm=True, use_pooling=True
)
BLOCKS = blocks(RESNET_10)


def make() -> nn.Module:
    torch.manual_seed(0)
    return build(RESNET_10, 3)


def step(network: nn.Module, frozen: Frozen) -> set[str]:
    """Names of the tensors that one training step with weight decay and momentum moves."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_mode(network, frozen)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=0.1)
    loss: Tensor = nn.functional.cross_entropy(network(torch.randn(8, 3, 32, 32)), torch.arange(8) % 3)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("numbers", [(), (0,), (0, 1, 2), (3,), (0, 1, 2, 3, 4)])
def test_frozen_blocks_stay_and_all_else_moves(numbers: Sequence[int]) -> None:
    network = make()
    moved = step(network, freeze(network, BLOCKS, numbers, freeze_bn=False))
    prefixes = tuple(f"{module}." for number in numbers for module in BLOCKS[number])
    expected = {name for name in network.state_dict() if not (prefixes and name.startswith(prefixes))}
    assert moved == expected


@pytest.mark.parametrize("numbers", [(0,), (0, 1, 2), (0, 1, 2, 3, 4)])
def test_as_in_tao_batch_normalisation_of_frozen_blocks_goes_on_training(numbers: Sequence[int]) -> None:
    network = make()
    moved = step(network, freeze(network, BLOCKS, numbers, freeze_bn=False, exact=True))
    kernels = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    prefixes = tuple(f"{module}." for number in numbers for module in BLOCKS[number])
    assert moved == set(network.state_dict()) - {name for name in kernels if name.startswith(prefixes)}


def test_as_in_tao_statistics_of_frozen_blocks_drift_by_the_momentum_of_their_batches() -> None:
    network = make()
    frozen = freeze(network, BLOCKS, [0], freeze_bn=False, exact=True)
    train_mode(network, frozen)
    expected = torch.zeros(64)
    for seed in range(3):
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        expected = 0.9 * expected + 0.1 * network.get_submodule("conv1")(images).mean((0, 2, 3))
        network(images)
    assert torch.allclose(network.get_buffer("bn1.running_mean"), expected, atol=1e-6)


def test_as_in_tao_freeze_bn_keeps_the_statistics_of_frozen_blocks_but_not_their_scale() -> None:
    network = make()
    moved = step(network, freeze(network, BLOCKS, [0], freeze_bn=True, exact=True))
    assert {"bn1.weight", "bn1.bias"} <= moved
    assert not any(name.endswith(("running_mean", "running_var", "tracked")) for name in moved)
    assert "conv1.weight" not in moved


def test_freeze_bn_keeps_statistics_and_trains_scale_and_shift() -> None:
    network = make()
    moved = step(network, freeze(network, BLOCKS, (), freeze_bn=True))
    kept = {name for name in network.state_dict() if name.endswith(("running_mean", "running_var", "tracked"))}
    assert moved == set(network.state_dict()) - kept


def test_freeze_bn_normalises_by_the_running_statistics() -> None:
    network = make()
    images = torch.randn(4, 3, 32, 32)
    expected: Tensor = network.eval()(images)
    train_mode(network, freeze(network, BLOCKS, (), freeze_bn=True))
    assert torch.equal(network(images), expected)


def test_frozen_blocks_stay_when_freeze_bn_is_set_too() -> None:
    network = make()
    moved = step(network, freeze(network, BLOCKS, [0, 1], freeze_bn=True))
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in moved)
    assert {"layer2.0.bn1.weight", "layer2.0.bn1.bias"} <= moved


def test_unfreezing_resets_what_was_frozen_before() -> None:
    network = make()
    freeze(network, BLOCKS, [0, 1, 2, 3, 4], freeze_bn=True)
    network.get_parameter("fc.weight").requires_grad_(False)
    assert step(network, freeze(network, BLOCKS, [], freeze_bn=False)) == set(network.state_dict())


def test_train_mode_undoes_evaluation_of_what_is_not_frozen() -> None:
    network = make()
    frozen = freeze(network, BLOCKS, [4], freeze_bn=False)
    network.eval()
    train_mode(network, frozen)
    modes = {name: module.training for name, module in network.named_modules() if name and "." not in name}
    expected = {name: name != "layer4" for name in modes}
    assert modes == expected


def test_blocks_that_do_not_exist_are_ignored() -> None:
    assert freeze(make(), BLOCKS, [7, 0, 5], freeze_bn=False).modules == ("conv1", "bn1")


def test_each_block_learns_at_a_share_of_the_next_ones_rate() -> None:
    expected = {"conv1": 1 / 32, "bn1": 1 / 32, "layer1": 1 / 16, "layer2": 1 / 8, "layer3": 1 / 4, "layer4": 1 / 2}
    assert rate_shares(BLOCKS, 0.5) == expected
