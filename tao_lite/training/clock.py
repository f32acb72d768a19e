"""Networks timed side by side: they take turns, so that whatever slows the machine down slows all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tao_lite.data.description import INPUT
from tao_lite.training.runtimes import Computed

Pass = Callable[[], object]
"""One pass of a network over its images, which has ended when it returns."""


@dataclass(frozen=True)
class Times:
    """Of a network beside the first one: the median, and of the ratios to the first the median and the quartiles."""

    milliseconds: float
    share: float
    share_low: float
    share_high: float


def of_network(network: nn.Module, images: Tensor) -> Pass:
    """Passes over the images, where they and the network are."""

    def run() -> None:
        with torch.inference_mode():
            network(images)
        if images.is_cuda:
            torch.cuda.synchronize()

    return run


def of_file(computed: Computed, batch_size: int) -> Pass:
    """Passes of a deployed file over so many images of noise."""
    port, outputs = computed.ports[INPUT], [name for name in computed.ports if name != INPUT]
    noise = np.random.default_rng(0).standard_normal((batch_size, *(size or 1 for size in port.shape[1:])))
    images = noise.astype(port.type) if port.type == "float32" else (64 * noise + 128).clip(0, 255).astype(port.type)
    return lambda: computed.run(outputs, {INPUT: images})


def in_turn(passes: Sequence[Pass], *, rounds: int, least: int = 0, seconds: float = float("inf")) -> list[Times]:
    """The times of each; after so many seconds no further round begins, once there are the least.

    A first round of two passes each is not counted: in it memory is taken and kernels are chosen.
    """
    for one in (*passes, *passes):
        one()
    measured, started = list[list[float]](), time.perf_counter()
    while len(measured) < rounds and (len(measured) < least or time.perf_counter() - started < seconds):
        measured.append([_seconds(one) for one in passes])
    return [_times([one[0] for one in measured], own) for own in map(list, zip(*measured, strict=True))]


def _seconds(one: Pass) -> float:
    started = time.perf_counter()
    one()
    return time.perf_counter() - started


def _times(first: Sequence[float], own: Sequence[float]) -> Times:
    ratios = [mine / theirs for mine, theirs in zip(own, first, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Times(1000 * statistics.median(own), middle, low, high)
