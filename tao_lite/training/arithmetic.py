"""Which arithmetic a run computes in: what the spec asks for against what the hardware has."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

# Apex's names of two of ours; its O2 and O3 are modes of their own.
APEX = {"O0": "FP32", "O1": "FP16"}
_FLOAT16 = frozenset({"FP16", "O2", "O3"})


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
            return _FLOAT16 | {"FP32", "TF32", "BF16"}
        if self.kind == "cuda" and self.major == 7:
            return _FLOAT16 | {"FP32"}
        if self.kind == "cpu" and self.features & {"avx512_bf16", "amx_bf16"}:
            return frozenset({"FP32", "BF16"})
        return frozenset({"FP32"})


def choose(asked: str, hardware: Hardware) -> tuple[str, str]:
    """The mode to compute in, never AUTO, O0 or O1, and why, in words."""
    if asked == "AUTO":
        best = next(mode for mode in ("BF16", "FP16", "FP32") if mode in hardware.modes)
        return best, f"AUTO takes the fastest that {hardware.name} has"
    mode, wish = APEX.get(asked, asked), f"asked for as {asked}" if asked in APEX else "asked for"
    if mode in hardware.modes:
        return mode, f"{wish}, and {hardware.name} has it"
    if mode == "TF32":
        return "FP32", f"TF32 was asked for, but {hardware.name} has none"
    return mode, f"{wish}, but {hardware.name} only emulates it, which is slow"


def set_tf32(*, allowed: bool) -> None:
    """Let float32 convolutions and matrix products on GPUs use TensorFloat-32, or not, in the whole process."""
    # float32 convolutions use TF32 unless told otherwise. Inductor still reads the older settings and raises where they
    # contradict the newer ones (pytorch/pytorch#166387), so all are set.
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.conv.fp32_precision = "tf32" if allowed else "ieee"  # type: ignore[attr-defined]


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Float32 is computed as float32 inside the block; behind it as before."""
    was_allowed = torch.get_float32_matmul_precision() != "highest"
    set_tf32(allowed=False)
    try:
        yield
    finally:
        set_tf32(allowed=was_allowed)
