"""The place in an epoch where a run goes on, whoever computes it: how many images are done, and the steps' size."""

import logging
import math
from dataclasses import replace

from tao_lite.checkpoint import Checkpoint
from tao_lite.data.sampler import Sampler

_log = logging.getLogger(__name__)


def taken_up(sampler: Sampler, found: Checkpoint) -> Sampler:
    """The sampler that goes on with the epochs and steps of the checkpoint's run, as far as they can be kept."""
    processes = num_processes(found)
    # Older versions had no other order than that of window 0.
    window = found.training.get("window", 0) if sampler.shards is not None else 0
    if window != sampler.window:
        _log.warning("the run goes on with the order of images that it was begun with: %s", _order(window))
    sampler = replace(sampler, begun_with=found.training.get("begun_with", processes), window=window)
    step = sampler.split.step
    if step != sampler.step:
        _log.warning(
            "%d processes can't share a step of %d images: it takes %d, and the learning rate is %.3g times as high",
            *(sampler.world_size, sampler.step, step, step / sampler.step),
        )
    elif processes not in (0, sampler.world_size):
        _log.info(
            "the run goes on in %d instead of %d processes: a step still takes %d images, in batches of %d",
            *(sampler.world_size, processes, step, sampler.split.batch),
        )
    return sampler


def done(found: Checkpoint) -> int:
    """Images of the order of the epoch begun that are done, over all processes."""
    stats = found.training["progress"]["stats"]
    return int(stats.get("done", found.batch * _batch_size(found) * num_processes(found)))


def is_lost(found: Checkpoint, world_size: int) -> bool:
    """Whether what is done of an epoch was done by another number of processes, each of which had images of its own."""
    if not found.batch or num_processes(found) == world_size:
        return False
    _log.warning(
        "epoch %d is begun anew: in a linear probe each process has images of its own, and there were %d processes",
        *(found.epoch + 1, num_processes(found)),
    )
    return True


def num_processes(found: Checkpoint) -> int:
    """How many saved it; 0 where an older version did, after a whole epoch."""
    if "processes" in found.training:
        return int(found.training["processes"])
    if not found.batch:
        return 0
    # Each had as many batches, and pictures that can't be read are few.
    images = int(found.training["progress"]["stats"]["images"])
    return max(1, math.ceil(images / (found.batch * _batch_size(found))))


def _order(window: int) -> str:
    return f"shuffle SHARDS, shuffle_shards {window}" if window else "shuffle FULL"


def _batch_size(found: Checkpoint) -> int:
    return max(1, found.experiment.train_config.batch_size_per_gpu)
