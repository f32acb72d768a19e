"""What a file is worth, on validation images: its accuracy, and how far its answers are from another's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tao_lite.data.balance import evenly
from tao_lite.data.loader import Loader
from tao_lite.errors import DataError
from tao_lite.machine.distributed import World
from tao_lite.metrics.counts import Evaluation
from tao_lite.monitor import console
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.quantize import files
from tao_lite.training.deployed import Deployment
from tao_lite.training.loops import predict
from tao_lite.training.precision import Precision
from tao_lite.training.validation import evaluate_network, evaluation_loader, validation_loader

NUM_PROBES = 128
"""Validation images, evenly from the classes, on which layers are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Opens files as `tao-lite evaluate` does; they lie in a folder that is its own."""

    experiment: pb.Experiment
    data: Loader
    world: World
    path: Path
    """Where a file lies while it is judged; its ending is that of the file that is wanted."""

    @classmethod
    def of(cls, experiment: pb.Experiment, class_names: Sequence[str], world: World, path: Path) -> "Judge":
        """On the spec's validation images.

        Raises:
            DataError: they can't be read.
        """
        try:
            data = validation_loader(experiment, class_names, world)
        except DataError as error:
            raise DataError(f"quantize keeps no file whose accuracy it can't measure: {error}") from error
        return cls(experiment=experiment, data=data, world=world, path=path)

    def evaluate(self, content: bytes, title: str) -> Evaluation:
        """How well the file does on all validation images."""
        network = self._opened(content)
        with console.Progress() as bar:
            bar.begin(title, len(self.data))
            found = evaluate_network(
                network.network,
                self.data,
                k=1,
                preprocess=network.preprocess,
                precision=self._precision,
                world=self.world,
                each_batch=bar.advance,
            )
        assert isinstance(found, Evaluation)
        return found

    def divergence(self, content: bytes, reference: Tensor) -> float:
        """How far the file's answers to the probes are from the reference's: Kullback and Leibler's, mean, in nats."""
        found = self.answers(content)
        return float((reference.exp() * (reference - found)).sum(dim=1).mean())

    def answers(self, content: bytes) -> Tensor:
        """Logarithms of the file's probabilities for the probes: [images, classes]."""
        network = self._opened(content)
        batches = predict(
            network.network, self._probes.epoch(0), preprocess=network.preprocess, precision=self._precision
        )
        return torch.cat([logits.log_softmax(dim=1) for _, _, logits in batches])

    @cached_property
    def _probes(self) -> Loader:
        data_set = replace(self.data.data_set, examples=evenly(self.data.data_set.examples, NUM_PROBES))
        return evaluation_loader(self.experiment, data_set, self.world)

    @cached_property
    def _precision(self) -> Precision:
        return Precision.of(pb.TrainConfig(precision=pb.Precision.FP32), self.world.device)

    def _opened(self, content: bytes) -> Deployment:
        files.write(self.path, content)
        return Deployment.of(self.path, self.world.device, self.experiment)
