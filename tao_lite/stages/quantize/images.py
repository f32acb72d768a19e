"""Calibration images: which, and how they reach the network."""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from tao_lite.data import asked, dataset
from tao_lite.data.balance import evenly
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.formats import listing
from tao_lite.data.from_spec import loader
from tao_lite.data.loader import Loader
from tao_lite.errors import DataError, listed
from tao_lite.machine.distributed import World
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export import tao_deploy
from tao_lite.training.trained import Trained

_LEAST = 10  # what TAO takes where nothing is said
_FIELD = "quantize_config.image_dir"

_log = logging.getLogger(__name__)


def calibration(experiment: pb.Experiment, class_names: Sequence[str]) -> DataSet:
    """The images of quantize_config.image_dir, else of training: num_images of them, evenly from the classes.

    Of classes that they lack the log is told, where the images say whose they are.

    Raises:
        DataError: they can't be read, or are too few.
    """
    config = experiment.quantize_config
    found = _below(experiment, class_names) if config.image_dir else _of_training(experiment, class_names)
    least = config.num_images if config.HasField("num_images") else _LEAST
    where = config.image_dir or experiment.train_config.train_dataset_path
    if len(found.examples) < least:
        raise DataError(
            f"quantize: {where} holds {len(found.examples)} images, and {least} are wanted to calibrate with; give "
            f"more, or ask for fewer (quantize_config.num_images, at least {_LEAST}; TAO's --batches)"
        )
    chosen = replace(found, examples=evenly(found.examples, config.num_images))
    there = {example.label for example in chosen.examples}
    missing = [name for name in class_names if name not in there]
    if missing and there != {""}:
        _log.warning("no calibration image is of class %s: how the network sees it was not measured", listed(missing))
    return chosen


def arrays(data: Loader, preprocess: nn.Module, batch_size: int = 0) -> Generator[npt.NDArray[Any]]:
    """The images in batches, as the exported network takes them; of one size, if given, the last image again in it."""
    with closing(data.epoch(0)) as batches:
        for batch in batches:
            found = preprocess(batch.images).numpy()
            missing = max(batch_size - len(found), 0)
            yield np.ascontiguousarray(np.pad(found, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge"))


def for_tao_deploy(trained: Trained, batch_size: int) -> Generator[npt.NDArray[Any]]:
    """The calibration images in batches of that size, normalised as tao-deploy feeds networks.

    Raises:
        DataError: as `calibration`.
    """
    data_set = calibration(trained.experiment, trained.class_names)
    world = World(rank=0, world_size=1, local_rank=0, device=trained.device)
    data = loader(trained.experiment, data_set, "eval", batch_size=batch_size, seed=0, world=world)
    yield from arrays(data, tao_deploy.fed(trained.pipeline).preprocess, batch_size)


def _of_training(experiment: pb.Experiment, class_names: Sequence[str]) -> DataSet:
    try:
        return dataset.splits(experiment, class_names)[0]
    except DataError as error:
        raise DataError(f"{error}; or name a folder of images to calibrate with: {_FIELD}") from error


def _below(experiment: pb.Experiment, class_names: Sequence[str]) -> DataSet:
    """The images below the folder, of the class that their folder is called by, if any."""
    root = asked.root_of(experiment.quantize_config.image_dir)
    report = asked.report_of(experiment, str(root))
    if not root.is_dir():
        raise DataError(f"{_FIELD}: {root} is no folder; name one with images")
    white = experiment.dataset_config.full_scale
    examples = []
    for path in listing.images_below(root, report):
        label = path.parent.name if path.parent.name in class_names else ""
        examples.append(Example(path, label, str(path), full_scale=white))
    return DataSet(tuple(examples), (*class_names, ""), report)
