"""The optimizer of a run: what it updates, which weights it penalises, how its learning rate is set.

`exact` stands for compat: TAO_EXACT, under which weights move as Keras 2.2.4, TAO's library, moves them.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tao_lite.errors import CheckpointError, SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.sgd import MOMENTUM, FusedSGD, KerasSGD, zero_missing_momentum

# Layer kinds that reg_config.scope can name, in lower case.
_SCOPES: dict[str, type[nn.Conv2d] | type[nn.Linear]] = {"conv2d": nn.Conv2d, "dense": nn.Linear}

# What each optimizer remembers of a parameter.
_MEMORY: dict[type[Optimizer], set[str]] = {
    torch.optim.SGD: {MOMENTUM},
    FusedSGD: {MOMENTUM},
    KerasSGD: {"velocity"},
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.RMSprop: {"step", "square_avg"},
}


def make_optimizer(
    optimizer_config: pb.OptimizerConfig,
    reg_config: pb.RegConfig,
    network: nn.Module,
    *,
    device: torch.device,
    exact: bool = False,
    rate_shares: Mapping[str, float] | None = None,
) -> Optimizer:
    """Optimizer of the network's trainable parameters; its learning rate is 0 until set_learning_rate is called.

    The first parameter group holds the kernels that reg_config.scope names, the second everything else, which is never
    penalised. L2 adds weight_decay * w to a kernel's gradient, L1 adds weight_decay * sign(w), both after clipping.
    With exact L2 adds twice that, the slope of Keras's penalty weight_decay * w ** 2.
    `rate_shares` gives the modules (by name) that learn at a share of the learning rate; each share has two groups.

    Raises:
        SpecError: no optimizer is set, or nothing is trainable.
    """
    kernels, others = _split(network, reg_config.scope)
    share_of = _share_of(network, rate_shares or {})
    l1, l2 = (reg_config.weight_decay * (reg_config.type.lower() == norm) for norm in ("l1", "l2"))
    if exact:
        l2 *= 2
    if optimizer_config.HasField("adamw"):
        # AdamW's own decay bypasses the moments, so an L2 penalty, which goes through them, must be added beside it.
        weight_decay, added_l2 = optimizer_config.adamw.weight_decay, l2
    else:
        weight_decay, added_l2 = l2, 0.0
    groups = [
        {"params": [one for one in parameters if share_of[one] == share], "weight_decay": decay, "rate_share": share}
        for share in sorted({1.0, *share_of.values()}, reverse=True)
        for parameters, decay in ((kernels, weight_decay), (others, 0.0))
    ]
    optimizer = _build(optimizer_config, groups, fused=device.type in ("cpu", "cuda"), exact=exact)
    if l1 or added_l2:
        _add_penalty(optimizer, kernels, l1=l1, l2=added_l2)
    return optimizer


def make_penalty(reg_config: pb.RegConfig, network: nn.Module) -> Callable[[], Tensor] | None:
    """The penalty that Keras adds to a loss, to be called for its value at the present weights; None without one.

    L2 is weight_decay * sum(w ** 2), L1 is weight_decay * sum(|w|), both over all kernels in the scope, frozen or not.
    The value is a float64 scalar on the device, which nothing waits for and no gradient flows through.
    """
    order = {"l1": 1, "l2": 2}.get(reg_config.type.lower(), 0)
    kernels: list[Tensor] = [layer.weight for layer in _layers_in(network, reg_config.scope)]
    if not (order and kernels and reg_config.weight_decay):
        return None

    @torch.no_grad()
    def penalty() -> Tensor:
        # In 32 bits a CPU adds so simply that the sum of a large kernel keeps no more than four digits.
        norms = torch.stack(torch._foreach_norm(kernels, order, dtype=torch.float64))
        return reg_config.weight_decay * norms.pow(order).sum()

    return penalty


def set_learning_rate(optimizer: Optimizer, learning_rate: float, step: int) -> float:
    """The rate that holds from now on: learning_rate / (1 + decay * step), decay being Keras's time decay in the spec.

    step counts the optimizer steps since the start of the run. Nothing waits on the device.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["rate_share"] * learning_rate / (1 + group["decay"] * step)
    return float(optimizer.param_groups[0]["lr"])


def load_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Give the optimizer the memory in another one's state_dict(); its options stay those of the spec.

    Raises:
        CheckpointError: the state is of another kind of optimizer, or of other parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in state["param_groups"]] != [len(group["params"]) for group in groups]:
        raise _misfit("other parameters are trained or penalised")
    if any(set(memory) != _MEMORY[type(optimizer)] for memory in state["state"].values()):
        raise _misfit(f"it is not of {type(optimizer).__name__.removeprefix('Fused')}")
    if not state["state"].keys() <= {number for group in groups for number in group["params"]}:
        raise _misfit("it remembers parameters that there are not")
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            memory[name] = value.clone() if name == "step" and not value.ndim else _laid_out_like(parameter, value)


def _split(network: nn.Module, scope: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable kernels in the scope, and all other trainable parameters."""
    chosen = {id(layer.weight) for layer in _layers_in(network, scope)}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise SpecError(
            "model_config.freeze_blocks: found every parameter of the network frozen, must leave some to train; "
            "freeze fewer blocks"
        )
    kernels = [parameter for parameter in trainable if id(parameter) in chosen]
    return kernels, [parameter for parameter in trainable if id(parameter) not in chosen]


def _share_of(network: nn.Module, rate_shares: Mapping[str, float]) -> dict[nn.Parameter, float]:
    shares = dict.fromkeys(network.parameters(), 1.0)
    for module, share in rate_shares.items():
        shares |= dict.fromkeys(network.get_submodule(module).parameters(), share)
    return shares


def _layers_in(network: nn.Module, scope: str) -> list[nn.Conv2d | nn.Linear]:
    """The layers whose kernels the scope names."""
    kinds = tuple(_SCOPES[word] for word in scope.lower().replace(" ", "").split(",") if word in _SCOPES)
    # Keras's Conv2D regulariser leaves out depthwise layers, which torch writes as Conv2d with groups.
    return [layer for layer in network.modules() if isinstance(layer, kinds) and getattr(layer, "groups", 1) == 1]


def _build(
    optimizer_config: pb.OptimizerConfig, groups: list[dict[str, Any]], *, fused: bool, exact: bool
) -> Optimizer:
    """fused spares GradScaler a wait in each step: the kernel itself leaves out the step if a gradient overflowed."""
    optimizer: Optimizer
    match optimizer_config.WhichOneof("optim"):
        case "sgd":
            sgd, decay = optimizer_config.sgd, optimizer_config.sgd.decay
            if exact:
                optimizer = KerasSGD(groups, momentum=sgd.momentum, nesterov=sgd.nesterov)
            else:
                optimizer = _build_sgd(sgd, groups, fused=fused)
        case "adam":
            adam = optimizer_config.adam
            betas, decay = (adam.beta_1, adam.beta_2), adam.decay
            optimizer = torch.optim.Adam(
                groups, lr=0.0, betas=betas, eps=adam.epsilon, fused=fused if not exact else None
            )
            if exact:
                optimizer.register_step_pre_hook(partial(_set_keras_epsilon, epsilon=adam.epsilon))
        case "adamw":
            adamw = optimizer_config.adamw
            betas, decay = (adamw.beta_1, adamw.beta_2), 0.0
            optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=adamw.epsilon, fused=fused)
        case "rmsprop":
            rmsprop, decay = optimizer_config.rmsprop, optimizer_config.rmsprop.decay
            # There is no fused form. torch takes foreach on a GPU and, where that is slower, on a CPU, a plain loop.
            optimizer = torch.optim.RMSprop(groups, lr=0.0, alpha=rmsprop.rho, eps=rmsprop.epsilon)
        case None:
            raise SpecError("train_config.optimizer: found none, must hold one of sgd, adam, rmsprop, adamw")
    for group in optimizer.param_groups:
        group["decay"] = decay
    return optimizer


def _build_sgd(config: pb.SgdOptimizerConfig, groups: list[dict[str, Any]], *, fused: bool) -> Optimizer:
    on_cpu = fused and all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    kind = FusedSGD if on_cpu else torch.optim.SGD
    optimizer = kind(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
    if config.momentum:
        optimizer.register_step_pre_hook(zero_missing_momentum)
    return optimizer


def _set_keras_epsilon(optimizer: Optimizer, *_: object, epsilon: float) -> None:
    """Give torch's Adam the epsilon with which it takes Keras's next step.

    Keras: rate * root(1 - beta_2 ** t) / (1 - beta_1 ** t) * m / (root(v) + epsilon). torch removes the bias of v
    before it adds epsilon, so it does the same with epsilon / root(1 - beta_2 ** t). Source: Keras 2.2.4.
    """
    for group in optimizer.param_groups:
        # Without the fused kernel the number of steps is on the host, and the same for all parameters.
        steps = [memory["step"] for memory in map(optimizer.state.get, group["params"]) if memory]
        step = 1 + (int(steps[0]) if steps else 0)
        group["eps"] = epsilon / math.sqrt(1 - group["betas"][1] ** step)


def _add_penalty(optimizer: Optimizer, kernels: list[nn.Parameter], *, l1: float, l2: float) -> None:
    """Make each step add the penalty's gradient first; by then loss scaling is undone, as Precision.step does it."""

    @torch.no_grad()
    def add(*_: object) -> None:
        weights: list[Tensor] = [kernel for kernel in kernels if kernel.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if l1:
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=l1)
        if l2:
            torch._foreach_add_(gradients, weights, alpha=l2)

    optimizer.register_step_pre_hook(add)


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory format; torch's fused CPU kernels pair elements by their place in memory."""
    if value.shape != parameter.shape:
        raise _misfit(f"it holds shape {list(value.shape)} where a parameter has {list(parameter.shape)}")
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _misfit(what: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint's optimizer does not fit this run: {what}; go on with the spec that wrote it, or start a run "
        "in another folder with the checkpoint as train_config.pretrained_model_path"
    )
