"""Energy that a GPU uses, where NVML's Python package nvidia-ml-py is installed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def joules(device: "torch.device") -> float | None:
    """What the GPU has used since its driver was loaded, for all programs; None where nothing tells it."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    import torch

    try:
        pynvml.nvmlInit()
        # Not by its number: NVML also counts the GPUs that CUDA_VISIBLE_DEVICES hides.
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1000
    except pynvml.NVMLError:
        return None
