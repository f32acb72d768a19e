"""The best network of a run: its size, and how it does on the validation images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from tao_lite.data.batch import Batch
from tao_lite.data.loader import Loader
from tao_lite.errors import DataError
from tao_lite.metrics import calibration
from tao_lite.metrics.calibration import Calibration
from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.groups import Group
from tao_lite.metrics.joint import JointEvaluation, Result
from tao_lite.metrics.mistakes import Mistake, Mistakes
from tao_lite.models import architectures
from tao_lite.monitor import console
from tao_lite.pruning import sizes
from tao_lite.stages.report import pictures
from tao_lite.stages.report.pictures import Wrong
from tao_lite.stages.report.record import Record
from tao_lite.training import weak_groups
from tao_lite.training.observer import Observer
from tao_lite.training.trained import Trained
from tao_lite.training.validation import evaluate_network, validation_loader

NUM_MISTAKES = 12
"""Of each kind: those with the least probability of the true class, and those with the most of another."""
MAX_GROUPS = 10
"""Weak groups of which pictures are shown."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, for use as the spec of its run says, and its size; MACs are multiply-accumulates for one image."""

    trained: Trained
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
    groups: tuple[Group, ...]  # as `groups.find` has them
    wrong: Mapping[int, Wrong]  # those that the weak groups name


def load(record: Record) -> Network:
    """The best checkpoint of the run.

    Raises:
        CheckpointError: there is none, or it can't be read.
    """
    trained = Trained.of(record.run.best, record.run.device, record.experiment)
    shape = architectures.input_shape(trained.experiment.model_config)
    return Network(
        trained=trained,
        num_parameters=sum(parameter.numel() for parameter in trained.network.parameters()),
        macs=sizes.macs(trained.network, shape).total(),
    )


def judge(network: Network, record: Record) -> Judged:
    """Run the network once over the validation images.

    Raises:
        DataError: they can't be read.
        SpecError: the spec names no data.
    """
    sample, mistakes = calibration.Sample(), Mistakes(NUM_MISTAKES)
    trained, world = network.trained, record.run.world
    data = validation_loader(trained.experiment, trained.class_names, world)
    observer = Observer(trained, data)

    def watch(batch: Batch, labels: Tensor, logits: Tensor) -> None:
        sample.add(logits, labels)
        mistakes.add(batch.images, labels, logits, batch.paths)
        observer.add(batch, labels, logits)

    evaluation = _evaluated(network, record, data, watch)
    assert isinstance(evaluation, Evaluation)
    groups = weak_groups.find(data.data_set, observer.result(world), (), has_own=True)
    named = sorted({index for group in groups[:MAX_GROUPS] if group.is_weak for index in group.wrong})
    logits, labels = sample.result()
    temperature = calibration.best_temperature(logits, labels)
    return Judged(
        evaluation=evaluation,
        precision=network.trained.precision.name,
        temperature=temperature,
        calibration=calibration.measure(logits, labels),
        calibrated=calibration.measure(logits, labels, temperature),
        mistakes=_joined(mistakes),
        groups=groups,
        wrong=pictures.wrong(trained, data.data_set, named, world),
    )


def judge_tasks(network: Network, record: Record) -> JointEvaluation:
    """A network of several tasks on the validation images.

    Raises:
        DataError, SpecError: as judge.
    """
    trained = network.trained
    found = _evaluated(network, record, validation_loader(trained.experiment, trained.class_names, record.run.world))
    assert isinstance(found, JointEvaluation)
    return found


def _evaluated(
    network: Network, record: Record, data: Loader, watch: Callable[[Batch, Tensor, Tensor], None] | None = None
) -> Result:
    trained, world = network.trained, record.run.world
    with console.Progress() as bar:
        bar.begin(f"Evaluation of {record.name}", len(data))
        evaluation = evaluate_network(
            trained.folded,
            data,
            k=trained.experiment.eval_config.top_k,
            preprocess=trained.preprocess,
            precision=trained.precision,
            world=world,
            each_batch=bar.advance,
            watch=watch,
        )
    if not evaluation.num_images:
        raise DataError("none of the validation images could be read")
    return evaluation


def _joined(mistakes: Mistakes) -> tuple[Mistake, ...]:
    """Both kinds, each image once: boxes of one picture share its path, but not label and probabilities."""
    every = [*mistakes.worst(), *mistakes.most_confident()]
    distinct = {(one.path, one.label, one.predicted, one.true_probability): one for one in every}
    return tuple(sorted(distinct.values(), key=lambda one: one.true_probability))
