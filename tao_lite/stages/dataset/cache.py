"""The cache of decoded images filled before the first training, which then decodes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tao_lite.data.dataset import DataSet
from tao_lite.data.from_spec import loader
from tao_lite.errors import DataError, SpecError
from tao_lite.machine import distributed
from tao_lite.monitor import console
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset.sources import Reports, Sides

_SPLITS: Mapping[str, Literal["train", "val", "eval"]] = {"train": "train", "val": "val", "test": "eval"}


def fill(experiment: pb.Experiment, sides: Sides, folder: Path, reports: Reports) -> dict[str, int]:
    """Put the images of the spec's data sets, as its training wants them, into `folder`; how many, by split.

    Goes on where an earlier call was interrupted. What can't be decoded is reported and left out.

    Raises:
        DataError: the folder can't be written to, or nothing of a split can be decoded.
        SpecError: the spec does not say how large the network's input is.
    """
    if not experiment.model_config.input_image_size:
        raise SpecError("model_config.input_image_size is not set; the images are kept at that size")
    world, ours = distributed.start("cpu"), pb.Experiment()
    ours.CopyFrom(experiment)
    ours.dataset_config.cache, ours.dataset_config.cache_dir = pb.Cache.DISK, str(folder)
    names = tuple(sorted({example.label for side in sides.values() for example in side}))
    counts = {}
    for split, side in sides.items():
        images = loader(ours, DataSet(side, names, reports[split]), _SPLITS[split], batch_size=1, seed=0, world=world)
        if images.cache is None or images.cache.place is None:
            raise DataError(f"{folder}: nothing can be written there; name another folder with -o")
        console.line(f"Decoding {len(side)} examples for {split}")
        counts[split] = images.fill()
        if not counts[split]:
            reports[split].verify({})
    return counts
