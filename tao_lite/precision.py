"""The arithmetic of a training step, autocast and loss scaling, as one object."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tao_lite.spec import classification_pb2 as pb

logger = logging.getLogger(__name__)

_DTYPES = {"FP16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Hardware:
    """What decides which arithmetic is fast: the compute capability of a CUDA device, the instruction sets of a CPU."""

    name: str
    kind: str
    major: int = 0
    features: frozenset[str] = frozenset()

    @classmethod
    def of(cls, device: torch.device) -> "Hardware":
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            return cls(f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor},", "cuda", major)
        if device.type == "cpu":
            capabilities = torch.cpu.get_capabilities()
            return cls("this CPU", "cpu", features=frozenset(key for key, has in capabilities.items() if has is True))
        return cls(f"device {device.type}", device.type)

    @property
    def modes(self) -> frozenset[str]:
        """The modes that it computes natively, not by emulation."""
        if self.kind == "cuda" and self.major >= 8:
            return frozenset({"FP32", "TF32", "FP16", "BF16"})
        if self.kind == "cuda" and self.major == 7:
            return frozenset({"FP32", "FP16"})
        if self.kind == "cpu" and self.features & {"avx512_bf16", "amx_bf16"}:
            return frozenset({"FP32", "BF16"})
        return frozenset({"FP32"})


def choose(asked: str, hardware: Hardware) -> tuple[str, str]:
    """The mode to compute in, never AUTO, and why, in words."""
    if asked == "AUTO":
        best = next(mode for mode in ("BF16", "FP16", "FP32") if mode in hardware.modes)
        return best, f"AUTO takes the fastest that {hardware.name} has"
    if asked in hardware.modes:
        return asked, f"asked for, and {hardware.name} has it"
    if asked == "TF32":
        return "FP32", f"TF32 was asked for, but {hardware.name} has none"
    return asked, f"asked for, but {hardware.name} only emulates it, which is slow"


def set_tf32(*, allowed: bool) -> None:
    """Let float32 convolutions and matrix products on GPUs use TensorFloat-32, or not, in the whole process."""
    # float32 convolutions use TF32 unless told otherwise. Inductor still reads the older settings and raises where they
    # contradict the newer ones (pytorch/pytorch#166387), so all are set.
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.conv.fp32_precision = "tf32" if allowed else "ieee"  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True, eq=False)
class Precision:
    """Autocast and loss scaling of a run, and their counters. Modes that need no loss scaling have a disabled scaler.

    Weights, gradients and optimizer state are float32 in every mode. Compute the loss on logits.float(), outside
    autocast().
    """

    name: str
    device: torch.device
    scaler: torch.amp.GradScaler
    # The scale of STATIC loss scaling. None: the scaler moves it.
    constant_scale: float | None
    gradient_norm: Tensor = field(repr=False)
    overflows: Tensor = field(repr=False)

    @classmethod
    def of(cls, train_config: pb.TrainConfig, device: torch.device, *, use_amp: bool = False) -> "Precision":
        """What the spec asks for on this device; use_amp means FP16 where the spec says nothing.

        Logs the choice and why. Turns TensorFloat-32 on or off for the whole process.
        """
        asked = pb.Precision.Mode.Name(train_config.precision)
        if use_amp and not train_config.HasField("precision"):
            asked = "FP16"
        hardware = Hardware.of(device)
        name, why = choose(asked, hardware)
        logger.log(logging.INFO if asked in hardware.modes | {"AUTO"} else logging.WARNING, "chose %s: %s", name, why)
        set_tf32(allowed=name == "TF32")
        config = train_config.loss_scale
        return cls(
            name=name,
            device=device,
            scaler=_make_scaler(config, device, enabled=name == "FP16"),
            constant_scale=config.init_scale if config.mode == pb.LossScaleConfig.STATIC else None,
            gradient_norm=torch.zeros((), device=device),
            overflows=torch.zeros((), dtype=torch.int64, device=device),
        )

    def autocast(self) -> torch.autocast:
        """Context of the forward pass."""
        return torch.autocast(self.device.type, dtype=_DTYPES.get(self.name), enabled=self.name in _DTYPES)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradient, times the loss scale, to the parameters."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], max_grad_norm: float = 0.0) -> None:
        """Undo the loss scale, shorten the gradient to max_grad_norm (0: leave it), update the weights and the scale.

        With loss scaling, a step whose gradient holds inf or NaN changes no weight. Nothing waits on the device, except
        in FP16 with RMSprop: without a fused kernel GradScaler reads one number.
        """
        self.scaler.unscale_(optimizer)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
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
        far whose gradient held inf or NaN; skipped_steps, those of them that loss scaling left out.
        """
        return {
            "loss_scale": self.scaler.scale(torch.ones((), device=self.device)),
            "gradient_norm": self.gradient_norm,
            "overflows": self.overflows,
            "skipped_steps": self.overflows * self.scaler.is_enabled(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Loss scale and counters as plain numbers, to go on from exactly."""
        return {"scaler": self.scaler.state_dict(), "overflows": int(self.overflows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another run's scale and counters; factors and interval stay those of this run's spec."""
        self.overflows.fill_(state["overflows"])
        if state["scaler"] and self.scaler.is_enabled() and self.constant_scale is None:
            moved = {key: state["scaler"][key] for key in ("scale", "_growth_tracker")}
            self.scaler.load_state_dict(self.scaler.state_dict() | moved)


def _make_scaler(config: pb.LossScaleConfig, device: torch.device, *, enabled: bool) -> torch.amp.GradScaler:
    return torch.amp.GradScaler(
        device.type,
        init_scale=config.init_scale,
        growth_factor=config.growth_factor,
        backoff_factor=config.backoff_factor,
        growth_interval=config.growth_interval,
        enabled=enabled,
    )
