"""What a pruned network is worth: seconds per image and validation top-1, beside those of the network it came from."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tao_lite.errors import TaoLiteError
from tao_lite.metrics.joint import Result
from tao_lite.pruning.trace import Shape
from tao_lite.stages.prune.subject import Subject
from tao_lite.training import clock
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
    times = clock.in_turn(
        [torch_pass(network, shape, device) for network in networks],
        rounds=MAX_ROUNDS,
        least=MIN_ROUNDS,
        seconds=SECONDS,
    )
    return Latency(
        device=device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        milliseconds=tuple(one.milliseconds for one in times),
        speedups=tuple(1 / one.share for one in times),
    )


def torch_pass(network: nn.Module, shape: Shape, device: torch.device) -> clock.Pass:
    """Passes of a copy on the device over one image of noise."""
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    image = image.contiguous(memory_format=torch.channels_last)
    return clock.of_network(on_device(copy.deepcopy(network).eval(), device), image)
