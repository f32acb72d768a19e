"""The arithmetic of a training step, autocast and loss scaling, as one object."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.arithmetic import APEX, Hardware, choose, set_tf32
from tao_lite.training.float16 import Float16

_log = logging.getLogger(__name__)

_AUTOCAST = {"FP16": torch.float16, "BF16": torch.bfloat16}
_FLOAT16 = ("O2", "O3")
# Half of float16's smallest number. What is not larger is rounded to zero.
_FLOAT16_ZERO = 2.0**-25
# Underflow is measured at one of so many looks at the numbers: on a CPU it takes a seventh of a small step.
_LOOKS_PER_MEASUREMENT = 10


@dataclass(kw_only=True, eq=False)
class Precision:
    """How a run computes and keeps its weights, its loss scaling, and their counters.

    Weights, gradients and optimizer state are float32 in every mode but O3. Make logits by cast(network) within
    autocast(), and compute the loss on logits.float(), outside of it. Without loss scaling the scaler is disabled.
    """

    name: str
    device: torch.device
    scaler: torch.amp.GradScaler
    # The scale of STATIC loss scaling. None: the scaler moves it.
    constant_scale: float | None
    gradient_norm: Tensor = field(repr=False)
    overflows: Tensor = field(repr=False)
    underflow: Tensor = field(repr=False)  # float64 [2]: in the step measured last, and the sum over all measured
    num_measured: int = 0
    num_looks: int = 0
    is_to_measure: bool = True

    @classmethod
    def of(cls, train_config: pb.TrainConfig, device: torch.device) -> "Precision":
        """What the spec asks for on this device.

        Logs the choice and why. Turns TensorFloat-32 on or off for the whole process.
        """
        asked = pb.Precision.Mode.Name(train_config.precision)
        hardware = Hardware.of(device)
        name, why = choose(asked, hardware)
        is_native = APEX.get(asked, asked) in hardware.modes | {"AUTO"}
        _log.log(logging.INFO if is_native else logging.WARNING, "chose %s: %s", name, why)
        set_tf32(allowed=name == "TF32")
        config = train_config.loss_scale
        return cls(
            name=name,
            device=device,
            scaler=_make_scaler(name, train_config, device),
            constant_scale=config.init_scale if config.mode == pb.LossScaleConfig.STATIC else None,
            gradient_norm=torch.zeros((), device=device),
            overflows=torch.zeros((), dtype=torch.int64, device=device),
            underflow=torch.zeros(2, dtype=torch.float64, device=device),
        )

    def cast(self, network: nn.Module) -> nn.Module:
        """The network as this mode computes it. The parameters are the network's own, whichever they are."""
        return Float16(network, keeps_batch_norm=self.name == "O2") if self.name in _FLOAT16 else network

    def store(self, network: nn.Module) -> None:
        """Round the network's weights and statistics to what this mode keeps, in place: float16 in O3."""
        if self.name == "O3":
            network.half()

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        return torch.autocast(self.device.type, dtype=_AUTOCAST.get(self.name), enabled=self.name in _AUTOCAST)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradient, times the loss scale, to the parameters."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], max_grad_norm: float = 0.0) -> None:
        """Undo the loss scale, shorten the gradient to max_grad_norm (0: leave it), update the weights and the scale.

        With loss scaling, a step whose gradient holds inf or NaN changes no weight; without, it is taken as it is.
        Nothing waits on the device, except with loss scaling and RMSprop: without a fused kernel GradScaler reads one
        number.
        """
        self.scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # The gradients may be float16, which ends at 65504.
        norm = torch.stack(torch._foreach_norm(gradients, dtype=torch.float32)).norm()
        if self.is_to_measure:
            self._measure(gradients)
        if max_grad_norm > 0:
            nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.constant_scale is not None:
            self.scaler.update(self.constant_scale)
        self.gradient_norm.copy_(norm)
        self.overflows.add_(norm.isfinite().logical_not())

    def numbers(self) -> dict[str, Tensor]:
        """What a log shows, as scalars on the device: reading one waits for it.

        loss_scale (1 without loss scaling); gradient_norm of the last step, before clipping; overflows, the steps so
        far whose gradient held inf or NaN; skipped_steps, those of them that loss scaling left out;
        underflow_fraction, of a step within the last ten calls: the share of the gradient's values, in true units, that
        are at most 2 ** -25 in size, which float16 without loss scaling holds as zero. Zeros count, whatever made them:
        a run in FP16 has already lost what it lost, and one in FP32 shows what is zero by itself.
        """
        self.num_looks += 1
        self.is_to_measure |= self.num_looks % _LOOKS_PER_MEASUREMENT == 0
        return {
            "loss_scale": self.scaler.scale(torch.ones((), device=self.device)),
            "gradient_norm": self.gradient_norm,
            "overflows": self.overflows,
            "skipped_steps": self.overflows * self.scaler.is_enabled(),
            "underflow_fraction": self.underflow[0],
        }

    def summary(self) -> dict[str, float]:
        """The numbers of the whole run; underflow_fraction is the mean over the steps that were measured."""
        numbers = {name: value.item() for name, value in self.numbers().items() if name != "gradient_norm"}
        return {**numbers, "underflow_fraction": self.underflow[1].item() / max(self.num_measured, 1)}

    def state_dict(self) -> dict[str, Any]:
        """Loss scale and counters as plain numbers, to go on from exactly."""
        return {
            "scaler": self.scaler.state_dict(),
            "overflows": int(self.overflows),
            "underflow": self.underflow.tolist(),
            "num_measured": self.num_measured,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another run's scale and counters; factors and interval stay those of this run's spec."""
        self.overflows.fill_(state["overflows"])
        if "underflow" in state:  # not in checkpoints of earlier versions
            self.underflow.copy_(torch.tensor(state["underflow"], dtype=torch.float64))
            self.num_measured = state["num_measured"]
        if state["scaler"] and self.scaler.is_enabled() and self.constant_scale is None:
            moved = {key: state["scaler"][key] for key in ("scale", "_growth_tracker")}
            self.scaler.load_state_dict(self.scaler.state_dict() | moved)

    def _measure(self, gradients: Sequence[Tensor]) -> None:
        """Take in one step's share of zeros. One tensor after the other, so that no copy of all gradients is made."""
        zeros = torch.stack([(gradient.abs() <= _FLOAT16_ZERO).sum() for gradient in gradients]).sum()
        share = zeros.double() / sum(map(Tensor.numel, gradients))
        self.underflow.copy_(torch.stack([share, self.underflow[1] + share]))
        self.num_measured += 1
        self.is_to_measure = False


def _scales(name: str, config: pb.TrainConfig) -> bool:
    """Whether the loss is scaled. In O3 only where the spec speaks of it: Apex's default for O3 is a constant 1."""
    is_wanted = config.loss_scale.mode != pb.LossScaleConfig.NONE
    return is_wanted and (name in ("FP16", "O2") or (name == "O3" and config.HasField("loss_scale")))


def _make_scaler(name: str, train_config: pb.TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    config = train_config.loss_scale
    scaler = torch.amp.GradScaler(
        device.type,
        init_scale=config.init_scale,
        growth_factor=config.growth_factor,
        backoff_factor=config.backoff_factor,
        growth_interval=config.growth_interval,
        enabled=_scales(name, train_config),
    )
    if name == "O3":
        # GradScaler takes float16 gradients for a mistake, which here they are not; its last argument allows them.
        unscale = scaler._unscale_grads_
        scaler._unscale_grads_ = lambda *given: unscale(*given[:-1], True)  # type: ignore[method-assign, call-arg]
    return scaler
