"""Time per image of checkpoints side by side: each in turn, medians, ratios to the first.

python tests/bench/latency.py results/a/weights/best.pth results/a/weights/pruned.pth [--batch 16] [--rounds 30]
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from tao_lite import checkpoint as checkpoints
from tao_lite.models import architectures


def seconds(network: nn.Module, images: torch.Tensor) -> float:
    """Wall seconds of one forward pass."""
    started = time.perf_counter()
    network(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = [checkpoints.load(path) for path in options.checkpoints]
    networks = [checkpoints.network(one).eval().to(device, memory_format=torch.channels_last) for one in loaded]  # type: ignore[call-overload]
    shape = architectures.input_shape(loaded[0].experiment.model_config)
    images = torch.randn(options.batch, *shape, device=device).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for network in networks:
            seconds(network, images)
        rounds = [[seconds(network, images) for network in networks] for _ in range(options.rounds)]
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32")
    for index, path in enumerate(options.checkpoints):
        milliseconds = 1000 * statistics.median(one[index] for one in rounds) / options.batch
        ratio = statistics.median(one[0] / one[index] for one in rounds)
        print(f"{path}: {milliseconds:.3f} ms per image, {ratio:.2f} times as fast as the first")


if __name__ == "__main__":
    main()
