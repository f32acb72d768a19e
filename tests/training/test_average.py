"""The moving average follows the formula, step by step, and nothing but what trains."""

import pytest
import torch
from torch import nn

from tao_lite.training.average import Average


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def test_the_average_is_the_recursion_by_hand() -> None:
    followed = nn.Linear(1, 1, bias=False)
    nn.init.constant_(followed.weight, 1.0)
    average = Average(followed, 0.5)
    expected = 1.0
    # The weight of the old average: 1/10, 2/11, ... while that is below 0.5.
    for step, old in enumerate([1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 0.5, 0.5]):
        nn.init.constant_(followed.weight, step * 2.0)
        average.update(step)
        expected = old * expected + (1 - old) * step * 2.0
        assert average.network.get_parameter("weight").item() == pytest.approx(expected, rel=1e-6)


def test_running_statistics_are_averaged_too() -> None:
    followed = network()
    average = Average(followed, 0.5)
    followed.get_buffer("1.running_mean").fill_(10.0)
    average.update(100)
    assert average.network.get_buffer("1.running_mean").tolist() == [5.0, 5.0, 5.0]


def test_frozen_weights_are_left_alone() -> None:
    followed = network()
    average = Average(followed, 0.5)
    followed.get_parameter("0.weight").requires_grad_(False).fill_(9.0)
    before = average.network.get_parameter("0.weight").clone()
    average.update(100)
    assert torch.equal(average.network.get_parameter("0.weight"), before)


def test_the_network_that_is_followed_is_not_touched() -> None:
    followed = network()
    before = {name: tensor.clone() for name, tensor in followed.state_dict().items()}
    average = Average(followed, 0.9)
    average.update(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in followed.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in followed.parameters())
