"""What a pruned network is worth: seconds per image and validation top-1, beside those of the network it came from."""

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tao_lite.errors import TaoLiteError
from tao_lite.metrics.joint import Result
from tao_lite.pruning.trace import Shape
from tao_lite.stages.prune.subject import Subject
from tao_lite.training.trained import on_device

MIN_ROUNDS, MAX_ROUNDS = 5, 100
SECONDS = 2.0
"""Rounds of timing end after this, once there are MIN_ROUNDS."""


@dataclass(frozen=True)
class Latency:
    """Medians of one image on one device, in the order of the networks; float32, batch 1."""

    device: str
    threads: int
    milliseconds: tuple[float, ...]
    speedups: tuple[float, ...]  # median of the ratios to the first network, round by round

    def as_dict(self) -> dict[str, object]:
        return {**vars(self), "milliseconds": list(self.milliseconds), "speedups": list(self.speedups)}


def latencies(networks: Sequence[nn.Module], shape: Shape, device: torch.device) -> list[Latency]:
    """Time of each network on the CPU, and on the device where that is another."""
    devices = [torch.device("cpu"), *([device] if device.type != "cpu" else [])]
    return [_latency(networks, shape, one) for one in devices]


def accuracies(subject: Subject, networks: Sequence[nn.Module]) -> tuple[list[Result], str]:
    """How each network does in validation; where that can't be measured, none and why."""
    try:
        return [subject.evaluated(network) for network in networks], ""
    except TaoLiteError as error:
        return [], str(error)


def _latency(networks: Sequence[nn.Module], shape: Shape, device: torch.device) -> Latency:
    """Networks take turns in every round, so that whatever else slows the machine down slows all of them."""
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    image = image.contiguous(memory_format=torch.channels_last)
    copies = [on_device(copy.deepcopy(network).eval(), device) for network in networks]
    rounds = list[list[float]]()
    with torch.inference_mode():
        for network in copies * 2:
            network(image)
        started = time.perf_counter()
        while len(rounds) < MIN_ROUNDS or (len(rounds) < MAX_ROUNDS and time.perf_counter() - started < SECONDS):
            rounds.append([_seconds(network, image) for network in copies])
    times = list(zip(*rounds, strict=True))  # by network
    ratios = [[first / own for first, own in zip(times[0], own_times, strict=True)] for own_times in times]
    return Latency(
        device=device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        milliseconds=tuple(1000 * statistics.median(own_times) for own_times in times),
        speedups=tuple(map(statistics.median, ratios)),
    )


def _seconds(network: nn.Module, image: Tensor) -> float:
    if image.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    network(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
