"""How training scales: measured with 1 and 2 processes of this machine, computed for 8 to 256 GPUs.

    python -m tests.bench.scale [--rounds 3] [--images 2000] [--table-only]

Measured: ResNet-18 at 64 pixels with a thread for each process, trained in turn by 1 and by 2 processes: images per
second of all, the share of the time in which a process waited for data; and, in two processes that do nothing else, the
seconds in which gradients of that size are summed. Two processes of 2 cores share memory and caches: that is no
measurement of a network. The table is arithmetic on the figures below and says nothing that they don't.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tao_lite.monitor import console
from tests.bench import experiment, machine, pictures

GPUS = (8, 16, 64, 128, 256)
PER_NODE = 8
NUM_PARAMETERS = 11_181_642  # of ResNet-18 with 10 classes

SUMMING = f"""
import time
import torch
import torch.distributed

torch.distributed.init_process_group("gloo")
numbers = torch.zeros({NUM_PARAMETERS})
seconds = []
for _ in range(20):
    torch.distributed.barrier()
    begun = time.perf_counter()
    torch.distributed.all_reduce(numbers)
    seconds.append(time.perf_counter() - begun)
if torch.distributed.get_rank() == 0:
    print(sorted(seconds)[10])
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the table takes for granted, of ResNet-50 at 224 pixels in AMP."""

    images_per_second: float = 3079
    """Of one H200: NVIDIA's DeepLearningExamples, run by Lambda."""
    batch: int = 256
    parameters: int = 25_557_032
    backward: float = 2 / 3
    """Of a step, during which sums can be taken: DDP begins with the last layer."""
    nvlink: float = 4.5e11
    """Bytes per second that a GPU gets through a ring within a node: NVLink 4, as NCCL reaches it."""
    latency: float = 2e-5
    """Seconds of a step of the ring."""
    image_bytes: int = 110_000
    """Of an ImageNet JPEG."""
    per_core: float = 875
    """Of these, what a core decodes, crops and resizes in a second: 2,261 of 256 pixels were measured on AMD EPYC."""


NETWORKS = {"400 Gbit/s a GPU": 4e10, "100 Gbit/s a node": 1.25e9, "10 Gbit/s a node": 1.25e8}
"""Bytes per second that each GPU of a full node gets to other nodes: four fifths of what is printed on the adapter."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        measure(arguments.rounds, arguments.images)
    rows = [row(Case(), number) for number in (1, *GPUS)]
    networks = [f"linear, {name}" for name in NETWORKS]
    names = ("GPUs", "MB a step", "ms of sums", "images/s", *networks, "GB/s a node", "cores a node")
    console.table("ResNet-50, 224 pixels, 256 images a GPU: computed", names, rows)


def measure(rounds: int, num_images: int) -> None:
    """Train and sum, and show the medians."""
    found: dict[int, list[Mapping[str, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        pictures.draw(Path(name) / "train", num_images, 64)
        pictures.draw(Path(name) / "val", 4 * pictures.NUM_CLASSES, 64)
        for number in range(rounds):
            for processes, results in found.items():
                results.append(trained(Path(name), processes, f"{processes}_{number}"))
    seconds = summed()
    rows = [
        (
            processes,
            *(f"{statistics.median(one[key] for one in results):,.3g}" for key in ("images_per_second", "waited")),
            f"{seconds * 1000:.0f}" if processes > 1 else "0",
        )
        for processes, results in found.items()
    ]
    console.table(
        f"Medians of {rounds} rounds; load {os.getloadavg()[0]:.1f}; {machine.facts()['processor']}",
        ("processes", "images/s of all", "share of waiting", f"ms to sum {4 * NUM_PARAMETERS / 1e6:.0f} MB"),
        rows,
    )


def trained(folder: Path, processes: int, results: str) -> Mapping[str, float]:
    """What the summary of a training says."""
    (spec := folder / "spec.cfg").write_text(experiment.SPEC)
    settings = {
        "train_config.train_dataset_path": folder / "train",
        "train_config.val_dataset_path": folder / "val",
        "train_config.n_epochs": 2,
        "train_config.n_workers": 1,
        "dataset_config.cache": "MEMORY",
    }
    words = [sys.executable, "-m", "tao_lite.cli", "train", "-e", str(spec), "-r", str(folder / results), "--gpus", "0"]
    words += [*(["-np", str(processes)] if processes > 1 else []), *experiment.options(settings)]
    subprocess.run(words, env=_environment({}), check=True, capture_output=True)
    summary = json.loads((folder / results / "train.json").read_text())
    return {"images_per_second": summary["images_per_second"], "waited": summary["data_wait_fraction"]}


def summed() -> float:
    """Seconds in which two processes sum the gradients: the median of 20 times."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SUMMING], env=_environment(shared | {"RANK": str(rank)}), stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    said, _ = [process.communicate()[0] for process in both]
    return float(said)


def row(case: Case, gpus: int) -> Sequence[object]:
    """A line of the table."""
    compute, nodes = case.batch / case.images_per_second, -(-gpus // PER_NODE)
    sums = [seconds(case, gpus, network) for network in NETWORKS.values()]
    # What does not fit beside the way back is waited for.
    shares = [compute / (compute + max(0, one - case.backward * compute)) for one in sums]
    rate = gpus * case.images_per_second * shares[0]
    demand = rate / nodes
    return (
        *(
            gpus,
            f"{4 * case.parameters / 1e6:.0f}" if gpus > 1 else "0",
            " / ".join(f"{one * 1000:.1f}" for one in sums),
        ),
        *(f"{rate:,.0f}", *(f"{one:.0%}" for one in shares)),
        *(f"{demand * case.image_bytes / 1e9:.1f}", f"{demand / case.per_core:.0f}"),
    )


def seconds(case: Case, gpus: int, network: float) -> float:
    """That gradients take to be summed: in a ring within each node, then the eighth of each GPU around the nodes."""
    here, nodes = min(gpus, PER_NODE), -(-gpus // PER_NODE)
    num_bytes = 4 * case.parameters
    within = 2 * (here - 1) / here * num_bytes / case.nvlink
    around = 2 * (nodes - 1) / nodes * num_bytes / here / network
    return within + around + 2 * (here + nodes - 2) * case.latency


def _environment(more: Mapping[str, str]) -> Mapping[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


if __name__ == "__main__":
    main()
