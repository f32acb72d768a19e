"""Optimizers against updates written out by hand, on a layer with one weight and one bias."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tao_lite.errors import CheckpointError, SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.optim import load_state, make_optimizer, set_learning_rate

CPU = torch.device("cpu")
NO_PENALTY = pb.RegConfig()
RATE = 0.1

SGD = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(momentum=0.75))
NESTEROV = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(momentum=0.75, nesterov=True))
PLAIN_SGD = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig())
ADAM = pb.OptimizerConfig(adam=pb.AdamOptimizerConfig(beta_1=0.5, beta_2=0.75, epsilon=0.125))
ADAMW = pb.OptimizerConfig(adamw=pb.AdamWOptimizerConfig(beta_1=0.5, beta_2=0.75, epsilon=0.125, weight_decay=0.25))
RMSPROP = pb.OptimizerConfig(rmsprop=pb.RmspropOptimizerConfig(rho=0.75, epsilon=0.125))


def penalty(norm: str, weight_decay: float = 0.5, scope: str = "Conv2D,Dense") -> pb.RegConfig:
    return pb.RegConfig(type=norm, weight_decay=weight_decay, scope=scope)


# One update by hand: weight, gradient (penalty included), memory of this parameter, number of the step from 1.
Update = Callable[[float, float, dict[str, float], int], float]


def by_sgd(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
    memory["v"] = 0.75 * memory.get("v", 0) + gradient
    return weight - RATE * memory["v"]


def by_nesterov(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
    memory["v"] = 0.75 * memory.get("v", 0) + gradient
    return weight - RATE * (gradient + 0.75 * memory["v"])


def by_plain_sgd(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
    return weight - RATE * gradient


def by_adam(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
    memory["m"] = 0.5 * memory.get("m", 0) + 0.5 * gradient
    memory["v"] = 0.75 * memory.get("v", 0) + 0.25 * gradient**2
    mean, square = memory["m"] / (1 - 0.5**step), memory["v"] / (1 - 0.75**step)
    return weight - RATE * mean / (math.sqrt(square) + 0.125)


def by_rmsprop(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
    memory["v"] = 0.75 * memory.get("v", 0) + 0.25 * gradient**2
    return weight - RATE * gradient / (math.sqrt(memory["v"]) + 0.125)


def layer(weight: float = 2.0, bias: float = -1.0) -> nn.Linear:
    network = nn.Linear(1, 1).double()
    with torch.no_grad():
        network.weight.fill_(weight)
        network.bias.fill_(bias)
    return network


def train(network: nn.Linear, optimizer: torch.optim.Optimizer, inputs: list[float]) -> tuple[float, float]:
    """Minimise (weight * input + bias) ** 2 / 2, one step per input."""
    for step, value in enumerate(inputs):
        set_learning_rate(optimizer, RATE, step)
        optimizer.zero_grad()
        network(torch.tensor([[value]], dtype=torch.float64)).square().div(2).sum().backward()
        optimizer.step()
    return network.weight.item(), network.bias.item()


def by_hand(update: Update, inputs: list[float], l1: float = 0.0, l2: float = 0.0) -> tuple[float, float]:
    """The same in plain numbers: the gradient is output * input for the weight and output for the bias."""
    weight, bias = 2.0, -1.0
    memories: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for step, value in enumerate(inputs, start=1):
        output = weight * value + bias
        gradient = output * value + l1 * math.copysign(1, weight) + l2 * weight
        weight, bias = update(weight, gradient, memories[0], step), update(bias, output, memories[1], step)
    return weight, bias


INPUTS = [1.0, -2.0, 0.5, 3.0]


@pytest.mark.parametrize(
    ("config", "update"),
    [(SGD, by_sgd), (NESTEROV, by_nesterov), (PLAIN_SGD, by_plain_sgd), (ADAM, by_adam), (RMSPROP, by_rmsprop)],
    ids=["sgd", "nesterov", "plain sgd", "adam", "rmsprop"],
)
@pytest.mark.parametrize(("norm", "l1", "l2"), [("None", 0, 0), ("L1", 0.5, 0), ("L2", 0, 0.5)])
def test_updates_equal_those_by_hand(
    config: pb.OptimizerConfig, update: Update, norm: str, l1: float, l2: float
) -> None:
    network = layer()
    optimizer = make_optimizer(config, penalty(norm), network, device=CPU)
    assert train(network, optimizer, INPUTS) == pytest.approx(by_hand(update, INPUTS, l1, l2), rel=1e-12)


@pytest.mark.parametrize(("norm", "l1", "l2"), [("None", 0, 0), ("L1", 0.5, 0), ("L2", 0, 0.5)])
def test_adamw_shrinks_kernels_beside_the_moments_and_takes_penalties_through_them(
    norm: str, l1: float, l2: float
) -> None:
    weight_and_bias = iter(range(2 * len(INPUTS)))

    def update(weight: float, gradient: float, memory: dict[str, float], step: int) -> float:
        is_weight = next(weight_and_bias) % 2 == 0
        return by_adam(weight * (1 - RATE * 0.25 * is_weight), gradient, memory, step)

    network = layer()
    optimizer = make_optimizer(ADAMW, penalty(norm), network, device=CPU)
    assert train(network, optimizer, INPUTS) == pytest.approx(by_hand(update, INPUTS, l1, l2), rel=1e-12)


def test_time_decay_divides_the_rate_by_the_steps_done() -> None:
    optimizer = make_optimizer(
        pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(decay=0.5)), NO_PENALTY, layer(), device=CPU
    )
    # 0.6 / (1 + 0.5 * step)
    assert [set_learning_rate(optimizer, 0.6, step) for step in (0, 1, 2, 4)] == pytest.approx([0.6, 0.4, 0.3, 0.2])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.2])


class Blocks(nn.Module):
    """One layer of each kind that a penalty must tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 2)


@pytest.mark.parametrize(
    ("scope", "penalised"),
    [
        ("Conv2D,Dense", {"conv.weight", "dense.weight"}),
        ("conv2d , DENSE", {"conv.weight", "dense.weight"}),
        ("Conv2D", {"conv.weight"}),
        ("Dense", {"dense.weight"}),
        ("", set()),
    ],
)
def test_penalties_reach_only_the_kernels_in_scope(scope: str, penalised: set[str]) -> None:
    network = Blocks()
    optimizer = make_optimizer(SGD, penalty("L2", scope=scope), network, device=CPU)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {name: 0.5 if name in penalised else 0.0 for name in names.values()}


def test_an_l1_penalty_of_a_scope_changes_no_other_weight() -> None:
    network = Blocks()
    before = copy.deepcopy(network.state_dict())
    optimizer = make_optimizer(PLAIN_SGD, penalty("L1", scope="Dense"), network, device=CPU)
    set_learning_rate(optimizer, 1.0, 0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"dense.weight"}
    assert torch.equal(network.dense.weight, before["dense.weight"] - 0.5 * before["dense.weight"].sign())


def test_frozen_parameters_are_left_out() -> None:
    network = Blocks()
    network.conv.requires_grad_(requires_grad=False)
    optimizer = make_optimizer(SGD, NO_PENALTY, network, device=CPU)
    ours = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert ours == {id(parameter) for name, parameter in network.named_parameters() if not name.startswith("conv.")}


ALL_FROZEN = (
    "model_config.freeze_blocks: found every parameter of the network frozen, must leave some to train; "
    "freeze fewer blocks"
)


@pytest.mark.parametrize(
    ("config", "frozen", "message"),
    [
        (
            pb.OptimizerConfig(),
            False,
            "train_config.optimizer: found none, must hold one of sgd, adam, rmsprop, adamw",
        ),
        (
            SGD,
            True,
            ALL_FROZEN,
        ),
    ],
)
def test_an_optimizer_that_can_not_be_built_names_its_field(
    config: pb.OptimizerConfig, frozen: bool, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        make_optimizer(config, NO_PENALTY, layer().requires_grad_(not frozen), device=CPU)
    assert str(caught.value) == message


def channels_last_conv() -> nn.Conv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    assert isinstance(conv, nn.Conv2d)
    return conv


def make_steps(conv: nn.Conv2d, optimizer: torch.optim.Optimizer, seeds: list[int]) -> None:
    for seed in seeds:
        set_learning_rate(optimizer, RATE, 0)
        optimizer.zero_grad()
        conv(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()


def as_saved_elsewhere(state: dict[str, Any]) -> dict[str, Any]:
    """The same state with every tensor in torch's default memory format."""
    memories = {k: {name: value.clone().contiguous() for name, value in m.items()} for k, m in state["state"].items()}
    return {**state, "state": memories}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "config", [SGD, NESTEROV, ADAM, ADAMW, RMSPROP], ids=["sgd", "nesterov", "adam", "adamw", "rmsprop"]
)
def test_two_and_two_steps_equal_four_whatever_the_memory_format_of_the_state(
    config: pb.OptimizerConfig, exact: bool
) -> None:
    straight = channels_last_conv()
    make_steps(straight, make_optimizer(config, penalty("L2"), straight, device=CPU, exact=exact), [1, 2, 3, 4])

    resumed = channels_last_conv()
    first = make_optimizer(config, penalty("L2"), resumed, device=CPU, exact=exact)
    make_steps(resumed, first, [1, 2])
    second = make_optimizer(config, penalty("L2"), resumed, device=CPU, exact=exact)
    load_state(second, as_saved_elsewhere(first.state_dict()))
    make_steps(resumed, second, [3, 4])
    assert torch.equal(resumed.weight, straight.weight)
    assert torch.equal(resumed.bias, straight.bias)  # type: ignore[arg-type]


def test_a_velocity_that_holds_the_rate_is_not_taken_for_one_that_does_not() -> None:
    conv = channels_last_conv()
    by_torch, by_keras = (make_optimizer(SGD, NO_PENALTY, conv, device=CPU, exact=exact) for exact in (False, True))
    make_steps(conv, by_torch, [1])
    make_steps(conv, by_keras, [1])
    for optimizer, state, name in ((by_torch, by_keras, "SGD"), (by_keras, by_torch, "KerasSGD")):
        with pytest.raises(CheckpointError) as caught:
            load_state(optimizer, state.state_dict())
        assert str(caught.value) == MISFIT.format(f"it is not of {name}")


def test_a_loaded_state_is_not_shared_with_its_source() -> None:
    conv = channels_last_conv()
    optimizer = make_optimizer(ADAM, NO_PENALTY, conv, device=CPU)
    make_steps(conv, optimizer, [1])
    state = copy.deepcopy(optimizer.state_dict())
    load_state(optimizer, state)
    make_steps(conv, optimizer, [2, 3])
    assert [memory["step"].item() for memory in state["state"].values()] == [1.0, 1.0]


def test_options_of_the_spec_outlive_a_loaded_state() -> None:
    conv = channels_last_conv()
    saved = make_optimizer(SGD, penalty("L2", 0.25), conv, device=CPU)
    make_steps(conv, saved, [1])
    optimizer = make_optimizer(NESTEROV, penalty("L2", 0.5), conv, device=CPU)
    load_state(optimizer, saved.state_dict())
    assert [(group["nesterov"], group["weight_decay"]) for group in optimizer.param_groups] == [(True, 0.5), (True, 0)]


MISFIT = (
    "the checkpoint's optimizer does not fit this run: {}; go on with the spec that wrote it, or start a run in "
    "another folder with the checkpoint as train_config.pretrained_model_path"
)


@pytest.mark.parametrize(
    ("config", "reg_config", "kernel_size", "what"),
    [
        (ADAM, penalty("L2"), 3, "it is not of Adam"),
        (SGD, penalty("L2", scope="Dense"), 3, "other parameters are trained or penalised"),
        (SGD, penalty("L2"), 2, "it holds shape [4, 3, 3, 3] where a parameter has [4, 3, 2, 2]"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    config: pb.OptimizerConfig, reg_config: pb.RegConfig, kernel_size: int, what: str
) -> None:
    conv = channels_last_conv()
    saved = make_optimizer(SGD, penalty("L2"), conv, device=CPU)
    make_steps(conv, saved, [1])
    optimizer = make_optimizer(config, reg_config, nn.Conv2d(3, 4, kernel_size), device=CPU)
    with pytest.raises(CheckpointError) as caught:
        load_state(optimizer, saved.state_dict())
    assert str(caught.value) == MISFIT.format(what)


def test_modules_learn_at_their_share_of_the_rate_and_kernels_keep_their_penalty() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    penalty = pb.RegConfig(type="L2", scope="Dense", weight_decay=0.5)
    sgd = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(decay=1))
    optimizer = make_optimizer(sgd, penalty, network, device=torch.device("cpu"), rate_shares={"0": 0.25, "1": 0.5})
    # The rate reported is that of what has no share of its own: 2 / (1 + decay * step).
    assert set_learning_rate(optimizer, 2.0, step=3) == 0.5
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert found == {
        "0.weight": (0.125, 0.5),
        "0.bias": (0.125, 0.0),
        "1.weight": (0.25, 0.5),
        "1.bias": (0.25, 0.0),
        "2.weight": (0.5, 0.5),
        "2.bias": (0.5, 0.0),
    }
