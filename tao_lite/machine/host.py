"""What the machine leaves to this process, and what the process asks of it: cores, memory, allocator, threads."""

import ctypes
import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

# Parameters of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Whether the C library now keeps freed memory for the next training step. Call it before torch allocates much.

    glibc returns large blocks to the kernel and takes them anew, zeroed, in each step: about a tenth of a step's time
    on a CPU. Other C libraries are left alone.
    """
    if not (hasattr(os, "confstr") and "CS_GNU_LIBC_VERSION" in os.confstr_names and os.confstr("CS_GNU_LIBC_VERSION")):
        return False
    libc = ctypes.CDLL(None)
    largest = 2**31 - 1
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, largest)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, largest))


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its CPU affinity, or its control group's CPU quota where that is less.

    A quota of 2.5 cores counts as 2: one thread too many costs far more than half a core. root holds proc and sys.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(int, _quotas(root))]))


def max_processes() -> int:
    """How many processes a user may have here: the hard limit of this process, or the kernel's largest process id."""
    own = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = int(_read(Path("/proc/sys/kernel/pid_max")) or 2**22)
    return most if own == resource.RLIM_INFINITY else min(own, most)


def set_threads() -> int:
    """Number of threads torch now computes with: OMP_NUM_THREADS where the user set it, else all usable cores.

    It is logged, for a sum over more threads is rounded in another order: equal runs need equal numbers of threads.
    """
    import torch

    cores = usable_cores()
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(cores)
    _log.info("torch got %d threads on %d usable cores", torch.get_num_threads(), cores)
    return torch.get_num_threads()


def available_memory(root: Path = Path("/")) -> int:
    """Bytes this process can still take without swapping or being killed; 0 where the system doesn't say."""
    free = [
        int(line.split()[1]) * 1024
        for line in _read(root / "proc/meminfo").splitlines()
        if line.startswith("MemAvailable:")
    ]
    return max(0, min([*free, *_free(root)], default=0))


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas, in cores, of the process's control groups."""
    for folder, is_unified in _groups(root, "cpu"):
        if is_unified:
            quota, _, period = _read(folder / "cpu.max").partition(" ")
        else:
            quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # No quota is "max" or -1.
            yield int(quota) / int(period)


def _free(root: Path) -> Iterator[int]:
    """Bytes left in the process's control groups. File pages not touched lately count as used, but are given up."""
    for folder, is_unified in _groups(root, "memory"):
        names = ("max", "current") if is_unified else ("limit_in_bytes", "usage_in_bytes")
        limit, used = (_read(folder / f"memory.{name}") for name in names)
        if limit.isdigit() and used.isdigit():
            statistics = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
            idle = statistics.get("inactive_file" if is_unified else "total_inactive_file", 0)
            yield int(limit) - int(used) + int(idle)


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The process's control groups and all groups around them, each of which limits; whether of the unified kind."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        # Inside a container the path may be the host's, while the group itself is mounted at the top.
        for path in [Path(group), *Path(group).parents]:
            if not controllers or controller in controllers.split(","):
                yield root / "sys/fs/cgroup" / controllers / path.relative_to("/"), not controllers


def _read(path: Path) -> str:
    """The text without outer blanks; empty if there is no such file."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
