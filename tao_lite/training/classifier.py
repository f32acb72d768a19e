"""A trained network in a program: images in, classes and probabilities out."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from tao_lite.data import decode
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.data.left_out import LeftOut
from tao_lite.errors import DataError, RunError
from tao_lite.machine.distributed import World
from tao_lite.models import architectures
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.tasks import Tasks
from tao_lite.training.trained import Answer, Prediction, Trained, answer, most_probable
from tao_lite.training.validation import evaluation_loader

Picture = str | os.PathLike[str] | npt.NDArray[np.uint8] | Image.Image
"""A file's path; pixels, uint8 [H, W, 3] in RGB or [H, W] and [H, W, 1] in grey; or a picture of Pillow's."""

_IN_MEMORY = "must be uint8 [H, W, 3] in RGB, or [H, W] or [H, W, 1] in grey, with values from 0 to 255"


class Classifier:
    """A trained network and all that it takes to use it; see `tao_lite.load`."""

    def __init__(self, path: str | os.PathLike[str], device: str | torch.device | None = None) -> None:
        """As `tao_lite.load`."""
        self._trained = Trained.of(Path(path), _usable(device))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the network's outputs."""
        return self._trained.class_names

    @property
    def tasks(self) -> Tasks:
        """The tasks, where there are several; `class_names` has the classes of all of them, as TASK/CLASS."""
        return self._trained.tasks

    @property
    def module(self) -> nn.Module:
        """The network in evaluation mode, on its device: what `preprocess` gives -> logits [B, num_classes]."""
        return self._trained.network

    @property
    def preprocess(self) -> Callable[[Tensor], Tensor]:
        """Normalisation, on the network's device: uint8 [B, C, H, W], in RGB or grey, -> float32 for `module`."""
        return self._trained.preprocess

    def predict(self, images: Sequence[Picture], *, batch_size: int | None = None) -> list[Prediction]:
        """The most probable class of each image, with its probability.

        Images of any size are read, cut and resized as `tao-lite inference` does, so that the numbers are the same too.
        The batch size is the spec's unless another is given. Pixels in memory are converted before the first batch:
        give paths where there are many.

        Raises:
            DataError: an image can't be read, or is none; names its path or its place.
            RunError: the network has several tasks, for which there is `answers`.
        """
        if self.tasks:
            raise RunError("predict: the network has several tasks; call answers, which gives one for each")
        names = self.class_names
        return [most_probable(names, values) for values in self.probabilities(images, batch_size=batch_size)]

    def answers(self, images: Sequence[Picture], *, batch_size: int | None = None) -> list[dict[str, Answer]]:
        """For each image, and each of several tasks by its name, its classes with their confidence; as `predict`.

        Raises:
            DataError: as `predict`.
        """
        rows = self.probabilities(images, batch_size=batch_size)
        return [{task.name: answer(task, row) for task in self.tasks} for row in rows]

    def probabilities(self, images: Sequence[Picture], *, batch_size: int | None = None) -> list[list[float]]:
        """Each image's probabilities, in the order of `class_names`.

        Raises:
            DataError: as `predict`.
        """
        if isinstance(images, (str, os.PathLike, np.ndarray, Image.Image)):
            raise DataError(f"images: a single {type(images).__name__}, must be a sequence of images; put it in a list")
        experiment, world = pb.Experiment(), World(rank=0, world_size=1, local_rank=0, device=self._trained.device)
        experiment.CopyFrom(self._trained.experiment)
        experiment.dataset_config.cache = pb.Cache.OFF
        experiment.eval_config.batch_size = batch_size or experiment.eval_config.batch_size
        report = LeftOut("images", fail=True, remedy="repair it or leave it out")
        data = evaluation_loader(experiment, DataSet(tuple(self._examples(images)), ("",), report), world)
        return [row for _, rows in self._trained.probabilities(data.epoch(0)) for row in rows]

    def _examples(self, images: Sequence[Picture]) -> Iterator[Example]:
        """The images, without a class."""
        experiment = self._trained.experiment
        channels, full_scale = (
            architectures.input_shape(experiment.model_config)[0],
            experiment.dataset_config.full_scale,
        )
        for number, image in enumerate(images):
            if isinstance(image, str | os.PathLike):
                yield Example(Path(image), "", str(image), full_scale=full_scale)
            else:
                place = f"images[{number}]"
                pixels = _pixels(image, channels, place)
                yield Example(Path(place), "", place, pixels=pixels)


def _usable(device: str | torch.device | None) -> torch.device:
    num_gpus = torch.cuda.device_count()
    usable = ["cpu", *(f"cuda:{index}" for index in range(num_gpus))]
    wanted = str(device or ("cuda" if num_gpus else "cpu"))
    # Which of them is meant, torch need not be asked.
    found = "cuda:0" if wanted == "cuda" else wanted
    if found not in usable:
        raise RunError(f"device: is {wanted}, but there is {' and '.join(usable)}; give one of these, or none")
    return torch.device(found)


def _pixels(image: object, channels: int, place: str) -> npt.NDArray[np.uint8]:
    if isinstance(image, Image.Image):
        return decode.from_picture(image, channels, place)
    if not isinstance(image, np.ndarray):
        raise DataError(f"{place}: is a {type(image).__name__}; must be a path, an array or a picture of Pillow's")
    if image.dtype != np.uint8 or not image.size or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)):
        raise DataError(f"{place}: is an array of {image.dtype} {list(image.shape)}; {_IN_MEMORY}")
    picture = Image.fromarray(image if image.shape[2:] == (3,) else image.reshape(image.shape[:2]))
    return decode.from_picture(picture, channels, place)
