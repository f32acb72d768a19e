"""How many threads to compute with on the CPU: as many as make a trial step fastest."""

import copy
import logging
import os
import statistics
import time

import torch
from torch import nn

from tao_lite.machine import distributed, host
from tao_lite.models import architectures
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.precision import Precision

MOST_IMAGES = 16  # of a trial step
ROUNDS = 3
SECONDS = 5.0  # after which no further round begins

_log = logging.getLogger(__name__)


def set_threads(
    network: nn.Module, experiment: pb.Experiment, precision: Precision, run: Run, known: int | None = None
) -> None:
    """Let torch compute with `known` threads, the number that a training began with, else with the fastest number.

    Beside another busy process threads wait for each other: with as many as cores a step can take several times as long
    as with one. A training keeps its number, because a sum over more threads is rounded in another order.
    OMP_NUM_THREADS and torchrun have their own say, and on a GPU it does not matter.
    """
    cores = host.usable_cores()
    if run.device.type != "cpu" or cores == 1 or distributed.launched() or os.environ.get("OMP_NUM_THREADS"):
        return
    if known:
        torch.set_num_threads(known)
        _log.info("torch got %d threads, as before in this run", known)
        return
    seconds = _trial(network, experiment, precision, sorted({1, cores // 2, cores}))
    fastest = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(fastest)
    found = ", ".join(f"{value:.3f} s with {threads}" for threads, value in seconds.items())
    _log.info("torch got %d threads: a trial step took %s (OMP_NUM_THREADS sets the number)", fastest, found)


def _trial(
    network: nn.Module, experiment: pb.Experiment, precision: Precision, candidates: list[int]
) -> dict[int, float]:
    """Median seconds of a step for each number of threads; they take turns, so that a busy moment slows all."""
    trained = precision.cast(copy.deepcopy(network).train())
    size = max(2, min(MOST_IMAGES, experiment.train_config.batch_size_per_gpu))
    images = torch.zeros(size, *architectures.input_shape(experiment.model_config))
    images = images.to(memory_format=torch.channels_last)
    seconds: dict[int, list[float]] = {threads: [] for threads in candidates}
    started = time.perf_counter()
    # The first round warms up and does not count.
    for number in range(ROUNDS + 1):
        for threads, measured in seconds.items():
            torch.set_num_threads(threads)
            began = time.perf_counter()
            with precision.autocast():
                logits = trained(images)
            logits.float().square().mean().backward()
            if number or time.perf_counter() - started > SECONDS:
                measured.append(time.perf_counter() - began)
        if time.perf_counter() - started > SECONDS and all(seconds.values()):
            break
    return {threads: statistics.median(measured) for threads, measured in seconds.items()}
