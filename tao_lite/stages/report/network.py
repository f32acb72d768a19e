"""The best network of a run: its size, and how it does on the validation images."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tao_lite import checkpoint as checkpoints
from tao_lite import compat
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.batch import Batch
from tao_lite.errors import DataError
from tao_lite.metrics import calibration
from tao_lite.metrics.calibration import Calibration
from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.mistakes import Mistake, Mistakes
from tao_lite.models import architectures
from tao_lite.monitor import console
from tao_lite.pruning import sizes
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.report.record import Record
from tao_lite.training import preparation
from tao_lite.training.precision import Precision
from tao_lite.training.validation import evaluate_network, evaluated_experiment, validation_loader

NUM_MISTAKES = 12
"""Of each kind: those with the least probability of the true class, and those with the most of another."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A checkpoint, what it was trained with, and its size; MACs are multiply-accumulates for one image."""

    path: Path
    found: Checkpoint
    experiment: pb.Experiment  # the spec of the run, with the network of the checkpoint
    num_parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A network on the validation images. `calibrated` is with the temperature, which was fitted to the same images."""

    evaluation: Evaluation
    precision: str
    temperature: float
    calibration: Calibration
    calibrated: Calibration
    mistakes: tuple[Mistake, ...]  # least probability of the true class first


def load(record: Record) -> Network:
    """The best checkpoint of the run.

    Raises:
        CheckpointError: there is none, or it can't be read.
    """
    found = checkpoints.load(record.run.best)
    network = checkpoints.network(found)
    model = found.experiment.model_config
    return Network(
        path=record.run.best,
        found=found,
        experiment=evaluated_experiment(record.experiment or compat.effective(found.experiment), found),
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=sizes.macs(network, architectures.input_shape(model)).total(),
    )


def judge(network: Network, record: Record) -> Judged:
    """Run the network once over the validation images.

    Raises:
        DataError: they can't be read.
        SpecError: the spec names no data.
    """
    run, found = record.run, network.found
    data = validation_loader(network.experiment, found.class_names, run)
    precision = Precision.of(network.experiment.train_config, run.device)
    sample, mistakes = calibration.Sample(), Mistakes(NUM_MISTAKES)

    def watch(batch: Batch, labels: Tensor, logits: Tensor) -> None:
        sample.add(logits, labels)
        mistakes.add(batch.images, labels, logits, batch.paths)

    with console.Progress() as bar:
        bar.begin(f"Evaluation of {record.name}", len(data))
        evaluation = evaluate_network(
            preparation.on_device(checkpoints.network(found), run.device),
            data,
            k=network.experiment.eval_config.top_k,
            preprocess=checkpoints.preprocess(found).to(run.device),
            precision=precision,
            world=run.world,
            each_batch=bar.advance,
            watch=watch,
        )
    if not evaluation.num_images:
        raise DataError("none of the validation images could be read")
    logits, labels = sample.result()
    temperature = calibration.best_temperature(logits, labels)
    return Judged(
        evaluation=evaluation,
        precision=precision.name,
        temperature=temperature,
        calibration=calibration.measure(logits, labels),
        calibrated=calibration.measure(logits, labels, temperature),
        mistakes=_joined(mistakes),
    )


def _joined(mistakes: Mistakes) -> tuple[Mistake, ...]:
    """Both kinds, each image once: boxes of one picture share its path, but not label and probabilities."""
    every = [*mistakes.worst(), *mistakes.most_confident()]
    distinct = {(one.path, one.label, one.predicted, one.true_probability): one for one in every}
    return tuple(sorted(distinct.values(), key=lambda one: one.true_probability))
