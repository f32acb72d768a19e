"""Memory that this process holds: the GPU's where it computes on one, else the machine's."""

import os
import resource
from pathlib import Path

import torch


def held_bytes(device: torch.device) -> int:
    """Tensors on the GPU; on a CPU the pages of the process; 0 where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def peak_bytes(device: torch.device) -> int:
    """The most that it held since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
