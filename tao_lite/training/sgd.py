"""Forms of stochastic gradient descent that torch lacks: Keras's, and its own fused one without a needless copy."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MOMENTUM = "momentum_buffer"  # torch's name


class KerasSGD(Optimizer):
    """SGD whose velocity holds the learning rate, so that a new rate is felt only as fast as the old velocity fades.

    v = momentum * v - rate * gradient, w += v, or with Nesterov w += momentum * v - rate * gradient.
    torch keeps the rate outside of the velocity; under a constant rate both are the same. Source: Keras 2.2.4.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights. GradScaler reads one number from the device before it calls this."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(weights, group)

    def _move(self, weights: list[Tensor], group: Mapping[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        moves = torch._foreach_mul(gradients, -group["lr"])
        if group["momentum"]:
            velocities = [self._velocity(weight) for weight in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, moves)
            if group["nesterov"]:
                torch._foreach_add_(moves, velocities, alpha=group["momentum"])
            else:
                moves = tuple(velocities)
        torch._foreach_add_(weights, moves)

    def _velocity(self, weight: Tensor) -> Tensor:
        memory = self.state[weight]
        if "velocity" not in memory:
            memory["velocity"] = torch.zeros_like(weight)
        velocity: Tensor = memory["velocity"]
        return velocity


class FusedSGD(torch.optim.SGD):
    """torch's fused SGD on a CPU, told the memory's order: 2.7 times as fast for channels-last weights.

    torch's kernel works on memory as it lies, but first makes a copy of each gradient that is not laid out row by row,
    which it does not use (seen in torch 2.11 and 2.15).
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights, unless loss scaling found an overflow."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            if trained:
                torch._fused_sgd_(
                    [_row_by_row(parameter) for parameter in trained],
                    [_row_by_row(parameter.grad) for parameter in trained],
                    [_row_by_row(self.state[parameter][MOMENTUM]) for parameter in trained if group["momentum"]],
                    weight_decay=group["weight_decay"],
                    momentum=group["momentum"],
                    lr=group["lr"],
                    dampening=0.0,
                    nesterov=group["nesterov"],
                    maximize=False,
                    is_first_step=False,  # zero_missing_momentum was here
                    grad_scale=getattr(self, "grad_scale", None),
                    found_inf=getattr(self, "found_inf", None),
                )


def zero_missing_momentum(optimizer: Optimizer, *_: object) -> None:
    """Start momentum at zero, which equals torch's own start.

    Fused SGD allocates momentum without writing it and leaves it so if loss scaling skips the first step; the second
    step then adds whatever was in memory to the weights (seen in torch 2.11 and 2.15).
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and MOMENTUM not in optimizer.state[parameter]:
                optimizer.state[parameter][MOMENTUM] = torch.zeros_like(parameter)


def _row_by_row(tensor: Tensor) -> Tensor:
    """The same memory, seen so that it is contiguous where it is channels last."""
    is_channels_last = tensor.ndim == 4 and not tensor.is_contiguous()
    return tensor.permute(0, 2, 3, 1) if is_channels_last else tensor
