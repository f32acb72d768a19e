"""A trained network, opened for use: on a device, with its normalisation, its classes and the spec it is used by."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite import compat
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.batch import Batch
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.metrics.scores import Rule, Scorer
from tao_lite.models import head
from tao_lite.models.fold import folded
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.tasks import Task, Tasks
from tao_lite.training import trial
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision

_log = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """The most probable class of an image, and its probability."""

    class_name: str
    probability: float


class Answer(NamedTuple):
    """The classes of an image in one of several tasks, and how sure that is, 0 to 1.

    There is one class unless the task is one of several labels; then the confidence is that of the class, found or not,
    that is least sure.
    """

    class_names: tuple[str, ...]
    confidence: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A checkpoint's network in evaluation mode. What it computes with is made when it is first asked for."""

    path: Path
    found: Checkpoint
    experiment: pb.Experiment  # as it takes effect, with the network of the checkpoint
    device: torch.device
    network: nn.Module
    runtime: ClassVar = "PyTorch"
    takes_whole: ClassVar = False  # a network of ours sees pictures in its own size

    @classmethod
    def of(cls, path: Path, device: torch.device, experiment: pb.Experiment | None = None) -> "Trained":
        """The network of the checkpoint, for use as the spec says; without one, as the spec it was trained with.

        Raises:
            CheckpointError: it can't be read.
        """
        found = checkpoints.load(path)
        merged = pb.Experiment()
        merged.CopyFrom(experiment or found.experiment)
        # Its input size and kind are facts, not wishes.
        merged.model_config.CopyFrom(found.experiment.model_config)
        if not merged.dataset_config.HasField("full_scale"):  # so is what was white in its deep pictures
            merged.dataset_config.full_scale = found.experiment.dataset_config.full_scale
        learn_tasks(merged, tasks.of(found.experiment, found.class_names))
        _see_as_validation(merged, checkpoints.pipeline(found).is_cropped, path)
        network = on_device(checkpoints.network(found).eval(), device)
        return cls(path=path, found=found, experiment=compat.effective(merged), device=device, network=network)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.found.class_names

    @property
    def tasks(self) -> Tasks:
        return tasks.of(self.found.experiment, self.class_names)

    @cached_property
    def pipeline(self) -> Pipeline:
        """What is done to pictures before the network reads them."""
        preprocess = checkpoints.pipeline(self.found).preprocess
        return Pipeline.of(self.experiment, preprocess, is_cropped=self.experiment.eval_config.enable_center_crop)

    @cached_property
    def preprocess(self) -> Preprocess:
        return self.pipeline.preprocess.to(self.device)

    @cached_property
    def precision(self) -> Precision:
        """As `Precision.of`, with what that does to the process."""
        return Precision.of(self.experiment.train_config, self.device)

    @cached_property
    def folded(self) -> nn.Module:
        """The network with fewer operations, for predictions."""
        return folded(self.network)

    def in_fp32(self) -> "Trained":
        """The same network, as exported files compute it."""
        experiment = pb.Experiment()
        experiment.CopyFrom(self.experiment)
        experiment.train_config.precision = pb.Precision.FP32
        return replace(self, experiment=experiment)

    def set_threads(self, run: Run) -> None:
        """Let torch compute with the number of threads that is fastest for this network."""
        trial.set_threads(self.network, self.experiment, self.precision, run)

    @cached_property
    def rule(self) -> Rule | None:
        """Which answers are accepted, where evaluate has fitted that."""
        return Rule(**self.found.reject) if self.found.reject else None

    @property
    def has_rule(self) -> bool:
        return self.rule is not None

    @cached_property
    def _scorer(self) -> Scorer | None:
        return Scorer.of(self.rule).to(self.device) if self.rule else None

    def probabilities(
        self, batches: Iterable[Batch], accepted: list[bool] | None = None
    ) -> Iterator[tuple[Batch, list[list[float]]]]:
        """Each batch, and for each of its images the probabilities in the order of the class names.

        To `accepted` is added whether the network's rule accepts the answer, for each image before its batch is given.
        """
        if accepted is not None:
            for batch, rows, _ in self.features(batches, accepted):
                yield batch, rows
            return
        for batch, _, logits in predict(self.folded, batches, preprocess=self.preprocess, precision=self.precision):
            yield batch, torch.cat(probabilities(self.tasks, logits), dim=1).tolist()

    def features(
        self, batches: Iterable[Batch], accepted: list[bool] | None = None
    ) -> Iterator[tuple[Batch, list[list[float]], Tensor]]:
        """As `probabilities`, with what the head reads of each image: float32 [B, d] on the host."""
        for batch, logits, features in self.outputs(batches):
            if accepted is not None and self.rule and self._scorer:
                accepted += (self._scorer(logits, features) >= self.rule.threshold).tolist()
            yield batch, torch.cat(probabilities(self.tasks, logits), dim=1).tolist(), features.cpu()

    def outputs(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """As `read_features`."""
        return read_features(self.network, batches, preprocess=self.preprocess, precision=self.precision)


def read_features(
    network: nn.Module, batches: Iterable[Batch], *, preprocess: Callable[[Tensor], Tensor], precision: Precision
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Each batch with its logits, float32 [B, outputs], and what the head reads, float32 [B, d], on the device."""
    computed = folded(network)
    layer = computed.get_submodule(head.find(network))
    with head.reading(layer) as inputs:
        for batch, _, logits in predict(computed, batches, preprocess=preprocess, precision=precision):
            yield batch, logits, head.pooled(inputs.pop(), layer)


def learn_tasks(experiment: pb.Experiment, tasks: Tasks) -> None:
    """Let the spec read data for the network's tasks, where it has several: which they are is a fact."""
    if tasks:
        config = experiment.dataset_config
        config.format = pb.DatasetFormat.MULTITASK
        config.multitask.tasks[:] = [task.name for task in tasks]
        config.multitask.multi_label[:] = [task.name for task in tasks if task.is_multi_label]


def _see_as_validation(experiment: pb.Experiment, is_cropped: bool, path: Path) -> None:
    """Crop images as the checkpoint's validation did, unless the spec says else and the network has no resize_mode.

    Of that the log is told; where the spec's own train_config says else too, who loaded the spec has told it.
    """
    config, model = experiment.eval_config, experiment.model_config
    if not config.HasField("enable_center_crop"):
        config.enable_center_crop = is_cropped
    elif is_cropped != config.enable_center_crop and model.HasField("resize_mode"):
        config.enable_center_crop = is_cropped
        mode = pb.ResizeMode.Kind.Name(model.resize_mode)
        _log.warning("eval_config.enable_center_crop has no effect: %s was trained with resize_mode %s", path, mode)
    elif is_cropped != config.enable_center_crop == experiment.train_config.enable_center_crop:
        _log.warning(
            "eval_config.enable_center_crop is %s, but the validation of %s had %s: its numbers are of other parts of "
            "the images",
            str(config.enable_center_crop).lower(),
            path,
            str(is_cropped).lower(),
        )


def probabilities(tasks: Tasks, logits: Tensor) -> list[Tensor]:
    """Those of each task, [B, classes]: they sum to 1 unless it is one of several labels."""
    if not tasks:
        return [logits.softmax(dim=1)]
    parts = [(task, logits[:, task.outputs]) for task in tasks]
    return [part.sigmoid() if task.is_multi_label else part.softmax(dim=1) for task, part in parts]


def most_probable(class_names: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    probability, name = max(zip(probabilities, class_names, strict=True))
    return Prediction(name, probability)


def answer(task: Task, probabilities: Sequence[float]) -> Answer:
    """What the probabilities of all outputs say in one task: its most probable class, or all above a half."""
    values = probabilities[task.outputs]
    if not task.is_multi_label:
        name, probability = most_probable(task.class_names, values)
        return Answer((name,), probability)
    names = tuple(name for name, value in zip(task.class_names, values, strict=True) if value > 0.5)
    return Answer(names, min(max(value, 1 - value) for value in values))


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, moved to the device, its weights laid out as the fastest kernels want them."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
