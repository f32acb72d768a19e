"""In which order a spec wants images: shuffled as a whole, or shard after shard where not all can be here at once."""

import logging

import numpy as np
import numpy.typing as npt

from tao_lite.data.dataset import DataSet
from tao_lite.data.examples import Examples
from tao_lite.data.remote.ahead import Ahead
from tao_lite.errors import DataError
from tao_lite.machine.distributed import World
from tao_lite.spec import classification_pb2 as pb

Indices = npt.NDArray[np.int64]

_log = logging.getLogger(__name__)


def shards_of(data_set: DataSet) -> Indices | None:
    """The shard of each example by number, in the order in which they come; None where not all are in files of many."""
    numbers, _ = Examples.of(data_set.examples).files()
    return None if (numbers < 0).any() else numbers


def window(experiment: pb.Experiment, shards: Indices | None, ahead: Ahead, world: World) -> int:
    """How many shards are in use at a time; 0: the whole epoch is shuffled. All processes say the same.

    `shards` is what `shards_of` gives.

    Raises:
        DataError: the order of shards is wanted, and there are none, or the sampler has an order of its own.
    """
    config, total = experiment.dataset_config, 0
    if ahead:
        total, max_bytes = ahead.num_bytes()
    is_large = world.any(total > max_bytes) if ahead else False
    if config.shuffle == pb.Shuffle.FULL or (config.shuffle == pb.Shuffle.AUTO and not is_large):
        return 0
    if experiment.train_config.sampler == pb.Sampler.BALANCED:
        raise DataError(
            "train_config.sampler: BALANCED takes images from all shards at once; raise dataset_config.shard_cache_gib "
            "until it holds the data set, or use class_weighting in its place"
        )
    if shards is None:
        raise DataError(
            "dataset_config.shuffle: SHARDS needs images in shards, such as tao-lite dataset convert --to webdataset "
            "writes; use FULL"
        )
    _log.info("images are shuffled over %d shards at a time", config.shuffle_shards)
    return config.shuffle_shards
