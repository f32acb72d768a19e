"""The network that is to be pruned, with what it is judged by and measured on: training and validation images."""

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data import dataset
from tao_lite.data.augment import augment
from tao_lite.data.from_spec import loader
from tao_lite.data.loader import Loader
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import DataError, SpecError
from tao_lite.metrics.best import Metric
from tao_lite.metrics.joint import Result
from tao_lite.models import architectures
from tao_lite.monitor import console
from tao_lite.pruning import blocks
from tao_lite.pruning.trace import Shape
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.training import trial
from tao_lite.training.precision import Precision
from tao_lite.training.trained import Trained, on_device
from tao_lite.training.validation import batch_size, best_metric, evaluate_network, validation_loader


@dataclass(frozen=True, eq=False)
class Subject:
    """A checkpoint to prune. Images are read when they are first asked for, so that pruning needs none."""

    source: Path
    found: Checkpoint
    network: nn.Module  # on the CPU, in evaluation mode
    experiment: pb.Experiment  # the spec, with the network of the checkpoint
    run: Run

    @property
    def config(self) -> pb.PruneConfig:
        return self.experiment.prune_config

    @property
    def shape(self) -> Shape:
        return architectures.input_shape(self.experiment.model_config)

    def with_config(self, config: pb.PruneConfig) -> "Subject":
        """The same to be pruned in another way; it shares the images that were read."""
        changed = pb.Experiment()
        changed.CopyFrom(self.experiment)
        changed.prune_config.CopyFrom(config)
        return self._sharing(replace(self, experiment=changed))

    def without(self, names: Collection[str]) -> "Subject":
        """The same without these blocks; it shares the images that were read."""
        return self._sharing(replace(self, network=blocks.without(self.network, names))) if names else self

    def _sharing(self, other: "Subject") -> "Subject":
        vars(other).update({name: value for name, value in vars(self).items() if name in ("validation", "precision")})
        return other

    @cached_property
    def validation(self) -> Loader:
        """What pruning is tuned on.

        Raises:
            DataError: they can't be read.
        """
        return validation_loader(self.experiment, self.found.class_names, self.run.world)

    @cached_property
    def precision(self) -> Precision:
        return Precision.of(self.experiment.train_config, self.run.device)

    @property
    def _preprocess(self) -> Preprocess:
        return checkpoints.pipeline(self.found).preprocess.to(self.run.device)

    @property
    def metric(self) -> Metric:
        """By which networks are compared."""
        return best_metric(self.experiment.train_config)

    def top1(self, network: nn.Module, title: str = "Validation") -> float:
        """Share of the validation images that the network classifies rightly.

        Raises:
            DataError: as `validation`.
        """
        return self.evaluated(network, title).top1

    def evaluated(self, network: nn.Module, title: str = "Validation") -> Result:
        """How the network does on the validation images.

        Raises:
            DataError: as `validation`.
        """
        with console.Progress(is_main=self.run.is_main) as bar:
            bar.begin(title, len(self.validation))
            return evaluate_network(
                on_device(copy.deepcopy(network), self.run.device),
                self.validation,
                k=1,
                preprocess=self._preprocess,
                precision=self.precision,
                world=self.run.world,
                each_batch=bar.advance,
            )

    def training_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first batches of training, augmented: float32 [B, C, H, W] and int64 [B] on the device; fewer if few.

        Every process has the same ones, so that all judge alike.

        Raises:
            DataError: they can't be read.
        """
        preprocess, change = self._preprocess, augment.make_augment(self.experiment).to(self.run.device)
        for batch in islice(self._training().epoch(0), count):
            images, labels, draws = (part.to(self.run.device) for part in (batch.images, batch.labels, batch.draws))
            yield preprocess(change(images, draws)), labels

    def _training(self) -> Loader:
        train = self.experiment.train_config
        try:
            examples, _ = dataset.splits(self.experiment, self.found.class_names)
        except DataError as error:
            raise DataError(f"prune_config.criterion TAYLOR looks at training images: {error}") from error
        return loader(
            self.experiment,
            examples,
            "train",
            batch_size=batch_size(self.experiment),
            seed=train.random_seed,
            # The same images in each process, which then finds the same channels.
            world=replace(self.run.world, rank=0, world_size=1),
        )


def load_subject(spec: Spec, run: Run) -> Subject:
    """The checkpoint at prune_config.model_path, else the best of the folder.

    Raises:
        CheckpointError: it can't be read.
        SpecError: the result would be written over it, or the spec is that of another network.
    """
    config = spec.experiment.prune_config
    source, target = Path(config.model_path or run.best), Path(config.output_path or run.pruned)
    if source.resolve() == target.resolve():
        raise SpecError(f"prune_config.output_path is {target}, the checkpoint to prune; give it another name")
    # On the CPU, where it is cut and saved.
    trained = Trained.of(source, torch.device("cpu"), spec.experiment)
    _refuse_other_network(spec.experiment.model_config, trained.experiment.model_config, source)
    subject = Subject(source, trained.found, trained.network, trained.experiment, run)
    trial.set_threads(subject.network, subject.experiment, subject.precision, run)
    return subject


def _refuse_other_network(ours: pb.ModelConfig, theirs: pb.ModelConfig, source: Path) -> None:
    for name in ("arch", "n_layers"):
        if getattr(ours, name) != getattr(theirs, name) and ours.arch:
            raise SpecError(
                f"model_config.{name} is {getattr(ours, name)!r}, but the network in {source} has "
                f"{getattr(theirs, name)!r}; give the spec it was trained with, or none"
            )
