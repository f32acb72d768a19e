"""The machine that a bench runs on: what a result depends on, and what processes use of it."""

import datetime
import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path

from tao_lite.machine import host

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(sys.prefix) / "bench"
"""Where `make bench` installs what is in no other part of .venv."""
NOT_INSTALLED = "not installed"
PACKAGES = ("torch", "torchvision", "timm", "lightning", "nvidia-dali-cuda130")


def facts() -> dict[str, object]:
    """What a result depends on besides the code."""
    import torch

    return {
        "processor": _processor(),
        "cores": host.usable_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_before": os.getloadavg()[0],
    }


def version(name: str) -> str:
    """Of an installed package, the peers among them."""
    path = [*sys.path, str(PEERS)]
    found = next(iter(importlib.metadata.distributions(name=name, path=path)), None)
    return found.version if found else NOT_INSTALLED


def environment(threads: int | None, *, is_peer: bool) -> dict[str, str]:
    """Of a process with that many threads of OpenMP, None for what it takes itself. Only peers see the peers."""
    found = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    if threads:
        found["OMP_NUM_THREADS"] = str(threads)
    return found | ({"PYTHONPATH": str(PEERS)} if is_peer else {})


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def memory_bytes(pid: int) -> int:
    """Memory of the process and its descendants, what several of them share counted once (PSS); 0 when it has ended."""
    try:
        kilobytes = [
            int(line.split()[1])
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss:")
        ]
        children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in _words(path)]
    except OSError:
        return 0
    return 1024 * sum(kilobytes) + sum(memory_bytes(child) for child in children)


def _words(path: Path) -> list[str]:
    """Of the file; none where its thread has ended."""
    try:
        return path.read_text().split()
    except OSError:
        return []


def _processor() -> str:
    """Its name, with what tells apart processors that virtual machines call the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{found.get('model name', platform.machine())}, family {found.get('cpu family', '?')}"
