"""The fused step on a CPU: torch's numbers, without torch's copies."""

import copy

import pytest
import torch
from torch import nn
from torch.profiler import profile

from tao_lite.training.sgd import FusedSGD, zero_missing_momentum


def network() -> nn.Sequential:
    """Kernels of 3x3, 1x1 and depthwise convolutions and of a linear layer, channels last."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1), nn.Flatten()
    )
    layers.append(nn.Linear(64, 2))
    return layers.to(memory_format=torch.channels_last)


def optimizer(trained: nn.Module, kind: type[torch.optim.SGD], momentum: float, *, nesterov: bool) -> torch.optim.SGD:
    made = kind(trained.parameters(), 0.1, momentum, weight_decay=0.01, nesterov=nesterov, fused=True)
    if momentum:
        made.register_step_pre_hook(zero_missing_momentum)
    return made


def backward(trained: nn.Module, seed: int) -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    trained.zero_grad()
    trained(images.to(memory_format=torch.channels_last)).square().sum().backward()


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_steps_are_those_of_torch_bit_by_bit(momentum: float, nesterov: bool) -> None:
    ours, theirs = network(), network()
    our, their = (
        optimizer(trained, kind, momentum, nesterov=nesterov)
        for trained, kind in ((ours, FusedSGD), (theirs, torch.optim.SGD))
    )
    for seed in range(3):
        backward(ours, seed)
        backward(theirs, seed)
        our.step()
        their.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert mine.stride() == other.stride()


def test_an_overflow_that_loss_scaling_found_leaves_the_weights_alone() -> None:
    trained = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    made = optimizer(trained, FusedSGD, 0.9, nesterov=False)
    before = copy.deepcopy(trained.state_dict())
    backward(trained, 0)
    scaler.scale(torch.zeros(()))
    for parameter in trained.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(torch.inf)
    scaler.step(made)
    scaler.update()
    assert all(torch.equal(before[name], value) for name, value in trained.named_parameters())
    assert scaler.get_scale() == 2


def test_no_gradient_is_copied() -> None:
    trained = network()
    made = optimizer(trained, FusedSGD, 0.9, nesterov=False)
    backward(trained, 0)
    made.step()
    with profile() as record:
        made.step()
    names = {event.key for event in record.key_averages()}
    assert "aten::_fused_sgd_" in names
    assert not names & {"aten::clone", "aten::copy_"}
