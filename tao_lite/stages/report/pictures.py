"""What a report shows of single pictures: what in them speaks for the network's answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tao_lite.data.dataset import DataSet
from tao_lite.data.left_out import LeftOut
from tao_lite.machine.distributed import World
from tao_lite.metrics.mistakes import Mistake
from tao_lite.training.heat_maps import HeatMaps, answers
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluation_loader, unlabelled_loader


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A picture that the user names, and the answer in one task. image: uint8 [C, H, W], as the network sees it."""

    path: Path
    image: Tensor
    output: int  # whose name says the task too, where there are several
    probability: float


def chosen(trained: Trained, paths: Sequence[Path], world: World) -> Iterator[Chosen]:
    """The answers to the pictures, in their order and that of the tasks.

    Raises:
        DataError: one of them can't be read.
    """
    report = LeftOut("--image", fail=True, remedy="leave it out")
    data = unlabelled_loader(trained.experiment, paths, report, world)
    for batch, rows in trained.probabilities(data.epoch(0)):
        for path, image, probabilities in zip(batch.paths, batch.images.cpu(), rows, strict=True):
            for one in answers(trained, probabilities):
                yield Chosen(path=path, image=image, output=one.output, probability=probabilities[one.output])


@dataclass(frozen=True, kw_only=True, eq=False)
class Wrong:
    """An image of a weak group that was classified wrongly. image: uint8 [C, H, W], as the network sees it."""

    path: Path
    label: str
    image: Tensor


def wrong(trained: Trained, data_set: DataSet, indices: Sequence[int], world: World) -> dict[int, Wrong]:
    """These images of the data set by their index; one that can't be read now is missing."""
    examples = tuple(data_set.examples[index] for index in indices)
    part = DataSet(examples, data_set.class_names, LeftOut("images", is_logged=False))
    return {
        indices[place]: Wrong(path=path, label=examples[place].label, image=image)
        for batch in (evaluation_loader(trained.experiment, part, world).epoch(0) if examples else ())
        for place, path, image in zip(batch.indices, batch.paths, batch.images.cpu(), strict=True)
    }


def heats(maps: HeatMaps, pictures: Sequence[Mistake | Chosen]) -> list[Tensor]:
    """What in each picture speaks for the answer: [h, w] as `HeatMaps.of` has them."""
    found = []
    for one in pictures:
        output = one.predicted if isinstance(one, Mistake) else one.output
        found.append(maps.of(one.image[None].to(maps.trained.device), torch.tensor([[output]]))[0, 0])
    return found
